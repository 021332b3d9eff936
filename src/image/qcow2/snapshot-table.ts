import { bigEndian } from '../../bytes/byte-view.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { corrupt } from './corruption.ts'
import { type Header, MAX_L1_BYTES, MAX_SNAPSHOTS } from './header.ts'

/** Bounds of qemu (block/qcow2.h). */
const MAX_TABLE_BYTES = 64 << 20
const MAX_EXTRA_DATA = 1024
const FIXED_LENGTH = 40
/** Fields of the extra data that qemu writes: the size of the machine state, that of the disk, and the instruction count. */
const EXTRA_LENGTH = 24
const NO_ICOUNT = 0xffff_ffff_ffff_ffffn

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
  /** Instructions that the guest had executed, where they were counted. */
  readonly icount?: bigint
  readonly l1_table_offset: number
  readonly l1_size: number
  /** The entry as the file has it, with extra data that drydisk does not know, without padding. */
  readonly entry: Uint8Array
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
    const icount = extra >= 24 ? view.big(at + 56) : NO_ICOUNT
    snapshots.push({
      id: text(strings, idLength),
      name: text(strings + idLength, nameLength),
      date: view.u32(at + 16),
      dateNanoseconds: view.u32(at + 20),
      vmClock: view.big(at + 24),
      vmStateSize: extra >= 8 ? view.u64(at + 40) : view.u32(at + 32),
      diskSize: extra >= 16 ? view.u64(at + 48) : header.size,
      ...(icount !== NO_ICOUNT && { icount }),
      l1_table_offset,
      l1_size,
      entry: view.slice(at, end - at).slice(),
    })
    at = Math.ceil(end / 8) * 8
  }
  return { snapshots, length: at }
}

/** A new entry. The identifier and the name must be shorter than 64 KiB. */
export function snapshotEntry(snapshot: Omit<Snapshot, 'entry'>): Uint8Array {
  const id = new TextEncoder().encode(snapshot.id)
  const name = new TextEncoder().encode(snapshot.name)
  const entry = new Uint8Array(FIXED_LENGTH + EXTRA_LENGTH + id.length + name.length)
  const view = bigEndian(entry, 'snapshot table')
  view.setU64(0, snapshot.l1_table_offset)
  view.setU32(8, snapshot.l1_size)
  view.setU16(12, id.length)
  view.setU16(14, name.length)
  view.setU32(16, snapshot.date)
  view.setU32(20, snapshot.dateNanoseconds)
  view.setBig(24, snapshot.vmClock)
  view.setU32(32, snapshot.vmStateSize < 2 ** 32 ? snapshot.vmStateSize : 0)
  view.setU32(36, EXTRA_LENGTH)
  view.setU64(40, snapshot.vmStateSize)
  view.setU64(48, snapshot.diskSize)
  view.setBig(56, snapshot.icount ?? NO_ICOUNT)
  entry.set(id, FIXED_LENGTH + EXTRA_LENGTH)
  entry.set(name, FIXED_LENGTH + EXTRA_LENGTH + id.length)
  return entry
}

/** Whether the entry itself says how large the disk was; version 3 demands it. */
export function saysDiskSize({ entry }: Snapshot): boolean {
  return bigEndian(entry, 'snapshot table').u32(36) >= 16
}

/** The entry with the fields that version 3 demands; as it is where it has them. */
export function withDiskSize(snapshot: Snapshot): Uint8Array {
  const { entry, vmStateSize, diskSize } = snapshot
  if (saysDiskSize(snapshot)) return entry
  const extra = bigEndian(entry, 'snapshot table').u32(36)
  const longer = new Uint8Array(entry.length - extra + 16)
  longer.set(entry.subarray(0, FIXED_LENGTH))
  longer.set(entry.subarray(FIXED_LENGTH + extra), FIXED_LENGTH + 16)
  const view = bigEndian(longer, 'snapshot table')
  view.setU32(36, 16)
  view.setU64(40, vmStateSize)
  view.setU64(48, diskSize)
  return longer
}

/** The entry with its L1 table elsewhere. */
export function withL1Table(entry: Uint8Array, offset: number): Uint8Array {
  const moved = entry.slice()
  bigEndian(moved, 'snapshot table').setU64(0, offset)
  return moved
}

/** The table of these entries. Errors: `EFBIG` beyond what qemu reads. */
export function serializeSnapshotTable(entries: readonly Uint8Array[]): Uint8Array {
  const length = entries.reduce((sum, entry) => sum + Math.ceil(entry.length / 8) * 8, 0)
  if (length > MAX_TABLE_BYTES || entries.length > MAX_SNAPSHOTS)
    throw new DrydiskError(
      'EFBIG',
      `the snapshot table would have ${entries.length} entries of ${length} bytes; ${MAX_SNAPSHOTS} and 64 MiB are possible`,
    )
  const table = new Uint8Array(length)
  let at = 0
  for (const entry of entries) {
    table.set(entry, at)
    at += Math.ceil(entry.length / 8) * 8
  }
  return table
}
