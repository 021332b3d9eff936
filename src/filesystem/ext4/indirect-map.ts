import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, Ext4Context } from './context.ts'
import { inVolume } from './extent-node.ts'
import type { Inode } from './inode.ts'
import type { MappedRun } from './mapped-run.ts'

/** i_block: 12 blocks, then the roots of one, two and three levels of pointer blocks (EXT4_NDIR_BLOCKS …). */
export const DIRECT_POINTERS = 12
const LEVELS = 3

/** Where a logical block's pointer is. */
export interface IndirectPath {
  /** Slot in i_block, then the slot in each pointer block on the way. 1 to 4 of them. */
  readonly slots: readonly number[]
  /** Logical blocks from this one to the end of the last array of pointers, this one included. */
  readonly left: number
}

/** Logical blocks that i_block reaches. */
export function indirectLimit(blockSize: number): number {
  const perBlock = blockSize / 4
  return DIRECT_POINTERS + perBlock + perBlock ** 2 + perBlock ** 3
}

/** `undefined` beyond what three levels reach. */
export function indirectPath(blockSize: number, logical: number): IndirectPath | undefined {
  if (logical < DIRECT_POINTERS) return { slots: [logical], left: DIRECT_POINTERS - logical }
  const perBlock = blockSize / 4
  let rest = logical - DIRECT_POINTERS
  for (let level = 1; level <= LEVELS; level++) {
    const reach = perBlock ** level
    if (rest < reach) {
      const slots = [DIRECT_POINTERS + level - 1]
      for (let span = reach / perBlock; span >= 1; span /= perBlock) {
        slots.push(Math.floor(rest / span))
        rest %= span
      }
      return { slots, left: perBlock - (slots[level] ?? 0) }
    }
    rest -= reach
  }
  return undefined
}

/** The pointers of i_block or of a pointer block. */
export function pointersOf(inode: Inode, bytes: Uint8Array): ByteView {
  return littleEndian(bytes, `block map of inode ${inode.ino}`)
}

/** The pointer in a slot, checked; 0 is a hole. */
export function pointerAt(ctx: Ext4Context, inode: Inode, pointers: ByteView, slot: number): BlockNumber {
  const block = pointers.u32(slot * 4)
  if (block !== 0 && !inVolume(ctx.superblock, block, 1))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `the block map of inode ${inode.ino} points to block ${block}, outside the volume; repair the filesystem with e2fsck`,
      { structure: 'block map', inode: inode.ino, block },
    )
  return block
}

/** What is at `logical` in a block-mapped inode (ext2, ext3). */
export async function mapIndirect(ctx: Ext4Context, inode: Inode, logical: number): Promise<MappedRun> {
  const path = indirectPath(ctx.blockSize, logical)
  if (path === undefined) return { logical, count: 0x1_0000_0000 - logical, kind: 'hole', block: 0 }
  let pointers = pointersOf(inode, inode.iBlock)
  for (let level = 0; level < path.slots.length - 1; level++) {
    const child = pointerAt(ctx, inode, pointers, path.slots[level] ?? 0)
    if (child === 0) return { logical, count: holeSpan(ctx.blockSize, path, level), kind: 'hole', block: 0 }
    pointers = pointersOf(inode, await ctx.blocks.read(child))
  }
  const slot = path.slots[path.slots.length - 1] ?? 0
  const block = pointerAt(ctx, inode, pointers, slot)
  const end = block === 0 ? Number.POSITIVE_INFINITY : ctx.superblock.s_blocks_count - block
  let count = 1
  while (
    count < path.left &&
    count < end &&
    pointers.u32((slot + count) * 4) === (block === 0 ? 0 : block + count)
  )
    count++
  return { logical, count, kind: block === 0 ? 'hole' : 'data', block }
}

/** Logical blocks from the one sought to the end of what the missing pointer in `slots[level]` would reach. */
function holeSpan(blockSize: number, path: IndirectPath, level: number): number {
  const perBlock = blockSize / 4
  const below = path.slots.length - 1 - level
  let inside = 0
  for (const slot of path.slots.slice(level + 1)) inside = inside * perBlock + slot
  return perBlock ** below - inside
}
