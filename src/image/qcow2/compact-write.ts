import type { CompactPlan } from './compact-plan.ts'
import { type L1Piece, type Survey, visitEntries } from './compact-survey.ts'
import type { CompressedExtents } from './compressed-extents.ts'
import { type Geometry, TWO_32 } from './geometry.ts'
import { FIELD } from './header.ts'
import { COMPRESSED, compressedDescriptor, entryOffset, OFFSET_HIGH, OFFSET_LOW } from './l2-table.ts'
import { checkSignal, moveBytes } from './move-bytes.ts'
import { readPieces } from './padded-read.ts'
import type { Relocation } from './relocation.ts'
import type { Restructure } from './restructure.ts'
import { serializeSnapshotTable, withL1Table } from './snapshot-table.ts'
import { hasDataFile, readL1Table } from './table-references.ts'

/** Bytes of tables in memory at a time. */
const BATCH = 4 << 20

/**
 * Copies what moves, writes the tables that refer to it, and switches to them.
 * Errors: what the storage throws; `ERR_ABORTED`, with everything as before.
 */
export async function carryOut(
  restructure: Restructure,
  found: Survey,
  plan: CompactPlan,
  options: {
    readonly signal: AbortSignal | undefined
    readonly beforeSwitch: (() => Promise<void>) | undefined
    readonly onMoved: (bytes: number) => void
  },
): Promise<void> {
  const { storage } = restructure
  const { clusterSize } = restructure.header.geometry
  try {
    await moveBytes(storage, plan.moves, options.signal, options.onMoved)
    await writeL2Tables(restructure, plan)
    for (const [l1, to] of plan.l1s) await writeL1(restructure, found, plan, l1, to)
    if (plan.snapshotTable !== undefined) await writeSnapshotTable(restructure, found, plan)
    await options.beforeSwitch?.()
    checkSignal(options.signal, storage)
  } catch (error) {
    await restructure.abandon()
    throw error
  }
  const [active] = found.l1s
  const activeTo =
    active?.l1_table_offset === restructure.header.l1_table_offset ? plan.l1s.get(active) : undefined
  await restructure.publish(header => {
    if (activeTo !== undefined) header.setU64(FIELD.l1_table_offset, activeTo * clusterSize)
    if (plan.snapshotTable !== undefined)
      header.setU64(FIELD.snapshots_offset, plan.snapshotTable * clusterSize)
  })
}

async function writeL2Tables(restructure: Restructure, plan: CompactPlan): Promise<void> {
  const { storage, header } = restructure
  const { geometry } = header
  const { clusterSize } = geometry
  const atOnce = Math.max(1, Math.floor(BATCH / clusterSize))
  for (let first = 0; first < plan.tables.length; first += atOnce) {
    const offsets = plan.tables.slice(first, first + atOnce).map(cluster => cluster * clusterSize)
    const runs: { offset: number; tables: Uint8Array[] }[] = []
    await readPieces(storage, offsets, clusterSize, (offset, bytes) => {
      const table = bytes.slice()
      if (!hasDataFile(header)) redirect(table, geometry, plan.relocation, plan.extents)
      const to = plan.relocation.get(offset / clusterSize) * clusterSize
      const last = runs.at(-1)
      if (last !== undefined && last.offset + last.tables.length * clusterSize === to) last.tables.push(table)
      else runs.push({ offset: to, tables: [table] })
    })
    for (const { offset, tables } of runs) {
      const bytes = new Uint8Array(tables.length * clusterSize)
      for (const [index, table] of tables.entries()) bytes.set(table, index * clusterSize)
      await storage.write(offset, bytes)
    }
  }
}

/** Has the entries of an L2 table name the new places. Flags and subcluster bitmaps stay: refcounts move with the clusters. */
function redirect(
  table: Uint8Array,
  geometry: Geometry,
  relocation: Relocation,
  extents: CompressedExtents,
): void {
  const { clusterBits, clusterSize } = geometry
  // Bits of the high half that belong to a compressed cluster's offset.
  const offsetBits = 2 ** (62 - (clusterBits - 8) - 32) - 1
  visitEntries(table, geometry, (view, at, high, low) => {
    if ((high & COMPRESSED) !== 0) {
      const to = extents.placeOf(compressedDescriptor(clusterBits, high, low).offset)
      if (to === 0) return
      view.setUint32(at, ((high & ~offsetBits) | Math.floor(to / TWO_32)) >>> 0)
      view.setUint32(at + 4, to >>> 0)
      return
    }
    const to = relocation.get(entryOffset(high, low) / clusterSize) * clusterSize
    if (to === 0) return
    view.setUint32(at, ((high & ~OFFSET_HIGH) | Math.floor(to / TWO_32)) >>> 0)
    view.setUint32(at + 4, ((low & ~OFFSET_LOW) | (to >>> 0)) >>> 0)
  })
}

async function writeL1(
  restructure: Restructure,
  found: Survey,
  plan: CompactPlan,
  piece: L1Piece,
  to: number,
): Promise<void> {
  const { clusterSize } = restructure.header.geometry
  const bytes = new Uint8Array(piece.clusters * clusterSize)
  const view = new DataView(bytes.buffer)
  const l1 = await readL1Table(restructure, piece)
  bytes.set(l1.bytes)
  for (let index = 0; index < l1.length; index++) {
    const table = l1.offset(index) / clusterSize
    const offset = plan.relocation.get(table) * clusterSize
    if (offset === 0) {
      if (found.empty.has(table)) view.setBigUint64(index * 8, 0n)
      continue
    }
    view.setUint32(index * 8, ((l1.high(index) & ~OFFSET_HIGH) | Math.floor(offset / TWO_32)) >>> 0)
    view.setUint32(index * 8 + 4, offset >>> 0)
  }
  await restructure.storage.write(to * clusterSize, bytes)
}

async function writeSnapshotTable(restructure: Restructure, found: Survey, plan: CompactPlan): Promise<void> {
  const { storage, header } = restructure
  const { clusterSize } = header.geometry
  const places = new Map(
    [...plan.l1s].map(([{ l1_table_offset }, to]) => [l1_table_offset, to * clusterSize]),
  )
  const table = serializeSnapshotTable(
    found.snapshots.map(({ entry, l1_table_offset, l1_size }) =>
      l1_size === 0 ? entry : withL1Table(entry, places.get(l1_table_offset) ?? l1_table_offset),
    ),
  )
  const bytes = new Uint8Array(Math.ceil(table.length / clusterSize) * clusterSize)
  bytes.set(table)
  await storage.write((plan.snapshotTable ?? 0) * clusterSize, bytes)
}
