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
