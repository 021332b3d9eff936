import { CRC32C_START, crc32c } from '../../src/bytes/crc32c.ts'
import type { BlockDevice, Extent } from '../../src/device/block-device.ts'
import type { RecordHeader } from '../../src/filesystem/xfs/log/record-header.ts'

/** A device with some bytes changed, over one that is only read. */
export class ChangedDevice implements BlockDevice {
  readonly writable = false
  readonly #base: BlockDevice
  readonly #changes = new Map<number, number>()

  constructor(base: BlockDevice) {
    this.#base = base
  }

  get size(): number {
    return this.#base.size
  }

  async set(offset: number, value: number): Promise<void> {
    this.#changes.set(offset, value)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.#base.read(offset, into)
    for (const [at, value] of this.#changes)
      if (at >= offset && at < offset + into.length) into[at - offset] = value
  }

  extents(offset: number, length: number): AsyncIterable<Extent> {
    return this.#base.extents(offset, length)
  }

  async write(): Promise<void> {
    throw new Error('a log that is only read was written to')
  }

  erase = this.write
  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}

/** Gives a record that was changed the checksum that fits it again. */
export async function signRecord(device: ChangedDevice, at: number, header: RecordHeader): Promise<void> {
  const bytes = new Uint8Array(header.headerBlocks * 512 + header.len)
  await device.read(at, bytes)
  const first = bytes.slice(0, 328)
  first.fill(0, 32, 36)
  let crc = crc32c(CRC32C_START, first)
  for (let i = 1; i < Math.ceil(header.len / 32_768); i++)
    crc = crc32c(crc, bytes.subarray(i * 512, i * 512 + 260))
  crc = ~crc32c(crc, bytes.subarray(header.headerBlocks * 512)) >>> 0
  for (let i = 0; i < 4; i++) await device.set(at + 32 + i, (crc >>> (8 * i)) & 0xff)
}

/** Regions of one operation each, in the byte order of the machine. */
export type Words = readonly { readonly size: 2 | 4 | 8; readonly value: number | bigint }[]

export function region(words: Words): Uint8Array {
  const bytes = new Uint8Array(words.reduce((sum, { size }) => sum + size, 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const { size, value } of words) {
    if (size === 2) view.setUint16(at, Number(value), true)
    else if (size === 4) view.setUint32(at, Number(value), true)
    else view.setBigUint64(at, BigInt(value), true)
    at += size
  }
  return bytes
}

/** Writes one more record with one transaction behind the newest one, as Linux would (xlog_rec_header, xlog_op_header). */
export async function appendTransaction(
  device: ChangedDevice,
  logStart: number,
  newest: RecordHeader,
  head: number,
  tid: number,
  items: readonly Uint8Array[],
): Promise<void> {
  const header = region([
    { size: 4, value: 0x5452_414e },
    { size: 4, value: 40 },
    { size: 4, value: 0 },
    { size: 4, value: items.length },
  ])
  const operations = [
    { flags: 1, data: new Uint8Array() },
    ...[header, ...items].map(data => ({ flags: 0, data })),
    { flags: 2, data: new Uint8Array() },
  ]
  const used = operations.reduce((sum, { data }) => sum + 12 + data.length, 0)
  const len = Math.ceil(used / 512) * 512
  const bytes = new Uint8Array(512 * newest.headerBlocks + len)
  const view = new DataView(bytes.buffer)
  let at = 512 * newest.headerBlocks
  for (const { flags, data } of operations) {
    view.setUint32(at, tid)
    view.setUint32(at + 4, data.length)
    view.setUint8(at + 8, 0x69)
    view.setUint8(at + 9, flags)
    bytes.set(data, at + 12)
    at += 12 + data.length
  }
  for (const [where, value] of [
    [0, 0xfeedbabe],
    [4, newest.cycle],
    [8, newest.version],
    [12, len],
    [16, newest.cycle],
    [20, head],
    [40, operations.length],
    [300, 1],
    [320, newest.size],
  ] as const)
    view.setUint32(where, value)
  view.setBigUint64(24, newest.tailLsn)
  bytes.set(newest.uuid, 304)
  for (let i = 0; i < len / 512; i++) {
    const block = 512 * (newest.headerBlocks + i)
    bytes.copyWithin(44 + 4 * i, block, block + 4)
    view.setUint32(block, newest.cycle)
  }
  for (let i = 1; i < newest.headerBlocks; i++) view.setUint32(512 * i, newest.cycle)
  const place = logStart + head * 512
  for (const [i, value] of bytes.entries()) await device.set(place + i, value)
  await signRecord(device, place, { ...newest, len })
}
