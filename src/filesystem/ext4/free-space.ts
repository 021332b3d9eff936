import { DrydiskError } from '../../errors.ts'
import type { ByteRange } from '../filesystem.ts'
import { forEachFreeRun } from './bitmap.ts'
import type { BlockRun } from './context.ts'
import { type NeverFree, requireTrust, type Unreplayed } from './free-space-trust.ts'
import { blockBitmapKind, GroupBitmaps } from './group-bitmaps.ts'
import { GROUP_FLAG } from './group-descriptor.ts'
import type { Ext4Volume } from './volume.ts'

export type { Unreplayed } from './free-space-trust.ts'

/** Bytes of bitmaps read at a time; less than what the metadata cache holds. */
const BATCH_BYTES = 4 << 20
/** Groups whose damage is told one by one. */
const MOST_WARNINGS = 8

export interface FreeSpaceOptions {
  /** As `requireTrust`. */
  readonly doubts: readonly string[]
  readonly unreplayed: Unreplayed | undefined
  readonly warn: (warning: string) => void
}

/**
 * The free space of a filesystem by its block bitmaps, as bytes of the volume. Inode tables are in use to their end, also
 * where they were never written: the kernel's lazy initialisation zeroes them, or counts on zeros.
 *
 * **A journal that is still to be replayed.** The guest replays it over what is left, so a block may go only if nothing
 * that happens until the filesystem is consistent reads it:
 * - Replay of transactions copies whole blocks out of the journal and reads none at home. It may write into a block that
 *   was dropped (one that was freed without a revoke record, as data=journal leaves it): free it was, free it stays.
 * - The journal's own blocks are in use. A bitmap that says otherwise is not believed.
 * - Orphans are cleaned up after replay through their own block maps; until then their blocks are in use in the bitmaps.
 * - Fast commits are applied by walking extent trees and directories as they were after the last transaction. A block that
 *   such a walk reads may be free once they are applied, so with fast commits nothing is dropped (`requireTrust`).
 * - GRUB, and mount -o ro,noload, read a filesystem without replaying its journal, and find files that only the journal
 *   knows to be replaced. So a block has to be free in the bitmap at home too. That is as much as bitmaps tell: where one was
 *   written home before the inodes that it is about, such a reader may find a deleted file whose blocks anyone may use by now.
 */
export async function* freeRanges(volume: Ext4Volume, options: FreeSpaceOptions): AsyncIterable<ByteRange> {
  const { geometry, blockSize } = volume
  const never = await requireTrust(volume, options.doubts, options.unreplayed)
  const batch = Math.max(1, Math.floor(BATCH_BYTES / blockSize))
  const damaged: string[] = []
  let start = 0
  let end = 0
  for (let first = 0; first < geometry.groups; first += batch) {
    const groups = { first, end: Math.min(first + batch, geometry.groups) }
    for (const run of await freeInGroups(volume, groups, never, options.unreplayed, damaged)) {
      if (run.block > end) {
        if (end > start) yield { offset: start * blockSize, length: (end - start) * blockSize }
        start = run.block
      }
      end = run.block + run.count
    }
  }
  if (end > start) yield { offset: start * blockSize, length: (end - start) * blockSize }
  for (const fault of damaged.slice(0, MOST_WARNINGS))
    options.warn(`${fault}; all of the group counts as in use. Run e2fsck.`)
  if (damaged.length > MOST_WARNINGS)
    options.warn(`ext4: ${damaged.length - MOST_WARNINGS} more groups have a damaged block bitmap.`)
}

async function freeInGroups(
  volume: Ext4Volume,
  groups: { readonly first: number; readonly end: number },
  never: NeverFree,
  unreplayed: Unreplayed | undefined,
  damaged: string[],
): Promise<BlockRun[]> {
  const { geometry, descriptors, blocks, checksumSeed, metadataChecksums } = volume
  await readAhead(volume, groups)
  // Its own for each batch: it keeps what it loads.
  const bitmaps = new GroupBitmaps(
    { geometry, descriptors, blocks, checksumSeed: metadataChecksums ? checksumSeed : undefined },
    blockBitmapKind(geometry, (from, to) => never.system.ranges(from, to)),
  )
  const found: BlockRun[] = []
  for (let group = groups.first; group < groups.end; group++) {
    const first = geometry.groupFirstBlock(group)
    const add = (from: number, to: number): void => {
      const block = first + from * geometry.clusterRatio
      // The last cluster may reach past the end of the filesystem.
      const end = Math.min(first + to * geometry.clusterRatio, geometry.blocksCount)
      requireFree(never, group, block, end)
      found.push({ block, count: end - block })
    }
    if (await isUninitialised(volume, group)) {
      const fault = await addUnwritten(volume, group, never, add)
      if (fault !== undefined) damaged.push(fault)
      continue
    }
    const { bytes, fault } = await bitmaps.load(group)
    if (fault !== undefined) {
      damaged.push(fault)
      continue
    }
    if (unreplayed !== undefined) await markUsedAtHome(volume, group, bytes, unreplayed)
    forEachFreeRun(bytes, geometry.groupClusters(group), add)
  }
  return found
}

