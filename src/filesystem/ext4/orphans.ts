import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import { mapOne } from './block-mapping.ts'
import type { BlockNumber } from './context.ts'
import { dropBehind } from './file-write.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import { inodeSeed } from './inode-seed.ts'
import { destroyInode } from './new-inode.ts'
import type { Ext4Volume } from './volume.ts'

/** struct ext4_orphan_block_tail. */
const ORPHAN_BLOCK_MAGIC = 0x0b10_ca04
const TAIL_SIZE = 8

/**
 * Finishes what a crash interrupted, as the kernel does when it mounts: inodes without names are freed, inodes that were
 * being cut are cut to their size. Afterwards the orphan list and the orphan file are empty.
 * @returns how many inodes there were
 */
export async function cleanOrphans(volume: Ext4Volume): Promise<number> {
  const listed = await cleanList(volume)
  return listed + (await cleanFile(volume))
}

/** The list runs from s_last_orphan through the deletion times of its inodes. */
async function cleanList(volume: Ext4Volume): Promise<number> {
  const { superblock } = volume
  const seen = new Set<InodeNumber>()
  let ino = superblock.s_last_orphan
  while (ino !== 0) {
    const inode = await orphan(volume, ino, seen)
    const next = inode.dtime
    await finish(volume, inode)
    ino = next
  }
  if (seen.size > 0) {
    superblock.s_last_orphan = 0
    volume.markSuperblockChanged()
  }
  return seen.size
}

/** The orphan file: blocks full of inode numbers, 0 for a free place, with magic and checksum at the end. */
async function cleanFile(volume: Ext4Volume): Promise<number> {
  const { superblock, blockSize } = volume
  if (!superblock.has('orphan_file') || !superblock.has('orphan_present')) return 0
  const file = await volume.inodes.read(superblock.s_orphan_file_inum)
  const seen = new Set<InodeNumber>()
  for (let logical = 0; logical < Math.floor(file.size / blockSize); logical++) {
    const block = await mapOne(volume, file, logical)
    if (block === undefined) throw corrupt(`the orphan file has no block ${logical}`, file.ino)
    const numbers = readOrphanBlock(volume, file, block, await volume.blocks.read(block))
    for (const ino of numbers) await finish(volume, await orphan(volume, ino, seen))
    if (numbers.length === 0) continue
    const bytes = await volume.blocks.edit(block)
    bytes.fill(0, 0, blockSize - TAIL_SIZE)
    sealOrphanBlock(volume, file, block, bytes)
  }
  superblock.setFeature('orphan_present', false)
  volume.markSuperblockChanged()
  return seen.size
}

/** Inode numbers in a block of the orphan file; its checksum is verified. */
export function readOrphanBlock(
  volume: Ext4Volume,
  file: Inode,
  block: BlockNumber,
  bytes: Uint8Array,
): InodeNumber[] {
  const view = littleEndian(bytes, `orphan file block ${block}`)
  const tail = volume.blockSize - TAIL_SIZE
  if (view.u32(tail) !== ORPHAN_BLOCK_MAGIC)
    throw corrupt(`orphan file block ${block} has no magic`, file.ino)
  if (volume.metadataChecksums && view.u32(tail + 4) !== checksum(volume, file, block, bytes))
    throw corrupt(`the checksum of orphan file block ${block} is wrong`, file.ino)
  const numbers: InodeNumber[] = []
  for (let at = 0; at < tail; at += 4) if (view.u32(at) !== 0) numbers.push(view.u32(at))
  return numbers
}

/** Magic and checksum of a block of the orphan file. */
export function sealOrphanBlock(
  volume: Pick<Ext4Volume, 'blockSize' | 'metadataChecksums' | 'checksumSeed'>,
  file: Inode,
  block: BlockNumber,
  bytes: Uint8Array,
): void {
  const view = littleEndian(bytes, `orphan file block ${block}`)
  const tail = volume.blockSize - TAIL_SIZE
  view.setU32(tail, ORPHAN_BLOCK_MAGIC)
  view.setU32(tail + 4, volume.metadataChecksums ? checksum(volume, file, block, bytes) : 0)
}

/** ext4_orphan_file_block_csum: the inode's seed, the block's number as 64 bits, the inode numbers. */
function checksum(
  volume: Pick<Ext4Volume, 'blockSize' | 'checksumSeed'>,
  file: Inode,
  block: BlockNumber,
  bytes: Uint8Array,
): number {
  const number = new Uint8Array(8)
  littleEndian(number, 'block number').setU64(0, block)
  const seed = crc32c(inodeSeed(volume, file), number)
  return crc32c(seed, bytes.subarray(0, volume.blockSize - TAIL_SIZE))
}

async function orphan(volume: Ext4Volume, ino: InodeNumber, seen: Set<InodeNumber>): Promise<Inode> {
  if (seen.has(ino)) throw corrupt(`inode ${ino} is in the list of orphans twice`, ino)
  seen.add(ino)
  if (ino < volume.geometry.firstInode) throw corrupt(`reserved inode ${ino} is in the list of orphans`, ino)
  const inode = await volume.inodeStore.readAny(ino)
  if (inode.type === undefined) throw corrupt(`inode ${ino} is in the list of orphans but has no type`, ino)
  return inode
}

async function finish(volume: Ext4Volume, inode: Inode): Promise<void> {
  inode.dtime = 0
  if (inode.linksCount > 0) {
    // Only files are cut; what else is on the list with a name has nothing to be undone.
    if (inode.type === 'file' && !inode.hasFlag(INODE_FLAG.INLINE_DATA))
      await dropBehind(volume, inode, inode.size)
    volume.inodes.markDirty(inode)
    return
  }
  await destroyInode(volume, inode)
}

function corrupt(what: string, ino: InodeNumber): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `ext4: ${what}; run e2fsck`, { structure: 'orphans', inode: ino })
}
