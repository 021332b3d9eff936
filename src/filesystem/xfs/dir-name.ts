import { equalBytes } from '../../bytes/compare.ts'
import { printable } from '../../bytes/names.ts'
import type { FileType } from '../filesystem.ts'
import { corrupt } from './errors.ts'

/** MAXNAMELEN */
export const MOST_NAME = 255

/** XFS_DIR3_FT_*, where an entry has one. Unknown (0) and whiteouts (8, device 0/0) are looked up in the inode. */
const TYPES: ReadonlyMap<number, FileType> = new Map([
  [1, 'file'],
  [2, 'directory'],
  [3, 'character-device'],
  [4, 'block-device'],
  [5, 'fifo'],
  [6, 'socket'],
  [7, 'symlink'],
])
const FILETYPES = new Map([...TYPES].map(([filetype, type]) => [type, filetype]))

export function typeOfEntry(filetype: number): FileType | undefined {
  return TYPES.get(filetype)
}

/** What an entry has for a type. */
export function entryOfType(type: FileType): number {
  return FILETYPES.get(type) ?? 0
}

/** A name in a directory, and what it leads to. */
export interface NamedInode {
  readonly name: Uint8Array
  readonly ino: number
  /** XFS_DIR3_FT_*; 0 without ftype. */
  readonly filetype: number
}

function rotate(hash: number, bits: number): number {
  return (hash << bits) | (hash >>> (32 - bits))
}

/** The hash of directory entries and attributes (xfs_da_hashname). */
export function nameHash(name: Uint8Array): number {
  let hash = 0
  for (const byte of name) hash = byte ^ rotate(hash, 7)
  return hash >>> 0
}

/** Upper case of ISO 8859-1, with which names are folded whatever they are encoded in (xfs_ascii_ci_xfrm). */
function foldByte(byte: number): number {
  const upper = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0xc0 && byte <= 0xde && byte !== 0xd7)
  return upper ? byte + 0x20 : byte
}

/** How a filesystem compares names. */
export interface NameRules {
  hash(name: Uint8Array): number
  equal(a: Uint8Array, b: Uint8Array): boolean
}

const EXACT: NameRules = { hash: nameHash, equal: equalBytes }
const FOLDED: NameRules = {
  hash: name => nameHash(name.map(foldByte)),
  equal: (a, b) => a.length === b.length && a.every((byte, at) => foldByte(byte) === foldByte(b[at] ?? 0)),
}

export function nameRules(asciiCi: boolean): NameRules {
  return asciiCi ? FOLDED : EXACT
}

/** No name of a sound directory is empty or has a slash or a NUL (xfs_dir2_namecheck). */
export function checkName(name: Uint8Array, directory: number): void {
  if (name.length === 0 || name.includes(0) || name.includes(0x2f))
    throw corrupt(
      'directory',
      `directory ${directory} has an entry that is called ${JSON.stringify(printable(name))}`,
      {
        inode: directory,
      },
    )
}

/** `.` is 1 and `..` is 2; else 0. */
export function dots(name: Uint8Array): 0 | 1 | 2 {
  if (name[0] !== 0x2e) return 0
  if (name.length === 1) return 1
  return name.length === 2 && name[1] === 0x2e ? 2 : 0
}
