import type { ByteView } from '../../../bytes/byte-view.ts'
import { firstFrom, type HashEntries, hashEntries } from '../dir-leaf.ts'
import { LEAF_ENTRY } from './layout.ts'

/** struct xfs_dir2_leaf_entry: the hash of a name, and where its entry is; at address 0 there is none. */
export interface HashEntry {
  readonly hash: number
  readonly address: number
}

/** The entries that are not stale. */
export function liveEntries({ count, hash, address }: HashEntries): HashEntry[] {
  const live: HashEntry[] = []
  for (let index = 0; index < count; index++)
    if (address(index) !== 0) live.push({ hash: hash(index), address: address(index) })
  return live
}

export function byHash(a: HashEntry, b: HashEntry): number {
  return a.hash - b.hash
}

export function storeEntry(view: ByteView, at: number, { hash, address }: HashEntry): void {
  view.setU32(at, hash)
  view.setU32(at + 4, address)
}

export function storeEntries(view: ByteView, at: number, entries: readonly HashEntry[]): void {
  for (const [index, entry] of entries.entries()) storeEntry(view, at + index * LEAF_ENTRY, entry)
}

/** Which of the entries it is; `undefined` when it is none of them. */
export function indexOfEntry(entries: HashEntries, { hash, address }: HashEntry): number | undefined {
  for (let index = firstFrom(entries, hash); index < entries.count; index++) {
    if (entries.hash(index) !== hash) return undefined
    if (entries.address(index) === address) return index
  }
  return undefined
}

/** Puts an entry among those from `at`, in order; those behind it move up. */
export function insertUpwards(view: ByteView, at: number, count: number, entry: HashEntry): void {
  const place = at + firstFrom(hashEntries(view, at, count), entry.hash) * LEAF_ENTRY
  view.bytes.copyWithin(place + LEAF_ENTRY, place, at + count * LEAF_ENTRY)
  storeEntry(view, place, entry)
}

/** Takes out an entry; those behind it move down. */
export function removeDownwards(view: ByteView, at: number, count: number, index: number): void {
  const place = at + index * LEAF_ENTRY
  const end = at + count * LEAF_ENTRY
  view.bytes.copyWithin(place, place + LEAF_ENTRY, end)
  view.bytes.fill(0, end - LEAF_ENTRY, end)
}

/** Puts an entry among those from `at`, in order; those before it move down, and so they begin one entry earlier. */
export function insertDownwards(view: ByteView, at: number, count: number, entry: HashEntry): void {
  const before = firstFrom(hashEntries(view, at, count), entry.hash) * LEAF_ENTRY
  view.bytes.copyWithin(at - LEAF_ENTRY, at, at + before)
  storeEntry(view, at - LEAF_ENTRY + before, entry)
}

/** Takes out an entry; those before it move up, and so they begin one entry later. */
export function removeUpwards(view: ByteView, at: number, index: number): void {
  view.bytes.copyWithin(at + LEAF_ENTRY, at, at + index * LEAF_ENTRY)
  view.bytes.fill(0, at, at + LEAF_ENTRY)
}
