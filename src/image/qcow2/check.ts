import type { Storage } from '../../device/storage.ts'
import { type Header, INCOMPATIBLE } from './header.ts'
import { COMPRESSED, COPIED, entryOffset, L1Table } from './l2-table.ts'
import { readPadded, readPieces } from './padded-read.ts'
import { readRefcount } from './refcount-block.ts'
import { compareRefcounts } from './refcount-compare.ts'
import { readRefcountTable } from './refcount-table.ts'
import { countReferences } from './references.ts'

/** What a check found. Counts are per cluster or entry, as `qemu-img check` counts them. */
export interface CheckResult {
  readonly corruptions: number
  readonly leaks: number
  /** The first problems, in words. */
  readonly messages: readonly string[]
}

const MAX_MESSAGES = 100

/** Compares every reference with its refcount and every OFLAG_COPIED with what it says. Writes nothing. */
export async function checkImage(storage: Storage, header: Header): Promise<CheckResult> {
  let corruptions = 0
  let leaks = 0
  const messages: string[] = []
  const note = (message: string): void => {
    if (messages.length < MAX_MESSAGES) messages.push(message)
  }
  const problem = (message: string): void => {
    corruptions++
    note(message)
  }
  const { clusterSize } = header.geometry
  const table = await readRefcountTable(storage, header)
  const counts = await countReferences(storage, header, table, problem)
  const seen = new Set<number>()
  const usable = table.map(offset => {
    if (offset % clusterSize !== 0 || offset >= storage.size || seen.has(offset)) return 0
    seen.add(offset)
    return offset
  })
  await compareRefcounts(storage, header.geometry, usable, counts, (cluster, references, refcount) => {
    if (refcount < references) {
      corruptions++
      note(`cluster ${cluster}: refcount ${refcount}, referenced ${references} times`)
    } else if (cluster * clusterSize < storage.size) {
      leaks++
      note(`cluster ${cluster}: leaked, refcount ${refcount}, referenced ${references} times`)
    }
  })
  await checkCopied(storage, header, usable, problem)
  return { corruptions, leaks, messages }
}

/** OFLAG_COPIED in the active tables is set exactly where the refcount is 1. */
async function checkCopied(
  storage: Storage,
  header: Header,
  table: readonly number[],
  problem: (message: string) => void,
): Promise<void> {
  const { clusterSize, l2Entries, l2EntrySize, refcountsPerBlock, refcountBits } = header.geometry
  const blocks = new Map<number, Uint8Array>()
  const sorted = [...new Set(table.filter(offset => offset !== 0))].sort((a, b) => a - b)
  await readPieces(storage, sorted, clusterSize, (offset, bytes) => blocks.set(offset, bytes.slice()))
  const refcountOf = (offset: number): number => {
    const cluster = Math.floor(offset / clusterSize)
    const block = blocks.get(table[Math.floor(cluster / refcountsPerBlock)] ?? 0)
    return block === undefined ? 0 : readRefcount(block, cluster % refcountsPerBlock, refcountBits)
  }
  const dataFile = (header.incompatible_features & INCOMPATIBLE.dataFile) !== 0n
  const bytes = new Uint8Array(header.l1_size * 8)
  await readPadded(storage, header.l1_table_offset, bytes)
  const l1 = new L1Table(bytes)
  const offsets = new Set<number>()
  for (let index = 0; index < l1.length; index++) {
    const offset = l1.offset(index)
    if (offset === 0) continue
    const copied = (l1.high(index) & COPIED) !== 0
    if (copied !== (refcountOf(offset) === 1))
      problem(
        `L1 entry ${index}: OFLAG_COPIED is ${copied ? 'set' : 'not set'} and the refcount is ${refcountOf(offset)}`,
      )
    if (offset % clusterSize === 0 && offset < storage.size) offsets.add(offset)
  }
  await readPieces(storage, Float64Array.from(offsets).sort(), clusterSize, (offset, table) => {
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
    for (let index = 0; index < l2Entries; index++) {
      const high = view.getUint32(index * l2EntrySize)
      const low = view.getUint32(index * l2EntrySize + 4)
      if ((high & COMPRESSED) !== 0) continue
      const host = entryOffset(high, low)
      if (host === 0 || dataFile) continue
      const copied = (high & COPIED) !== 0
      if (copied !== (refcountOf(host) === 1))
        problem(
          `L2 entry ${index} at byte ${offset}: OFLAG_COPIED is ${copied ? 'set' : 'not set'} and the refcount is ${refcountOf(host)}`,
        )
    }
  })
}
