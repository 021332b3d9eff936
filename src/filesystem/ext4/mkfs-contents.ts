import { littleEndian } from '../../bytes/byte-view.ts'
import { ensureBlocks, initMapping, mapOne } from './block-mapping.ts'
import type { BlockNumber } from './context.ts'
import { addName } from './directory.ts'
import { appendBlock, newLeafArea, sealLeaf } from './directory-block.ts'
import { initialiseBlockDirectory } from './directory-linear.ts'
import { insertExtent } from './extent-edit.ts'
import { MAX_WRITTEN_LENGTH } from './extent-node.ts'
import { FILE_TYPE_BITS, GOOD_OLD_INODE_SIZE, INODE_FLAG, type Inode } from './inode.ts'
import { emptyJournalSuperblock } from './jbd2-superblock.ts'
import type { MkfsSettings } from './mkfs-options.ts'
import { sealOrphanBlock } from './orphans.ts'
import type { Ext4Volume } from './volume.ts'

const ROOT_INODE = 2
const RESIZE_INODE = 7
const JOURNAL_INODE = 8
const EXTRA_ISIZE = 32
const DIRECT_POINTERS = 12
/** lost+found gets its blocks in advance: e2fsck must not have to allocate when it puts files there. */
const LOST_AND_FOUND_BYTES = 16 << 10
/** s_jnl_backup_type: the journal inode's map is copied to s_jnl_blocks. */
const JOURNAL_BACKUP_BLOCKS = 1

/** Root, lost+found and the inodes of the filesystem's own. */
export async function makeContents(volume: Ext4Volume, settings: MkfsSettings): Promise<void> {
  const root = newInode(volume, ROOT_INODE, FILE_TYPE_BITS.directory | 0o755)
  initMapping(volume, root)
  await initialiseBlockDirectory(volume, root, ROOT_INODE)
  root.linksCount = 2
  await makeLostAndFound(volume, root)
  if (settings.features.has('resize_inode')) await makeResizeInode(volume)
  if (settings.features.has('has_journal')) await makeJournal(volume, settings.journalBlocks)
  if (settings.features.has('orphan_file')) await makeOrphanFile(volume)
  volume.markSuperblockChanged()
}

function newInode(volume: Ext4Volume, ino: number, mode: number): Inode {
  const inode = volume.inodeStore.make(ino)
  inode.mode = mode
  if (volume.geometry.inodeSize > GOOD_OLD_INODE_SIZE) inode.extraIsize = EXTRA_ISIZE
  setTimes(volume, inode)
  inode.linksCount = 1
  volume.inodes.markDirty(inode)
  return inode
}

function setTimes(volume: Ext4Volume, inode: Inode): void {
  const now = volume.now()
  inode.atime = now
  inode.ctime = now
  inode.mtime = now
  inode.crtime = now
}

async function makeLostAndFound(volume: Ext4Volume, root: Inode): Promise<void> {
  // Not the root as its parent: that would have it put in the emptiest group, and it is to be inode 11.
  const directory = await volume.inodes.allocate(RESIZE_INODE, FILE_TYPE_BITS.directory | 0o700)
  setTimes(volume, directory)
  directory.linksCount = 2
  initMapping(volume, directory)
  await initialiseBlockDirectory(volume, directory, ROOT_INODE)
  // As mke2fs: 16 KiB, at least 2 blocks, and no more blocks than have direct pointers.
  const blocks = Math.min(DIRECT_POINTERS, Math.max(2, Math.ceil(LOST_AND_FOUND_BYTES / volume.blockSize)))
  for (let index = 1; index < blocks; index++) {
    const { logical, bytes } = await appendBlock(volume, directory)
    newLeafArea(volume, directory, logical, bytes).clear()
    sealLeaf(volume, directory, bytes)
  }
  await addName(volume, root, new TextEncoder().encode('lost+found'), directory.ino, 'directory')
  root.linksCount++
  volume.inodes.markDirty(root)
}

/**
 * The resize inode owns the blocks that are kept for more group descriptors: its double-indirect block points at those of
 * group 0, and each of them is filled with the numbers of its copies in the groups with backups (ext2fs_create_resize_inode).
 */
async function makeResizeInode(volume: Ext4Volume): Promise<void> {
  const { geometry, blockSize } = volume
  const perBlock = blockSize / 4
  const inode = newInode(volume, RESIZE_INODE, FILE_TYPE_BITS.file | 0o600)
  inode.size = (perBlock * perBlock + perBlock + DIRECT_POINTERS) * blockSize
  const { block } = await volume.allocator.allocate(geometry.firstDataBlock, 1)
  littleEndian(inode.iBlock, 'resize inode').setU32((DIRECT_POINTERS + 1) * 4, block)
  const backups: number[] = []
  for (let group = 1; group < geometry.groups; group++) if (geometry.hasSuperblock(group)) backups.push(group)
  // A block has room for so many copies; ext2fs would write past it, which no size within its limits reaches.
  const copies = backups.slice(0, perBlock)
  const reserved = geometry.reservedDescriptorBlocks
  const first = geometry.superblockBlock + 1 + geometry.descriptorBlocks
  const pointers = littleEndian(volume.blocks.fresh(block), 'resize inode')
  for (let index = 0; index < reserved; index++) {
    pointers.setU32(((geometry.descriptorBlocks + index) % perBlock) * 4, first + index)
    const view = littleEndian(volume.blocks.fresh(first + index), 'reserved descriptor block')
    for (const [slot, group] of copies.entries())
      view.setU32(slot * 4, first + index + group * geometry.blocksPerGroup)
    await volume.relieve()
  }
  inode.addBlocks(1 + reserved * (1 + copies.length))
  volume.inodes.markDirty(inode)
}

