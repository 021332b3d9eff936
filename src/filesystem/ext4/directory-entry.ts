import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../filesystem.ts'
import type { Ext4Context } from './context.ts'

/** inode, rec_len, name_len and file_type in front of the name (fs/ext4/ext4.h, struct ext4_dir_entry_2). */
export const ENTRY_HEADER = 8

/** file_type of an entry, by number; 0 says that it is not known (fs/ext4/ext4.h, EXT4_FT_*). */
const FILE_TYPES: readonly (FileType | undefined)[] = [
  undefined,
  'file',
  'directory',
  'character-device',
  'block-device',
  'fifo',
  'socket',
  'symlink',
]

/** What the bytes of an entry mean on this filesystem. */
export interface EntryFormat {
  /** Entries tell the type (the filetype feature); without it that byte is 0. */
  readonly hasFileType: boolean
  readonly blockSize: number
  /** Entries with a higher inode number are corrupt. */
  readonly inodesCount: number
}

export function entryFormat(ctx: Ext4Context): EntryFormat {
  return {
    hasFileType: ctx.superblock.has('filetype'),
    blockSize: ctx.blockSize,
    inodesCount: ctx.superblock.s_inodes_count,
  }
}

/** Bytes that an entry with a name of this length needs: a multiple of 4. */
export function entrySize(nameLength: number): number {
  return (ENTRY_HEADER + nameLength + 3) & ~3
}

export interface Entry {
  /** Byte offset in the area. */
  readonly offset: number
  readonly ino: number
  /** `undefined` where the filesystem or this entry does not tell. */
  readonly type: FileType | undefined
  /** A window on the area. */
  readonly name: Uint8Array
}

/**
 * A stretch of linked directory entries that covers its bytes without a gap: a block without its checksum tail, or one
 * of the two stretches of an inline directory. Malformed entries are `ERR_CORRUPT`.
 */
export class EntryArea {
  readonly bytes: Uint8Array
  readonly #view: ByteView
  readonly #format: EntryFormat
  readonly #where: string

  /** @param where what a message calls this area: `block 7 of directory 12` */
  constructor(bytes: Uint8Array, format: EntryFormat, where: string) {
    this.bytes = bytes
    this.#view = littleEndian(bytes, where)
    this.#format = format
    this.#where = where
  }

