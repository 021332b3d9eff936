import type { ByteView } from '../../../bytes/byte-view.ts'
import { ATTR, type AttrEntry } from '../attr-entry.ts'
import { attrLeafEntries } from '../attr-leaf.ts'
import type { DaFork } from '../da-block.ts'
import { daInfoSize } from '../da-node.ts'
import { corrupt } from '../errors.ts'

/** struct xfs_attr_leaf_entry */
const ENTRY = 8
/** Names and values begin at multiples of it (XFS_ATTR_LEAF_NAME_ALIGN). */
const ALIGNMENT = 4
/**
 * What goes before a name and its value: struct xfs_attr_leaf_name_local, and xfs_attr_leaf_name_remote, which counts with two
 * bytes of padding although the name begins in them (xfs_attr_leaf_entsize_remote).
 */
const LOCAL = 3
const REMOTE = { header: 9, counted: 11 } as const

/** An attribute of a leaf. Attributes are in the order of their hashes. */
export interface LeafEntry extends AttrEntry {
  readonly hash: number
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}

/** Bytes of the name and the value, or of where the value is. */
function nameBytes({ name, value }: AttrEntry): number {
  return aligned(
    value instanceof Uint8Array ? LOCAL + name.length + value.length : REMOTE.counted + name.length,
  )
}

/** Whether a value goes into the leaf: both are less than three quarters of a block (xfs_attr_leaf_entsize_local_max). */
export function isLocal(nameLength: number, valueLength: number, blockSize: number): boolean {
  return aligned(LOCAL + nameLength + valueLength) < (blockSize >>> 1) + (blockSize >>> 2)
}

/** Bytes of a leaf that an attribute takes, its place in the list of hashes among them. */
export function entryBytes(entry: AttrEntry): number {
  return ENTRY + nameBytes(entry)
}

/** What a leaf has for its attributes. */
export function leafRoom(blockSize: number, isV5: boolean): number {
  return blockSize - headerSize(isV5)
}

function headerSize(isV5: boolean): number {
  return isV5 ? 80 : 32
}

/** The attributes of a leaf, as they are whatever becomes of the block. */
export function readLeaf(fork: DaFork, view: ByteView): LeafEntry[] {
  return Array.from(attrLeafEntries(fork, view), ({ hash, flags, name, value }) => ({
    hash,
    flags,
    name: name.slice(),
    value: value instanceof Uint8Array ? value.slice() : value,
  }))
}

/** 0 where there is none. */
export function lastHash(view: ByteView, isV5: boolean): number {
  const count = view.u16(daInfoSize(isV5))
  return count === 0 ? 0 : view.u32(headerSize(isV5) + (count - 1) * ENTRY)
}

/**
 * Makes a block one with these attributes (struct xfs_attr_leafblock); what is in its header for the tree stays. Free space is in
 * one piece, between the hashes and the names.
 */
export function writeLeaf(view: ByteView, isV5: boolean, entries: readonly LeafEntry[]): void {
  const info = daInfoSize(isV5)
  const start = headerSize(isV5)
  const used = entries.reduce((sum, entry) => sum + nameBytes(entry), 0)
  const firstused = view.length - used
  const end = start + entries.length * ENTRY
  if (end > firstused)
    throw corrupt('attributes', `${entries.length} attributes of a leaf overlap: they do not fit into it`)
  view.bytes.fill(0, info)
  view.setU16(info, entries.length)
  view.setU16(info + 2, used)
  // An empty leaf of 64 KiB has 0 here (XFS_ATTR3_LEAF_NULLOFF).
  view.setU16(info + 4, firstused & 0xffff)
  view.setU16(info + 8, end)
  view.setU16(info + 10, firstused - end)
  let at = view.length
  for (const [index, entry] of entries.entries()) {
    at -= nameBytes(entry)
    view.setU32(start + index * ENTRY, entry.hash)
    view.setU16(start + index * ENTRY + 4, at)
    view.setU8(start + index * ENTRY + 6, entry.flags)
    writeName(view, at, entry)
  }
}

function writeName(view: ByteView, at: number, { name, value, flags }: LeafEntry): void {
  if (value instanceof Uint8Array !== ((flags & ATTR.LOCAL) !== 0))
    throw new Error('an attribute is where its flags do not say')
  if (value instanceof Uint8Array) {
    view.setU16(at, value.length)
    view.setU8(at + 2, name.length)
    view.bytes.set(name, at + LOCAL)
    view.bytes.set(value, at + LOCAL + name.length)
    return
  }
  view.setU32(at, value.valueblk)
  view.setU32(at + 4, value.valuelen)
  view.setU8(at + 8, name.length)
  view.bytes.set(name, at + REMOTE.header)
}

/**
 * Where a list that is too long for one leaf is cut, so that both parts fit and are much alike; `undefined` when there is no such
 * place. Equal hashes stay together if they can: in two leaves they are right, but xfs_repair before 6.5 takes them for damage at
 * the tree's end (verify_final_da_path).
 */
export function halfOf(entries: readonly LeafEntry[], room: number): number | undefined {
  const total = entries.reduce((sum, entry) => sum + entryBytes(entry), 0)
  let best: number | undefined
  let least = Number.POSITIVE_INFINITY
  let lower = 0
  for (const [index, entry] of entries.entries()) {
    const fits = index > 0 && lower <= room && total - lower <= room
    const cost = Math.abs(total - 2 * lower) + (entries[index - 1]?.hash === entry.hash ? total : 0)
    if (fits && cost < least) {
      best = index
      least = cost
    }
    lower += entryBytes(entry)
  }
  return best
}