/** ext2fs_default_journal_size: blocks of the journal by blocks of the filesystem; 0 where there is no room for one. */
function defaultJournalBlocks(blocks: number): number {
  if (blocks < 2048) return 0
  if (blocks < 32 * 1024) return 1024
  if (blocks < 256 * 1024) return 4096
  if (blocks < 512 * 1024) return 8192
  if (blocks < 4096 * 1024) return 16384
  if (blocks < 8192 * 1024) return 32768
  if (blocks < 16384 * 1024) return 65536
  return blocks < 32768 * 1024 ? 131072 : 262144
}

async function makeJournal(volume: Ext4Volume, wanted: number | undefined): Promise<void> {
  const { superblock, geometry, blockSize } = volume
  const blocks = wanted ?? defaultJournalBlocks(geometry.blocksCount)
  if (blocks === 0) {
    superblock.setFeature('has_journal', false)
    return
  }
  const inode = newInode(volume, JOURNAL_INODE, FILE_TYPE_BITS.file | 0o600)
  initMapping(volume, inode)
  const goal = geometry.groupFirstBlock(await middleGroup(volume))
  await allocateFile(volume, inode, blocks, goal)
  inode.size = blocks * blockSize
  const first = await mapOne(volume, inode, 0)
  const journal = emptyJournalSuperblock({ blockSize, blocks, uuid: superblock.s_uuid })
  if (first !== undefined) await volume.device.write(first * blockSize, journal)
  superblock.s_journal_inum = JOURNAL_INODE
  superblock.s_jnl_backup_type = JOURNAL_BACKUP_BLOCKS
  superblock.s_jnl_blocks.set(inode.iBlock)
  const size = littleEndian(superblock.s_jnl_blocks, 's_jnl_blocks')
  size.setU32(60, Math.floor(inode.size / 2 ** 32))
  size.setU32(64, inode.size >>> 0)
  superblock.s_overhead_clusters += blocks
}

/** Where the journal is near to everything: the emptiest group about the middle (get_midpoint_journal_block). */
async function middleGroup({ geometry, descriptors }: Ext4Volume): Promise<number> {
  const { groups, groupsPerFlex, blocksCount, firstDataBlock } = geometry
  let middle = geometry.groupOfBlock(Math.floor((blocksCount - firstDataBlock) / 2))
  let best = Math.max(0, middle - 1)
  if (groupsPerFlex > 1 && middle > groupsPerFlex) {
    middle -= middle % groupsPerFlex
    best = middle
  }
  const free = async (group: number): Promise<number> => (await descriptors.read(group)).bg_free_blocks_count
  let most = await free(best)
  for (let group = best + 1; group <= Math.min(middle + 1, groups - 1); group++) {
    const here = await free(group)
    if (here > most) {
      best = group
      most = here
    }
  }
  return best
}

/** Allocates blocks for a file of the filesystem's own; they read as zeros, as the whole volume was erased. */
async function allocateFile(
  volume: Ext4Volume,
  inode: Inode,
  blocks: number,
  goal: BlockNumber,
): Promise<void> {
  let near = goal
  for (let logical = 0; logical < blocks; ) {
    if (!inode.hasFlag(INODE_FLAG.EXTENTS)) {
      logical += (await ensureBlocks(volume, inode, logical, blocks - logical)).run.count
      continue
    }
    const run = await volume.allocator.allocate(near, Math.min(blocks - logical, MAX_WRITTEN_LENGTH))
    await insertExtent(volume, inode, { logical, ...run, unwritten: false })
    inode.addBlocks(run.count)
    logical += run.count
    near = run.block + run.count
  }
  volume.inodes.markDirty(inode)
}

/** Orphans go to a file with many places instead of a list, so that deletions do not wait for each other. */
async function makeOrphanFile(volume: Ext4Volume): Promise<void> {
  const { superblock, geometry, blockSize } = volume
  // ext2fs_default_orphan_file_blocks
  const blocks =
    geometry.blocksCount < 128 * 1024 ? 32 : Math.min(512, Math.floor(geometry.blocksCount / 4096))
  const inode = await volume.inodes.allocate(ROOT_INODE, FILE_TYPE_BITS.file | 0o600)
  setTimes(volume, inode)
  inode.linksCount = 1
  initMapping(volume, inode)
  await allocateFile(volume, inode, blocks, volume.allocator.goalFor(inode))
  inode.size = blocks * blockSize
  for (let logical = 0; logical < blocks; logical++) {
    const block = await mapOne(volume, inode, logical)
    if (block !== undefined) sealOrphanBlock(volume, inode, block, volume.blocks.fresh(block))
  }
  superblock.s_orphan_file_inum = inode.ino
}
