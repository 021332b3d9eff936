import type { ByteView } from '../../../bytes/byte-view.ts'
import type { NamedInode } from '../dir-name.ts'
import { parseShortDirectory } from '../dir-shortform.ts'
import { type DirLayout, LEAF_ENTRY } from './layout.ts'

/** XFS_DIR2_MAX_SHORT_INUM: the highest inode number of 4 bytes. */
const MOST_SHORT_INODE = 0xffff_ffff
/** struct xfs_dir2_block_tail */
const BLOCK_TAIL = 8

/** An entry in the inode, and where it would be in a block. */
export interface ShortEntry extends NamedInode {
  readonly offset: number
}

/** A directory in its inode; entries are in the order of their offsets. */
export interface ShortForm {
  readonly parent: number
  readonly entries: readonly ShortEntry[]
}

/** Reads the directory with its offsets; where these are out of order, new ones. */
export function readShortForm(literal: ByteView, size: number, layout: DirLayout): ShortForm {
  const { parent, entries } = parseShortDirectory(literal, size, layout.hasFtype, layout.ino)
  const width = literal.u8(1) === 0 ? 4 : 8
  let at = 2 + width
  const placed = entries.map(entry => {
    const offset = literal.u16(at + 1)
    at += entrySize(entry, width, layout.hasFtype)
    return placedAt(entry, offset)
  })
  return { parent, entries: inOrder(placed, layout) ? placed : renumbered(placed, layout) }
}

/** Field by field, of one shape: a copy by spreading got another one in V8 each time. */
function placedAt({ name, ino, filetype }: NamedInode, offset: number): ShortEntry {
  return { name, ino, filetype, offset }
}

function inOrder(entries: readonly ShortEntry[], layout: DirLayout): boolean {
  let least = layout.firstEntry
  for (const { offset, name } of entries) {
    if (offset < least || offset % 8 !== 0) return false
    least = offset + layout.entrySize(name)
  }
  return least + hashRoom(entries.length) <= layout.blockSize
}

function renumbered(entries: readonly ShortEntry[], layout: DirLayout): ShortEntry[] {
  let offset = layout.firstEntry
  return entries.map(entry => {
    const placed = placedAt(entry, offset)
    offset += layout.entrySize(entry.name)
    return placed
  })
}

/** What a block needs for hashes, those of `.` and `..` among them. */
function hashRoom(entries: number): number {
  return (entries + 2) * LEAF_ENTRY + BLOCK_TAIL
}

function entrySize({ name }: NamedInode, width: number, hasFtype: boolean): number {
  return 3 + name.length + (hasFtype ? 1 : 0) + width
}

/** All inode numbers have 8 bytes where one needs them, the parent's among them. */
function longNumbers({ parent, entries }: ShortForm): number {
  return [parent, ...entries.map(({ ino }) => ino)].filter(ino => ino > MOST_SHORT_INODE).length
}

/** Bytes of the directory, di_size. */
export function shortFormSize(form: ShortForm, hasFtype: boolean): number {
  const width = longNumbers(form) === 0 ? 4 : 8
  return form.entries.reduce((size, entry) => size + entrySize(entry, width, hasFtype), 2 + width)
}

/** Bytes that a directory of so many entries, whose names have so many, takes at least. */
export function leastShortFormSize(entries: number, nameBytes: number, hasFtype: boolean): number {
  return 2 + 4 + entries * (3 + (hasFtype ? 1 : 0) + 4) + nameBytes
}

/**
 * Puts an entry at the first place that a block would have for it, where there is one (xfs_dir2_sf_addname_pick: a directory that
 * would not fit into a block is not to be in an inode).
 */
export function withEntry(form: ShortForm, entry: NamedInode, layout: DirLayout): ShortForm | undefined {
  const size = layout.entrySize(entry.name)
  let [offset, place] = [layout.firstEntry, 0]
  for (const { offset: next, name } of form.entries) {
    if (offset + size <= next) break
    offset = next + layout.entrySize(name)
    place++
  }
  const entries = form.entries.toSpliced(place, 0, placedAt(entry, offset))
  const last = entries.at(-1)
  const end = last === undefined ? 0 : last.offset + layout.entrySize(last.name)
  return end + hashRoom(entries.length) > layout.blockSize ? undefined : { ...form, entries }
}

/** struct xfs_dir2_sf_hdr and its entries. They fit. */
export function storeShortForm(literal: ByteView, form: ShortForm, hasFtype: boolean): void {
  const longs = longNumbers(form)
  const width = longs === 0 ? 4 : 8
  const store = (at: number, ino: number) => (width === 4 ? literal.setU32(at, ino) : literal.setU64(at, ino))
  literal.bytes.fill(0)
  literal.setU8(0, form.entries.length)
  literal.setU8(1, longs)
  store(2, form.parent)
  let at = 2 + width
  for (const entry of form.entries) {
    literal.setU8(at, entry.name.length)
    literal.setU16(at + 1, entry.offset)
    literal.bytes.set(entry.name, at + 3)
    at += entrySize(entry, width, hasFtype)
    if (hasFtype) literal.setU8(at - width - 1, entry.filetype)
    store(at - width, entry.ino)
  }
}
