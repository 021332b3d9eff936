import { bigEndian } from '../../bytes/byte-view.ts'
import type { Storage } from '../../device/storage.ts'
import { corrupt } from './corruption.ts'
import { type Header, MAX_L1_BYTES } from './header.ts'

/** Bounds of qemu (block/qcow2.h). */
const MAX_TABLE_BYTES = 64 << 20
const MAX_EXTRA_DATA = 1024
const FIXED_LENGTH = 40

/** An internal snapshot. */
export interface Snapshot {
  readonly id: string
  readonly name: string
  /** Seconds since 1970 at which it was taken. */
  readonly date: number
  readonly dateNanoseconds: number
  /** Nanoseconds that the guest had been running. */
  readonly vmClock: bigint
  /** Bytes of saved machine state; 0 for a disk-only snapshot. */
  readonly vmStateSize: number
  /** Bytes of the disk when it was taken. */
  readonly diskSize: number
  readonly l1_table_offset: number
  readonly l1_size: number
}

export interface SnapshotTable {
  readonly snapshots: readonly Snapshot[]
  /** Bytes of the table in the file. */
  readonly length: number
}

/** Reads the snapshot table. Errors: `ERR_CORRUPT`. */
export async function readSnapshotTable(storage: Storage, header: Header): Promise<SnapshotTable> {
  if (header.nb_snapshots === 0) return { snapshots: [], length: 0 }
  const available = storage.size - header.snapshots_offset
  // A longer table may be legal, but the entries that the header counts cannot need more than this.
  const most = Math.min(
    available,
    MAX_TABLE_BYTES,
    header.nb_snapshots * (FIXED_LENGTH + MAX_EXTRA_DATA + 2 * 0xffff + 8),
  )
  const fail = (what: string): Error =>
    corrupt(storage.name, `snapshot table: ${what}`, {
      structure: 'snapshot table',
      offset: header.snapshots_offset,
    })
  if (most < header.nb_snapshots * FIXED_LENGTH)
    throw fail(`${header.nb_snapshots} snapshots do not fit into the file`)
  let bytes = new Uint8Array(Math.min(most, 64 << 10))
  await storage.read(header.snapshots_offset, bytes)
  const need = async (length: number): Promise<void> => {
    if (length > most) throw fail('an entry reaches past the end of the file')
    if (length <= bytes.length) return
    bytes = new Uint8Array(Math.min(most, Math.max(length, bytes.length * 4)))
    await storage.read(header.snapshots_offset, bytes)
  }
  const snapshots: Snapshot[] = []
  let at = 0
  for (let index = 0; index < header.nb_snapshots; index++) {
    await need(at + FIXED_LENGTH)
    const fixed = bigEndian(bytes, 'snapshot table')
    const extra = fixed.u32(at + 36)
    const idLength = fixed.u16(at + 12)
    const nameLength = fixed.u16(at + 14)
    if (extra > MAX_EXTRA_DATA)
      throw fail(`entry ${index} has ${extra} bytes of extra data; at most 1024 are possible`)
    const end = at + FIXED_LENGTH + extra + idLength + nameLength
    await need(end)
    const view = bigEndian(bytes, 'snapshot table')
    const text = (offset: number, length: number): string =>
      new TextDecoder().decode(view.slice(offset, length))
    const l1_table_offset = view.u64(at)
    const l1_size = view.u32(at + 8)
    if (l1_table_offset % header.geometry.clusterSize !== 0 || l1_size * 8 > MAX_L1_BYTES)
      throw fail(`entry ${index} has an L1 table of ${l1_size} entries at ${l1_table_offset}`)
    const strings = at + FIXED_LENGTH + extra
    snapshots.push({
      id: text(strings, idLength),
      name: text(strings + idLength, nameLength),
      date: view.u32(at + 16),
      dateNanoseconds: view.u32(at + 20),
      vmClock: view.big(at + 24),
      vmStateSize: extra >= 8 ? view.u64(at + 40) : view.u32(at + 32),
      diskSize: extra >= 16 ? view.u64(at + 48) : header.size,
      l1_table_offset,
      l1_size,
    })
    at = Math.ceil(end / 8) * 8
  }
  return { snapshots, length: at }
}
