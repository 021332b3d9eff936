import { littleEndian } from '../../bytes/byte-view.ts'
import { byteKey, compareBytes, decodeUtf8, toBytes } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'

/** h_magic of in-inode attributes and of attribute blocks (fs/ext4/xattr.h). */
export const XATTR_MAGIC = 0xea02_0000
/** struct ext4_xattr_entry up to its name. */
const ENTRY_HEADER = 16
/** EXT4_XATTR_SIZE_MAX: no value is longer, wherever it lies. */
const MAX_VALUE = 1 << 24

/** e_name_index: the namespace, or for ACLs the whole name (fs/ext4/xattr.h, EXT4_XATTR_INDEX_*). */
export const XATTR_INDEX = {
  USER: 1,
  POSIX_ACL_ACCESS: 2,
  POSIX_ACL_DEFAULT: 3,
  TRUSTED: 4,
  SECURITY: 6,
  SYSTEM: 7,
  RICHACL: 8,
} as const

/** Names that an index stands for; what the kernel keeps to itself (inline data, encryption contexts) is not among them. */
const PREFIXES: readonly (readonly [index: number, prefix: string])[] = [
  [XATTR_INDEX.USER, 'user.'],
  [XATTR_INDEX.POSIX_ACL_ACCESS, 'system.posix_acl_access'],
  [XATTR_INDEX.POSIX_ACL_DEFAULT, 'system.posix_acl_default'],
  [XATTR_INDEX.TRUSTED, 'trusted.'],
  [XATTR_INDEX.SECURITY, 'security.'],
  [XATTR_INDEX.RICHACL, 'system.richacl'],
]

/** One attribute as stored. */
export interface XattrEntry {
  readonly index: number
  /** The name without what the index stands for. */
  readonly name: Uint8Array
  /** Empty where the value lies in an inode of its own. */
  readonly value: Uint8Array
  /** That inode (the ea_inode feature); 0 where the value is here. */
  readonly inum: number
  /** e_value_size. */
  readonly size: number
  /** e_hash as stored; `undefined` where it is still to be computed. */
  readonly hash: number | undefined
}

/** The full name, or `undefined` for attributes that are no one's but the filesystem's. */
export function fullName(entry: Pick<XattrEntry, 'index' | 'name'>): string | undefined {
  const prefix = PREFIXES.find(([index]) => index === entry.index)?.[1]
  if (prefix === undefined) return undefined
  // A name that is not UTF-8 is shown byte by byte; it can still be read and removed by what is shown.
  return prefix + (decodeUtf8(entry.name) ?? byteKey(entry.name))
}

/** Index and rest of a full name, or `undefined` where ext4 has no such namespace. */
export function splitName(full: string): { index: number; name: Uint8Array } | undefined {
  for (const [index, prefix] of PREFIXES) {
    const namespace = prefix.endsWith('.')
    if (namespace ? full.startsWith(prefix) && full.length > prefix.length : full === prefix)
      return { index, name: toBytes(full.slice(prefix.length)) }
  }
  return undefined
}

export function sameName(
  a: Pick<XattrEntry, 'index' | 'name'>,
  b: Pick<XattrEntry, 'index' | 'name'>,
): boolean {
  return a.index === b.index && compareBytes(a.name, b.name) === 0
}

/** The order in attribute blocks, which the kernel's search relies on (fs/ext4/xattr.c, xattr_find_entry). */
export function compareEntries(a: XattrEntry, b: XattrEntry): number {
  return a.index - b.index || a.name.length - b.name.length || compareBytes(a.name, b.name)
}

function padded(length: number): number {
  return (length + 3) & ~3
}

/** Bytes that these entries take with their values and the four zero bytes at the end of the list. */
export function entriesSize(entries: readonly XattrEntry[]): number {
  let size = 4
  for (const { name, value } of entries) size += padded(ENTRY_HEADER + name.length) + padded(value.length)
  return size
}

