import { littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../filesystem.ts'
import { initMapping } from './block-mapping.ts'
import type { Ext4Context } from './context.ts'
import { appendBlock, newLeafArea, sealLeaf } from './directory-block.ts'
import { type Entry, EntryArea, entryFormat, entrySize } from './directory-entry.ts'
import { putDots } from './directory-linear.ts'
import { INLINE_BASE, leaveInline } from './inline-data.ts'
import { getInlineValue, inlineValueCapacity, setInlineValue } from './inline-value.ts'
import { INODE_FLAG, type Inode } from './inode.ts'

/** i_block starts with the inode number of `..`; `.` is not stored (fs/ext4/ext4.h, EXT4_INLINE_DOTDOT_SIZE). */
const PARENT_SIZE = 4

/** An entry of an inline directory. */
export interface InlinePlace {
  /** The stretch that it lies in: the rest of i_block, or the value of system.data. */
  readonly stretch: 'block' | 'value'
  /** Byte offset in that stretch. */
  readonly offset: number
  readonly ino: number
}

/** The entries in i_block, a window on the inode's bytes. */
function blockStretch(ctx: Ext4Context, directory: Inode): EntryArea {
  return new EntryArea(
    directory.iBlock.subarray(PARENT_SIZE),
    entryFormat(ctx),
    `i_block of directory ${directory.ino}`,
  )
}

/** The entries in system.data: a copy, to be stored after a change. */
function valueStretch(ctx: Ext4Context, directory: Inode): EntryArea {
  const value = getInlineValue(directory)
  if (value === undefined)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `directory ${directory.ino} has inline data without its attribute system.data; run e2fsck`,
      { inode: directory.ino },
    )
  return new EntryArea(value, entryFormat(ctx), `system.data of directory ${directory.ino}`)
}

function stretch(ctx: Ext4Context, directory: Inode, which: InlinePlace['stretch']): EntryArea {
  return which === 'block' ? blockStretch(ctx, directory) : valueStretch(ctx, directory)
}

function store(ctx: Ext4Context, directory: Inode, which: InlinePlace['stretch'], area: EntryArea): void {
  if (which === 'value') setInlineValue(directory, area.bytes)
  ctx.inodes.markDirty(directory)
}

const STRETCHES = ['block', 'value'] as const

/** Entries without `.` and `..`, which are not stored as such. */
export function* inlineEntries(ctx: Ext4Context, directory: Inode): Generator<Entry> {
  for (const which of STRETCHES) yield* stretch(ctx, directory, which).entries()
}

export function findInline(ctx: Ext4Context, directory: Inode, name: Uint8Array): InlinePlace | undefined {
  for (const which of STRETCHES) {
    const area = stretch(ctx, directory, which)
    const offset = area.find(name)
    if (offset !== undefined) return { stretch: which, offset, ino: area.ino(offset) }
  }
  return undefined
}

export function inlineParent(directory: Inode): number {
  return littleEndian(directory.iBlock, `directory ${directory.ino}`).u32(0)
}

export function setInlineParent(ctx: Ext4Context, directory: Inode, parent: number): void {
  littleEndian(directory.iBlock, `directory ${directory.ino}`).setU32(0, parent)
  ctx.inodes.markDirty(directory)
}

/**
 * Makes a new directory an inline one, as the kernel does wherever it can (ext4_try_create_inline_dir); false, with
 * nothing changed, where its attributes leave no room.
 */
export function initialiseInlineDirectory(ctx: Ext4Context, directory: Inode, parent: number): boolean {
  if (!ctx.superblock.has('inline_data') || inlineValueCapacity(directory) < 0) return false
  setInlineValue(directory, new Uint8Array(0))
  directory.setFlag(INODE_FLAG.EXTENTS, false)
  directory.setFlag(INODE_FLAG.INLINE_DATA, true)
  directory.size = INLINE_BASE
  blockStretch(ctx, directory).clear()
  setInlineParent(ctx, directory, parent)
  return true
}

/** Adds a name; false when neither stretch has room for it, and no attribute gives way to more. */
export function addInline(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  ino: number,
  type: FileType,
): boolean {
  for (const which of STRETCHES) {
    const area = stretch(ctx, directory, which)
    if (area.insert(name, ino, type)) {
      store(ctx, directory, which, area)
      return true
    }
  }
  const value = getInlineValue(directory) ?? new Uint8Array(0)
  const capacity = inlineValueCapacity(directory)
  // As the kernel: the value takes all the room there is, once that holds another entry (ext4_update_inline_dir).
  if (capacity - value.length <= entrySize(1)) return false
  const longer = new Uint8Array(capacity)
  longer.set(value)
  const area = new EntryArea(longer, entryFormat(ctx), `system.data of directory ${directory.ino}`)
  area.stretchLast(value.length)
  if (!area.insert(name, ino, type)) return false
  setInlineValue(directory, longer)
  directory.size = INLINE_BASE + longer.length
  ctx.inodes.markDirty(directory)
  return true
}

export function removeInline(ctx: Ext4Context, directory: Inode, place: InlinePlace): void {
  const area = stretch(ctx, directory, place.stretch)
  area.remove(place.offset)
  store(ctx, directory, place.stretch, area)
}

export function retargetInline(
  ctx: Ext4Context,
  directory: Inode,
  place: InlinePlace,
  ino: number,
  type: FileType,
): void {
  const area = stretch(ctx, directory, place.stretch)
  area.retarget(place.offset, ino, type)
  store(ctx, directory, place.stretch, area)
}

/** Moves the entries to a block. On `ENOSPC` the directory stays as it was. */
export async function convertInlineDirectory(ctx: Ext4Context, directory: Inode): Promise<void> {
  const entries: Uint8Array[] = []
  for (const which of STRETCHES) {
    const area = stretch(ctx, directory, which)
    for (const { offset } of area.entries()) entries.push(area.raw(offset))
  }
  const parent = inlineParent(directory)
  const before = directory.bytes.slice()
  try {
    leaveInline(directory)
    initMapping(ctx, directory)
    directory.size = 0
    const { bytes } = await appendBlock(ctx, directory)
    const area = newLeafArea(ctx, directory, 0, bytes)
    const after = putDots(area, directory.ino, parent)
    if (entries.length > 0) {
      area.setRecLength(entrySize(1), entrySize(2))
      area.pack(entries, after)
    }
    sealLeaf(ctx, directory, bytes)
  } catch (error) {
    directory.bytes.set(before)
    throw error
  }
}
