import type { ByteView } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, BlockRun, Ext4Context } from './context.ts'
import { DIRECT_POINTERS, indirectLimit, indirectPath, pointerAt, pointersOf } from './indirect-map.ts'
import type { Inode } from './inode.ts'

/** Allocates and maps up to `count` blocks from `logical`, which is a hole, with the pointer blocks on the way. */
export async function insertIndirect(
  ctx: Ext4Context,
  inode: Inode,
  logical: number,
  count: number,
): Promise<BlockRun> {
  const path = indirectPath(ctx.blockSize, logical)
  if (path === undefined)
    throw new DrydiskError('EFBIG', `inode ${inode.ino}: a block map does not reach block ${logical}`, {
      inode: inode.ino,
    })
  const depth = path.slots.length - 1
  // Down to the array that holds the pointer, or to the first pointer that is missing.
  let pointers = pointersOf(inode, inode.iBlock)
  let holder: BlockNumber | undefined
  let level = 0
  for (; level < depth; level++) {
    const child = pointerAt(ctx, inode, pointers, path.slots[level] ?? 0)
    if (child === 0) break
    holder = child
    pointers = pointersOf(inode, await ctx.blocks.read(child))
  }
  if (holder !== undefined) ctx.allocator.requireFileBlocks({ block: holder, count: 1 })
  const slot = path.slots[level] ?? 0
  let wanted = Math.min(count, path.left)
  if (level === depth) {
    let free = 1
    while (free < wanted && pointers.u32((slot + free) * 4) === 0) free++
    wanted = free
  }

  const before = slot > 0 ? pointers.u32((slot - 1) * 4) : 0
  const taken: BlockRun[] = []
  let goal = before !== 0 ? before + 1 : holder !== undefined ? holder + 1 : ctx.allocator.goalFor(inode)
  if (goal >= ctx.superblock.s_blocks_count) goal = ctx.allocator.goalFor(inode)
  try {
    for (let missing = level; missing <= depth; missing++) {
      const run = await ctx.allocator.allocate(goal, missing === depth ? wanted : 1)
      taken.push(run)
      goal = run.block + run.count
      // Pointers have 32 bits; extents are the way to what lies behind them.
      if (goal > 0x1_0000_0000)
        throw new DrydiskError(
          'ENOSPC',
          `inode ${inode.ino} has a block map, and no block below 2^32 is free`,
          {
            inode: inode.ino,
          },
        )
    }
    if (level > 0) pointers = pointersOf(inode, await ctx.blocks.edit(holder ?? 0))
  } catch (error) {
    for (const run of taken) await ctx.allocator.free(run)
    throw error
  }

  const data = taken.pop()
  if (data === undefined) throw new RangeError('data blocks were allocated')
  // From here on nothing can fail: the new pointer blocks are linked from the top down.
  let array = pointers
  let at = slot
  taken.forEach((run, index) => {
    array.setU32(at * 4, run.block)
    array = pointersOf(inode, ctx.blocks.fresh(run.block))
    at = path.slots[level + index + 1] ?? 0
  })
  for (let index = 0; index < data.count; index++) array.setU32((at + index) * 4, data.block + index)
  inode.addBlocks(taken.length + data.count)
  ctx.inodes.markDirty(inode)
  return data
}

/** Unmaps the logical blocks from `first` up to `end`, frees them, and the pointer blocks that are left empty. */
export async function removeIndirect(
  ctx: Ext4Context,
  inode: Inode,
  first: number,
  end: number,
): Promise<void> {
  const perBlock = ctx.blockSize / 4
  const limit = Math.min(end, indirectLimit(ctx.blockSize))
  const root = pointersOf(inode, inode.iBlock)
  const freer = new RunFreer(ctx, inode)
  await clear(ctx, inode, root, 0, DIRECT_POINTERS, 0, 0, first, limit, freer)
  let base = DIRECT_POINTERS
  for (let level = 1; level <= 3; level++) {
    const slot = DIRECT_POINTERS + level - 1
    await clear(ctx, inode, root, slot, slot + 1, level, base, first, limit, freer)
    base += perBlock ** level
  }
  await freer.flush()
  ctx.inodes.markDirty(inode)
}

/**
 * Clears pointers in slots `from` to `to` of an array. `level`: pointer blocks between this array and data;
 * `base`: the logical block that slot `from` starts at. At most 3 calls deep.
 */
async function clear(
  ctx: Ext4Context,
  inode: Inode,
  array: ByteView,
  from: number,
  to: number,
  level: number,
  base: number,
  first: number,
  end: number,
  freer: RunFreer,
): Promise<void> {
  const perBlock = ctx.blockSize / 4
  const span = perBlock ** level
  const low = from + Math.max(0, Math.floor((first - base) / span))
  const high = Math.min(to, from + Math.ceil((end - base) / span))
  for (let slot = low; slot < high; slot++) {
    const block = pointerAt(ctx, inode, array, slot)
    if (block === 0) continue
    if (level === 0) {
      array.setU32(slot * 4, 0)
      await freer.add(block)
      continue
    }
    const start = base + (slot - from) * span
    const whole = first <= start && start + span <= end
    // A pointer block that goes as a whole is cleared in memory only: freeing it drops what was changed.
    ctx.allocator.requireFileBlocks({ block, count: 1 })
    const child = pointersOf(inode, await ctx.blocks.edit(block))
    await clear(ctx, inode, child, 0, perBlock, level - 1, start, first, end, freer)
    if (whole || child.bytes.every(byte => byte === 0)) {
      array.setU32(slot * 4, 0)
      await freer.add(block)
    }
  }
}

/** Frees blocks in runs as long as they come. */
class RunFreer {
  readonly #ctx: Ext4Context
  readonly #inode: Inode
  #block = 0
  #count = 0

  constructor(ctx: Ext4Context, inode: Inode) {
    this.#ctx = ctx
    this.#inode = inode
  }

  async add(block: BlockNumber): Promise<void> {
    if (this.#count > 0 && block === this.#block + this.#count) {
      this.#count++
      return
    }
    await this.flush()
    this.#block = block
    this.#count = 1
  }

  async flush(): Promise<void> {
    if (this.#count === 0) return
    const run = { block: this.#block, count: this.#count }
    this.#count = 0
    await this.#ctx.allocator.free(run)
    this.#inode.addBlocks(-run.count)
  }
}
