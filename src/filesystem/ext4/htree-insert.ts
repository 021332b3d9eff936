import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../filesystem.ts'
import type { Ext4Context } from './context.ts'
import {
  appendBlock,
  blockCount,
  directoryBlock,
  entrySpace,
  leafArea,
  newLeafArea,
  sealLeaf,
} from './directory-block.ts'
import { EntryArea, entryFormat, entrySize } from './directory-entry.ts'
import { directoryHash, HASH_VERSION, hashName } from './directory-hash.ts'
import { insertInLeaf, readDots } from './directory-linear.ts'
import { deepest, type IndexFrame, type IndexPath, leafOfPath, probe } from './htree-lookup.ts'
import { IndexNode, maxIndirectLevels } from './htree-node.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import { SUPERBLOCK_FLAG } from './superblock.ts'

/** A new name needs at most: a level more, a split on each level, a leaf split. Each is one round. */
const MAX_ROUNDS = 8

/** Adds a name to an indexed directory. `ENOSPC` when the index is full; `ERR_CORRUPT` when it is damaged. */
export async function addIndexed(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  ino: number,
  type: FileType,
): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const path = await probe(ctx, directory, name)
    const leaf = await leafOfPath(ctx, directory, path)
    if (await insertInLeaf(ctx, directory, leaf, name, ino, type)) return
    if (deepest(path).node.isFull) await makeRoom(ctx, directory, path)
    else await splitLeaf(ctx, directory, path)
  }
  throw new DrydiskError(
    'ERR_CORRUPT',
    `splitting blocks of directory ${directory.ino} makes no room for a name; run e2fsck -D`,
    { inode: directory.ino },
  )
}

/** The node of a frame, to be changed before the next await but one that edits another block. */
async function editFrame(ctx: Ext4Context, directory: Inode, frame: IndexFrame): Promise<IndexNode> {
  const bytes = await ctx.blocks.edit(frame.block)
  return frame.logical === 0
    ? IndexNode.root(ctx, directory, bytes).node
    : IndexNode.inner(ctx, { directory, logical: frame.logical }, bytes)
}

/** Splits the topmost full node below one that has room, or puts a level between the root and the rest. */
async function makeRoom(ctx: Ext4Context, directory: Inode, path: IndexPath): Promise<void> {
  const { frames } = path
  const full = frames.findIndex((_, level) => frames.slice(level).every(frame => frame.node.isFull))
  const frame = frames[full]
  const above = frames[full - 1]
  if (!frame) return
  if (!above) {
    await addLevel(ctx, directory, frame, frames.length - 1)
    return
  }
  const node = await editFrame(ctx, directory, frame)
  const parent = await editFrame(ctx, directory, above)
  const { logical, bytes } = await appendBlock(ctx, directory)
  const upper = IndexNode.createInner(ctx, bytes)
  const half = node.count >>> 1
  const hash = node.hash(half)
  node.moveTo(upper, half)
  parent.insert(above.at + 1, hash, logical)
  for (const changed of [node, upper, parent]) changed.seal(ctx, directory)
}

async function addLevel(ctx: Ext4Context, directory: Inode, root: IndexFrame, levels: number): Promise<void> {
  if (levels >= maxIndirectLevels(ctx))
    throw new DrydiskError(
      'ENOSPC',
      `the index of directory ${directory.ino} is full: ${levels + 1} levels with ${root.node.limit} entries at the root`,
      { inode: directory.ino },
    )
  const node = await editFrame(ctx, directory, root)
  const { logical, bytes } = await appendBlock(ctx, directory)
  const child = IndexNode.createInner(ctx, bytes)
  node.moveTo(child, 0)
  node.deepen(logical)
  child.seal(ctx, directory)
  node.seal(ctx, directory)
}

