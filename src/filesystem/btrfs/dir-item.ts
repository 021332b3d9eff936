import type { ByteView } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import type { FileType } from '../filesystem.ts'
import { corrupt } from './errors.ts'
import type { Key } from './key.ts'

/** An entry of a directory, or an extended attribute (on-disk format, "DIR_ITEM"). */
export interface DirItem {
  /** The inode in the same tree, or the root item of a subvolume. */
  readonly location: Key
  readonly name: Uint8Array
  /** The value of an extended attribute. */
  readonly data: Uint8Array
  readonly type: number
}

const HEADER = 30
export const MOST_NAME = 255

const TYPES: Readonly<Record<number, FileType>> = {
  1: 'file',
  2: 'directory',
  3: 'character-device',
  4: 'block-device',
  5: 'fifo',
  6: 'socket',
  7: 'symlink',
}

/** Offset of the key of a directory entry or extended attribute. */
export function nameHash(name: Uint8Array): bigint {
  return BigInt(crc32c(0xffff_fffe, name))
}

/** All entries of an item: names with the same hash share one. */
export function parseDirItems(view: ByteView): DirItem[] {
  const out: DirItem[] = []
  for (let at = 0; at < view.length; ) {
    const [dataLength, nameLength] = [view.u16(at + 25), view.u16(at + 27)]
    if (nameLength === 0 || nameLength > MOST_NAME)
      throw corrupt('directory item', `a name of ${nameLength} bytes in a directory item`)
    out.push({
      location: { objectid: view.big(at), type: view.u8(at + 8), offset: view.big(at + 9) },
      name: view.slice(at + HEADER, nameLength),
      data: view.slice(at + HEADER + nameLength, dataLength),
      type: view.u8(at + 29),
    })
    at += HEADER + nameLength + dataLength
  }
  return out
}

/** The kind of file that a directory entry says it is. */
export function entryType(item: DirItem): FileType {
  const type = TYPES[item.type & 0x7f]
  if (type === undefined) throw corrupt('directory item', `a directory entry of type ${item.type}`)
  return type
}

/** A name that would lead elsewhere than into its directory. */
export function refuseName(name: Uint8Array): void {
  const dots = name.length <= 2 && name.every(byte => byte === 0x2e)
  if (dots || name.includes(0x2f) || name.includes(0))
    throw corrupt(
      'directory item',
      'a directory has an entry with an impossible name (., .., a slash or NUL)',
    )
}