  /** Length of the entry at `offset`, after the checks of fs/ext4/dir.c, __ext4_check_dir_entry. */
  recLength(offset: number): number {
    const { bytes } = this
    const nameLength = bytes[offset + 6] ?? 0
    const length = decodeLength(
      (bytes[offset + 4] ?? 0) | ((bytes[offset + 5] ?? 0) << 8),
      this.#format.blockSize,
    )
    const left = bytes.length - offset
    let fault: string | undefined
    if (left < entrySize(1)) fault = `has ${left} bytes left where an entry takes ${entrySize(1)}`
    else if (length < entrySize(1)) fault = `has rec_len ${length}, less than the smallest entry`
    else if (length % 4 !== 0) fault = `has rec_len ${length}, which is not a multiple of 4`
    else if (length > left) fault = `has rec_len ${length} with ${left} bytes left`
    else if (ENTRY_HEADER + nameLength > length) fault = `has a name of ${nameLength} bytes in ${length}`
    else if (this.ino(offset) > this.#format.inodesCount)
      fault = `names inode ${this.ino(offset)} of ${this.#format.inodesCount}`
    if (fault !== undefined)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${this.#where}: the entry at byte ${offset} ${fault}; run e2fsck`,
        {
          structure: 'ext4_dir_entry_2',
          offset,
        },
      )
    return length
  }

  /** 0 for an entry without a name. */
  ino(offset: number): number {
    return this.#view.u32(offset)
  }
  nameLength(offset: number): number {
    return this.#view.u8(offset + 6)
  }
  name(offset: number): Uint8Array {
    return this.#view.slice(offset + ENTRY_HEADER, this.nameLength(offset))
  }
  type(offset: number): FileType | undefined {
    return this.#format.hasFileType ? FILE_TYPES[this.#view.u8(offset + 7)] : undefined
  }

  /** Entries that are in use, `.` and `..` among them. */
  *entries(): Iterable<Entry> {
    for (let at = 0; at < this.bytes.length; ) {
      // Before the name is read: the length says whether it lies inside.
      const length = this.recLength(at)
      const ino = this.ino(at)
      if (ino !== 0) yield { offset: at, ino, type: this.type(at), name: this.name(at) }
      at += length
    }
  }

  /** Offset of the entry with this name. */
  find(name: Uint8Array): number | undefined {
    const { bytes } = this
    const { length } = name
    const first = name[0]
    for (let at = 0; at < bytes.length; ) {
      const next = at + this.recLength(at)
      if (
        bytes[at + 6] === length &&
        bytes[at + ENTRY_HEADER] === first &&
        this.ino(at) !== 0 &&
        equalBytes(bytes.subarray(at + ENTRY_HEADER, at + ENTRY_HEADER + length), name)
      )
        return at
      at = next
    }
    return undefined
  }

  /** Puts an entry where there is room for it; false where there is none. */
  insert(name: Uint8Array, ino: number, type: FileType): boolean {
    const needed = entrySize(name.length)
    for (let at = 0; at < this.bytes.length; ) {
      const length = this.recLength(at)
      const used = this.ino(at) === 0 ? 0 : entrySize(this.nameLength(at))
      if (length - used >= needed) {
        if (used > 0) this.setRecLength(at, used)
        this.put(at + used, length - used, name, ino, type)
        return true
      }
      at += length
    }
    return false
  }

  /** Takes the entry at `offset` away: the entry before it takes its room, or its inode number becomes 0. */
  remove(offset: number): void {
    let previous: number | undefined
    for (let at = 0; at < offset; at += this.recLength(at)) previous = at
    const length = this.recLength(offset)
    const used = entrySize(this.nameLength(offset))
    if (previous === undefined) {
      this.#view.setU32(offset, 0)
      // Names of removed files do not stay behind, as in the kernel since 5.13.
      this.bytes.fill(0, offset + 6, Math.min(offset + used, offset + length))
      return
    }
    this.setRecLength(previous, this.recLength(previous) + length)
    this.bytes.fill(0, offset, Math.min(offset + used, offset + length))
  }

  /** Points the entry at `offset` to another inode. */
  retarget(offset: number, ino: number, type: FileType): void {
    this.#view.setU32(offset, ino)
    this.#view.setU8(offset + 7, this.#typeByte(type))
  }

  /** Writes an entry that spans `length` bytes. */
  put(offset: number, length: number, name: Uint8Array, ino: number, type: FileType): void {
    this.#view.setU32(offset, ino)
    this.setRecLength(offset, length)
    this.#view.setU8(offset + 6, name.length)
    this.#view.setU8(offset + 7, this.#typeByte(type))
    this.bytes.set(name, offset + ENTRY_HEADER)
    // Bytes up to the next multiple of 4 are padding; what was there belonged to an older name.
    this.bytes.fill(0, offset + ENTRY_HEADER + name.length, offset + entrySize(name.length))
  }

  /** The bytes of the entry at `offset`, as long as its name needs. */
  raw(offset: number): Uint8Array {
    return this.bytes.slice(offset, offset + entrySize(this.nameLength(offset)))
  }

  /** Replaces everything by these entries (as `raw` gave them), from `start` on and without gaps; the last takes the rest. */
  pack(entries: readonly Uint8Array[], start = 0): void {
    this.bytes.fill(0, start)
    let at = start
    for (const [index, entry] of entries.entries()) {
      this.bytes.set(entry, at)
      const last = index === entries.length - 1
      this.setRecLength(at, last ? this.bytes.length - at : entry.length)
      at += entry.length
    }
    if (entries.length === 0) this.setRecLength(start, this.bytes.length - start)
  }

  /** One entry without a name over everything. */
  clear(): void {
    this.bytes.fill(0)
    this.setRecLength(0, this.bytes.length)
  }

  setRecLength(offset: number, length: number): void {
    this.#view.setU16(offset + 4, encodeLength(length, this.#format.blockSize))
  }

  /** Makes the last entry, of an area that was `from` bytes long, reach to the end of this longer one. */
  stretchLast(from: number): void {
    if (from === 0) {
      this.clear()
      return
    }
    let last = 0
    for (let at = 0; at < from; at += this.recLength(at)) last = at
    this.setRecLength(last, this.bytes.length - last)
  }

  #typeByte(type: FileType): number {
    return this.#format.hasFileType ? FILE_TYPES.indexOf(type) : 0
  }
}

/**
 * 16 bits hold every length up to 65532. A block of 65536 bytes writes its own size as 65535, and 0 is understood too
 * (fs/ext4/ext4.h, ext4_rec_len_from_disk and ext4_rec_len_to_disk).
 */
function decodeLength(stored: number, blockSize: number): number {
  return blockSize === 0x1_0000 && (stored === 0xffff || stored === 0) ? 0x1_0000 : stored
}

function encodeLength(length: number, blockSize: number): number {
  return length === 0x1_0000 && blockSize === 0x1_0000 ? 0xffff : length
}
