import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../filesystem.ts'
import type { BlockNumber, Ext4Context } from './context.ts'
import {
  appendBlock,
  type DirectoryBlock,
  directoryBlock,
  directoryBlocks,
  isIndexBlock,
  isIndexed,
  leafArea,
  newLeafArea,
  sealLeaf,
} from './directory-block.ts'
import { type Entry, EntryArea, entryFormat, entrySize } from './directory-entry.ts'
import type { Inode } from './inode.ts'

/** An entry in a block of a directory. */
export interface BlockPlace extends DirectoryBlock {
  /** Byte offset in the block. */
  readonly offset: number
  readonly ino: number
}

/**
 * Entries of all blocks, `.` and `..` among them, in on-disk order, block by block: a promise for each of them would take longer than reading it.
 * An index is passed over.
 */
export async function* linearEntries(ctx: Ext4Context, directory: Inode): AsyncGenerator<Iterable<Entry>> {
  const indexed = isIndexed(ctx, directory)
  for await (const { logical, block } of directoryBlocks(ctx, directory)) {
    const bytes = await ctx.blocks.read(block)
    if (!indexed || !isIndexBlock(ctx, logical, bytes))
      yield leafArea(ctx, directory, logical, bytes).entries()
  }
}

/** Looks at every block: for directories without an index, and where the index is damaged. */
export async function findLinear(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
): Promise<BlockPlace | undefined> {
  const indexed = isIndexed(ctx, directory)
  for await (const { logical, block } of directoryBlocks(ctx, directory)) {
    const bytes = await ctx.blocks.read(block)
    if (indexed && isIndexBlock(ctx, logical, bytes)) continue
    const place = findInLeaf(ctx, directory, { logical, block }, bytes, name)
    if (place) return place
  }
  return undefined
}

export function findInLeaf(
  ctx: Ext4Context,
  directory: Inode,
  { logical, block }: DirectoryBlock,
  bytes: Uint8Array,
  name: Uint8Array,
): BlockPlace | undefined {
  const area = leafArea(ctx, directory, logical, bytes)
  const offset = area.find(name)
  return offset === undefined ? undefined : { logical, block, offset, ino: area.ino(offset) }
}

/** Puts an entry into a leaf; false when it has no room. */
export async function insertInLeaf(
  ctx: Ext4Context,
  directory: Inode,
  { logical, block }: DirectoryBlock,
  name: Uint8Array,
  ino: number,
  type: FileType,
): Promise<boolean> {
  // Looking first keeps a full block from counting as changed.
  if (!hasRoom(leafArea(ctx, directory, logical, await ctx.blocks.read(block)), name.length)) return false
  const bytes = await ctx.blocks.edit(block)
  leafArea(ctx, directory, logical, bytes).insert(name, ino, type)
  sealLeaf(ctx, directory, bytes)
  return true
}

function hasRoom(area: EntryArea, nameLength: number): boolean {
  const needed = entrySize(nameLength)
  for (let at = 0; at < area.bytes.length; ) {
    const length = area.recLength(at)
    if (length - (area.ino(at) === 0 ? 0 : entrySize(area.nameLength(at))) >= needed) return true
    at += length
  }
  return false
}

/** Adds a name to the first block with room for it; false when there is none. */
export async function insertLinear(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  ino: number,
  type: FileType,
): Promise<boolean> {
  for await (const at of directoryBlocks(ctx, directory))
    if (await insertInLeaf(ctx, directory, at, name, ino, type)) return true
  return false
}

/** Adds a name in a new block at the end. */
export async function appendLinear(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  ino: number,
  type: FileType,
): Promise<void> {
  const { logical, bytes } = await appendBlock(ctx, directory)
  const area = newLeafArea(ctx, directory, logical, bytes)
  area.put(0, area.bytes.length, name, ino, type)
  sealLeaf(ctx, directory, bytes)
}

export async function removeFromBlock(ctx: Ext4Context, directory: Inode, place: BlockPlace): Promise<void> {
  const bytes = await ctx.blocks.edit(place.block)
  leafArea(ctx, directory, place.logical, bytes).remove(place.offset)
  sealLeaf(ctx, directory, bytes)
}

export async function retargetInBlock(
  ctx: Ext4Context,
  directory: Inode,
  place: BlockPlace,
  ino: number,
  type: FileType,
): Promise<void> {
  const bytes = await ctx.blocks.edit(place.block)
  leafArea(ctx, directory, place.logical, bytes).retarget(place.offset, ino, type)
  sealLeaf(ctx, directory, bytes)
}

/** `.` and `..` in the first block, which also an index leaves where they were. */
export interface DotEntries {
  readonly block: BlockNumber
  readonly dotDotOffset: number
  readonly parent: number
}

export async function readDots(ctx: Ext4Context, directory: Inode): Promise<DotEntries> {
  const { block } = await directoryBlock(ctx, directory, 0)
  const area = await firstArea(ctx, directory, block)
  const dotDotOffset = area.recLength(0)
  const named = (offset: number, name: string) =>
    offset < area.bytes.length &&
    area.recLength(offset) > 0 &&
    area.ino(offset) !== 0 &&
    String.fromCharCode(...area.name(offset)) === name
  if (!named(0, '.') || !named(dotDotOffset, '..'))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `directory ${directory.ino} does not start with '.' and '..'; run e2fsck`,
      { inode: directory.ino },
    )
  return { block, dotDotOffset, parent: area.ino(dotDotOffset) }
}

async function firstArea(ctx: Ext4Context, directory: Inode, block: BlockNumber): Promise<EntryArea> {
  const bytes = await ctx.blocks.read(block)
  // In an indexed directory the entry of '..' spans the whole index; its checksum is another one and is not looked at here.
  return isIndexed(ctx, directory)
    ? new EntryArea(bytes, entryFormat(ctx), `block 0 of directory ${directory.ino}`)
    : leafArea(ctx, directory, 0, bytes)
}

/** Writes the first block of a new directory. */
export async function initialiseBlockDirectory(
  ctx: Ext4Context,
  directory: Inode,
  parent: number,
): Promise<void> {
  const { bytes } = await appendBlock(ctx, directory)
  const area = newLeafArea(ctx, directory, 0, bytes)
  putDots(area, directory.ino, parent)
  sealLeaf(ctx, directory, bytes)
}

/** Writes `.` and `..` over the whole of an area; returns where entries after them may start. */
export function putDots(area: EntryArea, ino: number, parent: number): number {
  const dot = Uint8Array.of(0x2e)
  const dotDot = Uint8Array.of(0x2e, 0x2e)
  const first = entrySize(1)
  area.put(0, first, dot, ino, 'directory')
  area.put(first, area.bytes.length - first, dotDot, parent, 'directory')
  return first + entrySize(2)
}
