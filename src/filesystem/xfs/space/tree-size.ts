import { btreeHeaderSize } from '../btree-header.ts'
import { BNOBT, type BtreeKind } from '../btree-kinds.ts'
import type { Superblock } from '../superblock.ts'

/** What decides how much fits in a tree's block. */
export type BlockShape = Pick<Superblock, 'sb_blocksize' | 'isV5'>

/** Records that a leaf has at least, and entries a node; a root may have fewer. */
export function leastEntries<Record>(
  kind: BtreeKind<Record>,
  sb: BlockShape,
): { leaf: number; node: number } {
  const room = sb.sb_blocksize - btreeHeaderSize(kind.pointers, sb.isV5)
  const half = (size: number) => Math.floor(Math.floor(room / size) / 2)
  return { leaf: half(kind.recordSize), node: half(kind.keySize + (kind.pointers === 'short' ? 4 : 8)) }
}

/** Blocks of each level, from the leaves up, of a tree whose blocks are as empty as they may be. */
function levels<Record>(kind: BtreeKind<Record>, sb: BlockShape, records: number): number[] {
  const { leaf, node } = leastEntries(kind, sb)
  const found = [Math.max(1, Math.ceil(records / leaf))]
  for (let blocks = found[0] ?? 1; blocks > 1; ) {
    blocks = Math.ceil(blocks / node)
    found.push(blocks)
  }
  return found
}

/** Blocks that a tree of so many records takes at worst (xfs_btree_calc_size). */
export function mostBlocks<Record>(kind: BtreeKind<Record>, sb: BlockShape, records: number): number {
  return levels(kind, sb, records).reduce((sum, blocks) => sum + blocks, 0)
}

/** Levels of a tree of so many records at worst (xfs_btree_compute_maxlevels). */
export function levelsFor<Record>(kind: BtreeKind<Record>, sb: BlockShape, records: number): number {
  return levels(kind, sb, records).length
}

/** What is asked for at each change of the free space. */
const knownLevels = new WeakMap<BlockShape, number>()

/** Levels of a free-space tree at worst: every other block of an allocation group is free (xfs_alloc_compute_maxlevels). */
export function mostLevels(sb: BlockShape & Pick<Superblock, 'sb_agblocks'>): number {
  const known = knownLevels.get(sb)
  if (known !== undefined) return known
  const levels = levelsFor(BNOBT, sb, Math.ceil(sb.sb_agblocks / 2))
  knownLevels.set(sb, levels)
  return levels
}
