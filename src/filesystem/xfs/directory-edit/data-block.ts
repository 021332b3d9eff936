import type { ByteView } from '../../../bytes/byte-view.ts'
import {
  blockLeafStart,
  type DirData,
  type DirDataEntry,
  dirDataEntries,
  entrySize,
  FREE_TAG,
  NAME_AT,
  nameLengthAt,
} from '../dir-data.ts'
import type { NamedInode } from '../dir-name.ts'
import type { Geometry } from '../geometry.ts'
import type { DirLayout } from './layout.ts'

/** XFS_DIR2_DATA_FD_COUNT */
const LISTED = 3

/**
 * Bytes without an entry (struct xfs_dir2_data_unused), or such as a block lists (struct xfs_dir2_data_free). A class,
 * so that its shape in V8 is its own: as a plain object each was brought to that of other objects with the same names at its first use.
 */
export class Unused {
  readonly offset: number
  readonly length: number

  constructor(offset: number, length: number) {
    this.offset = offset
    this.length = length
  }
}

/**
 * A block of entries: what lies between them is unused, no two unused spaces are side by side, and the header lists the three
 * longest.
 */
export class DataBlock implements DirData {
  readonly view: ByteView
  readonly layout: DirLayout
  /** It is all of the directory: hashes follow the entries. */
  readonly single: boolean

  constructor(view: ByteView, layout: DirLayout, single: boolean) {
    this.view = view
    this.layout = layout
    this.single = single
  }

  get start(): number {
    return this.layout.dataStart
  }
  get end(): number {
    return this.single ? blockLeafStart(this.view) : this.view.length
  }
  /** Bytes of the longest unused space; 0 when there is none. */
  get longest(): number {
    return this.#listedLength(0)
  }
  get isEmpty(): boolean {
    return this.longest === this.end - this.start
  }
  /** Bytes of all names, those of `.` and `..` among them. */
  get nameBytes(): number {
    const { layout, view } = this
    let bytes = 0
    for (let at = this.start; at < this.end; )
      if (view.u16(at) === FREE_TAG) at += view.u16(at + 2)
      else {
        const length = this.#nameLength(at)
        bytes += length
        at += entrySize(length, layout.hasFtype)
      }
    return bytes
  }
  entries(): Iterable<DirDataEntry> {
    return dirDataEntries(this.layout, this, this.layout.hasFtype)
  }

