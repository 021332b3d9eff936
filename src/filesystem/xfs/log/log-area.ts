import { bigEndian } from '../../../bytes/byte-view.ts'
import type { BlockDevice } from '../../../device/block-device.ts'
import { VERSION } from '../features.ts'
import { Geometry } from '../geometry.ts'
import type { Superblock } from '../superblock.ts'
import { BBSIZE } from './basic-block.ts'
import { corruptLog, unsupportedLog } from './errors.ts'
import {
  checkRecordHeader,
  isRecordHeader,
  parseRecordHeader,
  RECORD_MAGIC,
  type RecordHeader,
  recordChecksumHolds,
  restoreCycleWords,
} from './record-header.ts'

/** Basic blocks to look at in one read. */
const STRIDE = 1024

/** A record with its data as they were before cycle numbers were stamped into them. */
export interface LogRecord {
  readonly header: RecordHeader
  readonly data: Uint8Array
  /** The checksum is wrong. One that is 0 was not written (mkfs, xfs_repair). */
  readonly damaged: boolean
  /** The basic block behind the record, not yet wrapped round the end of the log. */
  readonly end: number
}

/** The ring of basic blocks that holds the log. Positions are basic blocks from its start. */
export class LogArea {
  readonly blocks: number
  readonly superblock: Superblock
  readonly isV2: boolean
  readonly #device: BlockDevice
  readonly #start: number

  constructor(device: BlockDevice, superblock: Superblock) {
    if (superblock.sb_logstart === 0)
      throw unsupportedLog('it lies on another device, and whether it is clean cannot be seen from here')
    this.#device = device
    this.superblock = superblock
    this.isV2 = (superblock.sb_versionnum & VERSION.LOGV2) !== 0
    const geometry = new Geometry(superblock)
    this.#start = geometry.volumeBlock(superblock.sb_logstart) * superblock.sb_blocksize
    const bytes = superblock.sb_logblocks * superblock.sb_blocksize
    this.blocks = Math.floor(bytes / BBSIZE)
    if (this.blocks < 2 || this.#start + bytes > device.size)
      throw corruptLog(
        `it is said to lie at byte ${this.#start} with ${bytes} bytes, outside the volume of ${device.size} bytes`,
      )
  }

  /** Reads basic blocks; a range that passes the end of the log goes on at its start. */
  async read(block: number, count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count * BBSIZE)
    const from = block % this.blocks
    const first = Math.min(count, this.blocks - from)
    await this.#device.read(this.#start + from * BBSIZE, bytes.subarray(0, first * BBSIZE))
    if (first < count) await this.#device.read(this.#start, bytes.subarray(first * BBSIZE))
    return bytes
  }

  /** Writes basic blocks; a range that passes the end of the log goes on at its start. */
  async write(block: number, bytes: Uint8Array): Promise<void> {
    const from = block % this.blocks
    const first = Math.min(bytes.length, (this.blocks - from) * BBSIZE)
    await this.#device.write(this.#start + from * BBSIZE, bytes.subarray(0, first))
    if (first < bytes.length) await this.#device.write(this.#start, bytes.subarray(first))
  }

  async cycle(block: number): Promise<number> {
    return cycleAt(await this.read(block, 1), 0)
  }

  /** The first block of a range that has, or has not, a cycle number. */
  async findCycle(start: number, count: number, cycle: number): Promise<number | undefined> {
    for (let at = 0; at < count; at += STRIDE) {
      const bytes = await this.read(start + at, Math.min(STRIDE, count - at))
      for (let i = 0; i * BBSIZE < bytes.length; i++)
        if (cycleAt(bytes, i * BBSIZE) === cycle) return start + at + i
    }
    return undefined
  }

  /** The last block of a range (which does not wrap) that begins a record. */
  async findHeaderBefore(start: number, end: number): Promise<number | undefined> {
    for (let high = end; high > start; high = Math.max(start, high - STRIDE)) {
      const low = Math.max(start, high - STRIDE)
      const bytes = await this.read(low, high - low)
      for (let i = high - low - 1; i >= 0; i--) if (isRecordHeader(bytes, i * BBSIZE)) return low + i
    }
    return undefined
  }

  async header(block: number): Promise<RecordHeader> {
    return parseRecordHeader(await this.read(block, 1), block, this.isV2)
  }

  /** Reads a whole record. */
  async record(block: number): Promise<LogRecord> {
    const header = await this.header(block)
    checkRecordHeader(header, this.blocks, this.superblock.sb_uuid)
    const dataBlocks = Math.ceil(header.len / BBSIZE)
    const bytes = await this.read(block, header.headerBlocks + dataBlocks)
    const head = bytes.subarray(0, header.headerBlocks * BBSIZE)
    const data = bytes.subarray(head.length)
    const damaged = header.crc !== 0 && !recordChecksumHolds(header, head, data)
    restoreCycleWords(header, head, data)
    const end = block + header.headerBlocks + dataBlocks
    return { header, data: data.subarray(0, header.len), damaged, end }
  }

  /** Basic blocks from one position forward to another. */
  distance(from: number, to: number): number {
    return (to - from + this.blocks) % this.blocks
  }
}

/** xlog_get_cycle: a header keeps its magic number in the first word and the cycle in the second. */
export function cycleAt(bytes: Uint8Array, at: number): number {
  const view = bigEndian(bytes, 'XFS log')
  const first = view.u32(at)
  return first === RECORD_MAGIC ? view.u32(at + 4) : first
}
