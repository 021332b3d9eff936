import { DrydiskError, isDrydiskError } from '../../errors.ts'
import { mapBlocks } from './block-mapping.ts'
import type { BlockRun, Ext4Context } from './context.ts'
import { FILE_TYPE_BITS, GOOD_OLD_INODE_SIZE, INODE_FLAG, Inode } from './inode.ts'
import { JBD2_MIN_JOURNAL_BLOCKS } from './jbd2-superblock.ts'

/** s_jnl_backup_type: s_jnl_blocks has a copy of the journal inode's block map. */
const BACKUP_BLOCKS = 1

/** First two bytes of an extent tree's root, little-endian 0xF30A. */
const EXTENT_MAGIC = [0x0a, 0xf3] as const

/** Most runs that a journal may be in: more mean a crafted map, not a fragmented filesystem. */
const MOST_RUNS = 1 << 20

/**
 * The blocks of the internal journal, gapless from its first. Where the inode is damaged the copy of its map in the
 * superblock serves, as in e2fsck. `ERR_CORRUPT` when there is no way to find it.
 */
export async function locateJournal(ctx: Ext4Context): Promise<BlockRun[]> {
  try {
    return await journalRuns(ctx, await ctx.inodes.read(ctx.superblock.s_journal_inum))
  } catch (error) {
    const backup = backupInode(ctx)
    if (backup === undefined || !isDrydiskError(error, 'ERR_CORRUPT')) throw error
    return await journalRuns(ctx, backup).catch(() => Promise.reject(error))
  }
}

/** `ERR_CORRUPT` unless the journal's inode itself, not its copy in the superblock, leads to the journal. */
export async function requireJournalInode(ctx: Ext4Context): Promise<void> {
  await journalRuns(ctx, await ctx.inodes.read(ctx.superblock.s_journal_inum))
}

/** The journal's inode as the superblock's copy tells it, or `undefined` without one. */
function backupInode(ctx: Ext4Context): Inode | undefined {
  const { superblock } = ctx
  if (superblock.s_jnl_backup_type !== BACKUP_BLOCKS) return undefined
  const saved = superblock.s_jnl_blocks
  const bytes = new Uint8Array(GOOD_OLD_INODE_SIZE)
  const inode = new Inode(superblock.s_journal_inum, bytes, ctx.blockSize, false)
  inode.iBlock.set(saved.subarray(0, 60))
  const view = new DataView(saved.buffer, saved.byteOffset, saved.byteLength)
  inode.size = view.getUint32(60, true) * 0x1_0000_0000 + view.getUint32(64, true)
  inode.mode = FILE_TYPE_BITS.file | 0o600
  inode.linksCount = 1
  inode.setFlag(INODE_FLAG.EXTENTS, saved[0] === EXTENT_MAGIC[0] && saved[1] === EXTENT_MAGIC[1])
  return inode
}

async function journalRuns(ctx: Ext4Context, inode: Inode): Promise<BlockRun[]> {
  const blocksCount = ctx.superblock.s_blocks_count
  const blocks = Math.floor(inode.size / ctx.blockSize)
  if (inode.type !== 'file' || inode.linksCount === 0 || inode.hasFlag(INODE_FLAG.ENCRYPT))
    throw corrupt(inode, 'is not a plain file')
  if (inode.hasFlag(INODE_FLAG.INLINE_DATA)) throw corrupt(inode, 'has its data in the inode')
  if (blocks < JBD2_MIN_JOURNAL_BLOCKS || blocks > blocksCount)
    throw corrupt(
      inode,
      `has ${blocks} blocks, expected ${JBD2_MIN_JOURNAL_BLOCKS} to the filesystem's ${blocksCount}`,
    )
  const runs: { block: number; count: number }[] = []
  for (let logical = 0; logical < blocks; ) {
    const mapped = await mapBlocks(ctx, inode, logical)
    if (mapped.kind !== 'data') throw corrupt(inode, `has no block ${logical} of ${blocks}`)
    const count = Math.min(mapped.count, blocks - logical)
    if (mapped.block < 1 || mapped.block + count > blocksCount)
      throw corrupt(inode, `maps block ${logical} to ${mapped.block}, outside the filesystem`)
    const last = runs.at(-1)
    if (last !== undefined && last.block + last.count === mapped.block) last.count += count
    else runs.push({ block: mapped.block, count })
    if (runs.length > MOST_RUNS) throw corrupt(inode, `is in more than ${MOST_RUNS} pieces`)
    logical += count
  }
  return runs
}

function corrupt(inode: Inode, what: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `the journal's inode ${inode.ino} ${what}; run e2fsck`, {
    structure: 'journal',
    inode: inode.ino,
  })
}