  #listedOffset(index: number): number {
    return this.view.u16(this.layout.bestFreeAt + index * 4)
  }
  #listedLength(index: number): number {
    return this.view.u16(this.layout.bestFreeAt + index * 4 + 2)
  }

  /** The longest unused spaces, from the longest. */
  get listed(): Unused[] {
    const listed: Unused[] = []
    for (let index = 0; index < LISTED; index++) {
      const length = this.#listedLength(index)
      if (length !== 0) listed.push(new Unused(this.#listedOffset(index), length))
    }
    return listed
  }
  set listed(spaces: readonly Unused[]) {
    for (let index = 0; index < LISTED; index++) {
      const at = this.layout.bestFreeAt + index * 4
      this.view.setU16(at, spaces[index]?.offset ?? 0)
      this.view.setU16(at + 2, spaces[index]?.length ?? 0)
    }
  }

  /** All unused spaces, in the order of the block. Entries were found right before. */
  *unused(): Iterable<Unused> {
    let at = this.start
    for (const { offset, name } of this.entries()) {
      if (offset > at) yield new Unused(at, offset - at)
      at = offset + this.layout.entrySize(name)
    }
    if (at < this.end) yield new Unused(at, this.end - at)
  }

  /** Whether entries can be, each unused space is one piece, and the list is right: what a change relies on. */
  check(geometry: Pick<Geometry, 'inodePlace'>): void {
    for (const entry of this.entries()) this.layout.requireEntry(entry, geometry)
    const spaces = [...this.unused()]
    for (const space of spaces) this.#require(space)
    const longest = spaces.toSorted(byLength)
    const { listed } = this
    const right = listed.every(
      ({ offset, length }, index) =>
        length === longest[index]?.length &&
        spaces.some(space => space.offset === offset && space.length === length) &&
        listed.findIndex(other => other.offset === offset) === index,
    )
    if (!right || listed.length !== Math.min(LISTED, spaces.length))
      throw this.layout.corrupt('a block lists other free spaces than it has')
  }

  /** Nothing is in the block. */
  clear(): void {
    const all = new Unused(this.start, this.end - this.start)
    this.mark(all)
    this.listed = [all]
  }

  /** The shortest listed space that has room, other than the one given. */
  spaceFor(length: number, except?: Unused): Unused | undefined {
    for (let index = LISTED - 1; index >= 0; index--) {
      const [offset, found] = [this.#listedOffset(index), this.#listedLength(index)]
      if (found !== 0 && found >= length && offset !== except?.offset) return new Unused(offset, found)
    }
    return undefined
  }

  /** The unused space that the block ends with. */
  get lastSpace(): Unused | undefined {
    return this.#spaceBefore(this.end)
  }

  /** Puts an entry into an unused space, at its beginning when no place is given. */
  insert({ name, ino, filetype }: NamedInode, space: Unused, offset = space.offset): void {
    const { view, layout } = this
    const size = layout.entrySize(name)
    this.take(space, offset, size, () => {
      view.bytes.fill(0, offset, offset + size)
      view.setU64(offset, ino)
      view.setU8(offset + 8, name.length)
      view.bytes.set(name, offset + NAME_AT)
      if (layout.hasFtype) view.setU8(offset + NAME_AT + name.length, filetype)
      view.setU16(offset + size - 2, offset)
    })
  }

  remove(offset: number): void {
    const size = entrySize(this.#nameLength(offset), this.layout.hasFtype)
    this.view.bytes.fill(0, offset, offset + size)
    this.give(offset, size)
  }

  /** The name leads to another inode from now on. */
  redirect(offset: number, ino: number, filetype: number): void {
    const namelen = this.#nameLength(offset)
    this.view.setU64(offset, ino)
    if (this.layout.hasFtype) this.view.setU8(offset + NAME_AT + namelen, filetype)
  }

  #nameLength(offset: number): number {
    return nameLengthAt(this.layout, this, offset, this.layout.hasFtype)
  }

  /**
   * Part of an unused space is used from now on.
   * @param use makes of it what it is to be, or moves the block's end before it.
   */
  take(space: Unused, offset: number, length: number, use: () => void): void {
    this.#require(space)
    const behind = offset + length
    const left = [
      new Unused(space.offset, offset - space.offset),
      new Unused(behind, space.offset + space.length - behind),
    ].filter(part => part.length !== 0)
    for (const part of left) this.mark(part)
    use()
    this.#relist([space], left)
  }

  /** Bytes are unused from now on, together with such before and behind them. */
  give(offset: number, length: number): void {
    const before = this.#spaceBefore(offset)
    const behind = this.#spaceAt(offset + length)
    const from = before?.offset ?? offset
    const joined = new Unused(from, offset + length + (behind?.length ?? 0) - from)
    this.mark(joined)
    const gone = [before, behind].filter(space => space !== undefined)
    this.#relist(gone, [joined])
  }

  /** Makes one unused space of bytes; the list is the caller's. */
  mark({ offset, length }: Unused): void {
    this.view.setU16(offset, FREE_TAG)
    this.view.setU16(offset + 2, length)
    this.view.setU16(offset + length - 2, offset)
  }

  #require({ offset, length }: Unused): void {
    const { view } = this
    const fits = offset >= this.start && length >= 8 && offset + length <= this.end
    if (
      !fits ||
      view.u16(offset) !== FREE_TAG ||
      view.u16(offset + 2) !== length ||
      view.u16(offset + length - 2) !== offset
    )
      throw this.layout.corrupt(`there is no free space of ${length} bytes at ${offset} of a block`)
  }

  /** What ends at `end` ends with its own offset, whether it is an entry or not. */
  #spaceBefore(end: number): Unused | undefined {
    if (end <= this.start) return undefined
    const offset = this.view.u16(end - 2)
    return offset < this.start || offset >= end ? undefined : this.#spaceAt(offset)
  }

  #spaceAt(offset: number): Unused | undefined {
    if (offset >= this.end || this.view.u16(offset) !== FREE_TAG) return undefined
    return new Unused(offset, this.view.u16(offset + 2))
  }

  /** The list after some spaces went and others came. */
  #relist(gone: readonly Unused[], come: readonly Unused[]): void {
    const before = this.listed
    const shortest = before[LISTED - 1]
    const now: Unused[] = []
    for (const space of before) if (!isAmong(gone, space)) now.push(space)
    // The list is in order, and mostly one comes: to sort it takes more than all the rest.
    for (const space of come) {
      const place = now.findIndex(({ length }) => length < space.length)
      now.splice(place < 0 ? now.length : place, 0, space)
    }
    // What is not listed is no longer than the last that was; there is none of it where the list was not full.
    const last = now[LISTED - 1]
    if (shortest === undefined || (last !== undefined && last.length >= shortest.length)) this.listed = now
    else this.listAll()
  }

  /** Makes the list anew. */
  listAll(): void {
    this.listed = [...this.unused()].sort(byLength)
  }
}

/** The longest first. */
function byLength(a: Unused, b: Unused): number {
  return b.length - a.length
}

function isAmong(spaces: readonly Unused[], { offset }: Unused): boolean {
  for (const space of spaces) if (space.offset === offset) return true
  return false
}