/**
 * Reads a list of entries. Values are copies. `ERR_CORRUPT` with the checks of fs/ext4/xattr.c, check_xattrs.
 * @param start byte of the first entry
 * @param valueBase byte that e_value_offs counts from
 */
export function parseEntries(
  bytes: Uint8Array,
  start: number,
  valueBase: number,
  where: string,
): XattrEntry[] {
  const view = littleEndian(bytes, where)
  const fail = (offset: number, fault: string) =>
    new DrydiskError('ERR_CORRUPT', `${where}: the entry at byte ${offset} ${fault}; run e2fsck`, {
      structure: 'ext4_xattr_entry',
      offset,
    })
  const entries: XattrEntry[] = []
  const values: number[] = []
  let at = start
  for (;;) {
    if (at + 4 > bytes.length) throw fail(at, 'lies outside: the list has no end')
    if (view.u32(at) === 0) break
    const nameLength = view.u8(at)
    if (at + ENTRY_HEADER + nameLength > bytes.length) throw fail(at, 'lies outside')
    const offset = valueBase + view.u16(at + 2)
    const inum = view.u32(at + 4)
    const size = view.u32(at + 8)
    if (size > MAX_VALUE) throw fail(at, `has a value of ${size} bytes, expected at most ${MAX_VALUE}`)
    const here = inum === 0 && size > 0
    if (here && offset + padded(size) > bytes.length)
      throw fail(at, `has a value of ${size} bytes at ${offset}, beyond the ${bytes.length} there are`)
    if (here) values.push(offset)
    entries.push({
      index: view.u8(at + 1),
      name: bytes.slice(at + ENTRY_HEADER, at + ENTRY_HEADER + nameLength),
      value: here ? bytes.slice(offset, offset + size) : new Uint8Array(0),
      inum,
      size,
      hash: view.u32(at + 12),
    })
    at += padded(ENTRY_HEADER + nameLength)
  }
  for (const offset of values)
    if (offset < at + 4) throw fail(offset, 'is a value that lies among the entries')
  return entries
}

/**
 * Writes a list of entries from `start` on, values from the end backwards, zeros between. They must fit.
 * @param hashOf e_hash of an entry that has none yet
 */
export function writeEntries(
  bytes: Uint8Array,
  start: number,
  valueBase: number,
  entries: readonly XattrEntry[],
  hashOf: (entry: XattrEntry) => number,
): void {
  const view = littleEndian(bytes, 'xattrs')
  bytes.fill(0, start)
  let at = start
  let end = bytes.length
  for (const entry of entries) {
    const { index, name, value, inum, size, hash } = entry
    if (value.length > 0) {
      end -= padded(value.length)
      bytes.set(value, end)
    }
    view.setU8(at, name.length)
    view.setU8(at + 1, index)
    view.setU16(at + 2, value.length > 0 ? end - valueBase : 0)
    view.setU32(at + 4, inum)
    view.setU32(at + 8, size)
    view.setU32(at + 12, hash ?? hashOf(entry))
    bytes.set(name, at + ENTRY_HEADER)
    at += padded(ENTRY_HEADER + name.length)
  }
}

/**
 * e_hash: name bytes, then the value's words (fs/ext4/xattr.c, ext4_xattr_hash_entry). Bytes of the name count as
 * unsigned, as in kernels since 6.2; those read the signed hashes of older ones too.
 */
export function entryHash(name: Uint8Array, value: Uint8Array): number {
  let hash = 0
  for (const byte of name) hash = (hash << 5) ^ (hash >>> 27) ^ byte
  for (let at = 0; at < value.length; at += 4) {
    const word =
      (value[at] ?? 0) |
      ((value[at + 1] ?? 0) << 8) |
      ((value[at + 2] ?? 0) << 16) |
      ((value[at + 3] ?? 0) << 24)
    hash = (hash << 16) ^ (hash >>> 16) ^ word
  }
  return hash >>> 0
}