/** Moves the names with the higher hashes, about half of the bytes, to a new leaf (fs/ext4/namei.c, do_split). */
async function splitLeaf(ctx: Ext4Context, directory: Inode, path: IndexPath): Promise<void> {
  const frame = deepest(path)
  const leaf = await leafOfPath(ctx, directory, path)
  const bytes = await ctx.blocks.edit(leaf.block)
  const area = leafArea(ctx, directory, leaf.logical, bytes)
  const root = path.frames[0]
  if (!root) return
  const { info } = IndexNode.root(ctx, directory, await ctx.blocks.read(root.block))
  const hash = directoryHash(ctx.superblock, info.hashVersion)
  const entries = [...area.entries()].map(({ offset, name }) => ({
    hash: hashName(hash, name),
    raw: area.raw(offset),
  }))
  entries.sort((a, b) => a.hash - b.hash)
  const split = splitPoint(
    entries.map(entry => entry.raw.length),
    ctx.blockSize,
  )
  const first = entries[split]
  const before = entries[split - 1]
  if (!first || !before)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `block ${leaf.logical} of directory ${directory.ino} has no room and too few names to split; run e2fsck -D`,
      { inode: directory.ino, block: leaf.logical },
    )
  const node = await editFrame(ctx, directory, frame)
  const added = await appendBlock(ctx, directory)
  newLeafArea(ctx, directory, added.logical, added.bytes).pack(entries.slice(split).map(entry => entry.raw))
  area.pack(entries.slice(0, split).map(entry => entry.raw))
  // Names on both sides share the hash: a reader who finds none in the first leaf has to look into the next.
  const continued = first.hash === before.hash ? 1 : 0
  node.insert(frame.at + 1, first.hash + continued, added.logical)
  sealLeaf(ctx, directory, added.bytes)
  sealLeaf(ctx, directory, bytes)
  node.seal(ctx, directory)
}

/** How many entries stay: the others take, from the end, as close to half a block as they get. */
function splitPoint(sizes: readonly number[], blockSize: number): number {
  let size = 0
  for (let index = sizes.length - 1; index > 0; index--) {
    const next = sizes[index] ?? 0
    if (size + next / 2 > blockSize / 2) return index + 1
    size += next
  }
  // All but one fit into half a block: rather halve their number.
  return sizes.length >>> 1
}

/** Whether a directory that is full can get an index: it has one block, and the filesystem knows htrees. */
export function canBecomeIndexed(ctx: Ext4Context, directory: Inode): boolean {
  return (
    ctx.superblock.has('dir_index') &&
    blockCount(ctx, directory) === 1 &&
    ctx.superblock.s_def_hash_version <= HASH_VERSION.TEA
  )
}

/** Turns a directory of one block into an htree with one leaf (fs/ext4/namei.c, make_indexed_dir). */
export async function makeIndexed(ctx: Ext4Context, directory: Inode): Promise<void> {
  const { dotDotOffset } = await readDots(ctx, directory)
  const { block } = await directoryBlock(ctx, directory, 0)
  const bytes = await ctx.blocks.edit(block)
  const area = leafArea(ctx, directory, 0, bytes)
  if (dotDotOffset !== entrySize(1) || area.bytes.length !== entrySpace(ctx))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `directory ${directory.ino} has '..' at byte ${dotDotOffset}, expected ${entrySize(1)}; run e2fsck`,
      { inode: directory.ino },
    )
  const names = [...area.entries()]
    .filter(({ offset }) => offset > dotDotOffset)
    .map(({ offset }) => area.raw(offset))
  const leaf = await appendBlock(ctx, directory)
  newLeafArea(ctx, directory, leaf.logical, leaf.bytes).pack(names)
  sealLeaf(ctx, directory, leaf.bytes)
  // To a reader without htrees, '..' spans the whole index.
  new EntryArea(bytes, entryFormat(ctx), `block 0 of directory ${directory.ino}`).setRecLength(
    dotDotOffset,
    ctx.blockSize - dotDotOffset,
  )
  IndexNode.createRoot(ctx, bytes, ctx.superblock.s_def_hash_version, leaf.logical).seal(ctx, directory)
  directory.setFlag(INODE_FLAG.INDEX, true)
  ctx.inodes.markDirty(directory)
  settleHashSign(ctx)
}

/** The first index decides whether names hash as signed or unsigned bytes; the superblock has to say which. */
function settleHashSign(ctx: Ext4Context): void {
  const { superblock } = ctx
  if ((superblock.s_flags & (SUPERBLOCK_FLAG.SIGNED_HASH | SUPERBLOCK_FLAG.UNSIGNED_HASH)) === 0)
    superblock.s_flags |= SUPERBLOCK_FLAG.SIGNED_HASH
}