/**
 * What is free in a group whose bitmap was never written: all but the filesystem's own blocks, its own and those of other
 * groups that flex_bg puts there. A cluster with one such block in it is in use (ext4_init_block_bitmap).
 * @returns what is wrong, where the descriptor counts otherwise; nothing is added then.
 */
async function addUnwritten(
  volume: Ext4Volume,
  group: number,
  never: NeverFree,
  add: (from: number, to: number) => void,
): Promise<string | undefined> {
  const { geometry } = volume
  const first = geometry.groupFirstBlock(group)
  const clusters = geometry.groupClusters(group)
  const runs: [number, number][] = []
  let at = 0
  let free = 0
  const addUntil = (to: number): void => {
    if (to <= at) return
    runs.push([at, to])
    free += to - at
  }
  for (const { start, end } of never.system.ranges(first, first + geometry.groupBlocks(group))) {
    addUntil(Math.floor((start - first) / geometry.clusterRatio))
    at = Math.max(at, Math.ceil((end - first) / geometry.clusterRatio))
  }
  addUntil(clusters)
  const { bg_free_blocks_count } = await volume.descriptors.read(group)
  if (free !== bg_free_blocks_count)
    return `ext4 group ${group}: nothing but metadata is used and ${free} are free, but the group descriptor says ${bg_free_blocks_count}`
  for (const [from, to] of runs) add(from, to)
  return undefined
}

/** Bitmaps of neighbouring groups lie side by side with flex_bg: read in long runs, and several at a time without. */
async function readAhead(
  volume: Ext4Volume,
  groups: { readonly first: number; readonly end: number },
): Promise<void> {
  const places: number[] = []
  for (let group = groups.first; group < groups.end; group++)
    if (!(await isUninitialised(volume, group)))
      places.push((await volume.descriptors.read(group)).bg_block_bitmap)
  places.sort((a, b) => a - b)
  const reads: Promise<void>[] = []
  for (let at = 0; at < places.length; ) {
    const block = places[at] ?? 0
    let count = 1
    while (places[at + count] === block + count) count++
    reads.push(volume.blocks.prefetch({ block, count }))
    at += count
  }
  await Promise.all(reads)
}

async function isUninitialised(volume: Ext4Volume, group: number): Promise<boolean> {
  const { descriptors } = volume
  return descriptors.hasChecksums && (await descriptors.read(group)).hasFlag(GROUP_FLAG.BLOCK_UNINIT)
}

/** Adds what the bitmap at home has in use. It need not be right, nor ever written: it can only keep more. */
async function markUsedAtHome(
  volume: Ext4Volume,
  group: number,
  bitmap: Uint8Array,
  home: Unreplayed,
): Promise<void> {
  const place = (await volume.descriptors.read(group)).bg_block_bitmap
  const before = new Uint8Array(volume.blockSize)
  await home.device.read(place * volume.blockSize, before)
  for (let at = 0; at < before.length; at++) bitmap[at] = (bitmap[at] ?? 0) | (before[at] ?? 0)
}

function requireFree(never: NeverFree, group: number, block: number, end: number): void {
  const what = never.system.intersects(block, end)
    ? 'metadata of the filesystem'
    : never.journal.intersects(block, end)
      ? 'the journal'
      : undefined
  if (what === undefined) return
  throw new DrydiskError(
    'ERR_CORRUPT',
    `ext4 group ${group}: the block bitmap has ${what} free, between blocks ${block} and ${end}: its free space is not to be believed; run e2fsck first`,
    { structure: 'block bitmap', group, block },
  )
}
