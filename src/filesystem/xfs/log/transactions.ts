import { bigEndian, littleEndian } from '../../../bytes/byte-view.ts'
import { corruptLog, unsupportedLog } from './errors.ts'
import type { LogRecord } from './log-area.ts'
import { OP, OP_CLIENT, OP_HEADER_SIZE } from './operation.ts'

const CLIENTS: readonly number[] = Object.values(OP_CLIENT)

const TRANS_HEADER_SIZE = 16
const TRANS_HEADER_MAGIC = 0x5452_414e
/** XLOG_MAX_REGIONS_IN_ITEM: a format structure and every second piece of 128 bytes of a buffer of 64 KiB. */
const MOST_REGIONS = 257
/** Nothing that is logged is longer than a buffer of 64 KiB; intents with many extents stay below it too. */
const MOST_REGION = 1 << 20
/** Linux holds what one checkpoint logs below 64 MiB (XLOG_CIL_BLOCKING_SPACE_LIMIT), and has one or two under way. */
const MOST_OPEN_BYTES = 512 << 20

/** One logged object: its format structure and the regions of data that go with it. */
export interface LogItem {
  readonly type: number
  readonly regions: readonly Uint8Array[]
}

/** A transaction whose end is in the log. */
export interface CommittedTransaction {
  readonly tid: number
  /** Of the record in which it began: what the objects that it changed are stamped with. */
  readonly lsn: bigint
  readonly items: readonly LogItem[]
}

interface OpenItem {
  readonly type: number
  readonly total: number
  readonly regions: Uint8Array[]
}

interface OpenTransaction {
  readonly tid: number
  readonly lsn: bigint
  /** The transaction's own header may be split over two records. */
  header: Uint8Array
  readonly items: OpenItem[]
  bytes: number
}

/**
 * Puts transactions together from the operations of records in order. One that began before the first record, or whose
 * end never reached the disk, is left out (Linux, xlog_recover_process_data).
 */
export class TransactionReader {
  readonly #open = new Map<number, OpenTransaction>()
  #bytes = 0

  #close(transaction: OpenTransaction): void {
    this.#bytes -= transaction.bytes
    this.#open.delete(transaction.tid)
  }

  /** @returns the transactions that the record commits, in order. */
  *read(record: LogRecord): Iterable<CommittedTransaction> {
    const { header, data } = record
    const view = bigEndian(data, 'XFS log operation')
    let at = 0
    for (let i = 0; i < header.numLogops && at < data.length; i++) {
      if (at + OP_HEADER_SIZE > data.length) throw this.#bad(record, 'an operation is cut off')
      const tid = view.u32(at)
      const length = view.u32(at + 4)
      const flags = view.u8(at + 9)
      if (!CLIENTS.includes(view.u8(at + 8)))
        throw this.#bad(record, `an operation is of client ${view.u8(at + 8)}`, tid)
      at += OP_HEADER_SIZE
      if (length > data.length - at)
        throw this.#bad(record, `an operation of ${length} bytes leaves the record`, tid)
      // A copy: a small region must not keep the whole record in memory.
      const done = this.#operation(record, tid, flags, data.slice(at, at + length))
      if (done !== undefined) yield done
      at += length
    }
  }

  #operation(
    record: LogRecord,
    tid: number,
    flags: number,
    region: Uint8Array,
  ): CommittedTransaction | undefined {
    const transaction = this.#open.get(tid)
    if (transaction === undefined) {
      if ((flags & OP.START) !== 0)
        this.#open.set(tid, {
          tid,
          lsn: record.header.lsn,
          header: new Uint8Array(),
          items: [],
          bytes: 0,
        })
      return undefined
    }
    // The end of a split region says END and WAS_CONT, a middle piece WAS_CONT and CONTINUE.
    let kind = flags & ~OP.END
    if ((kind & OP.WAS_CONT) !== 0) kind &= ~OP.CONTINUE
    switch (kind) {
      case 0:
      case OP.CONTINUE:
        this.#addRegion(record, transaction, region)
        return undefined
      case OP.WAS_CONT:
        this.#continueRegion(record, transaction, region)
        return undefined
      case OP.COMMIT:
        this.#close(transaction)
        return this.#committed(record, transaction)
      case OP.UNMOUNT:
        this.#close(transaction)
        return undefined
      default:
        throw this.#bad(record, `an operation has the flags 0x${flags.toString(16)}`, tid)
    }
  }

  #addRegion(record: LogRecord, transaction: OpenTransaction, region: Uint8Array): void {
    if (region.length === 0) return
    this.#count(transaction, region)
    if (transaction.header.length < TRANS_HEADER_SIZE && transaction.items.length === 0) {
      const magic = region.length >= 4 ? littleEndian(region, 'XFS transaction header').u32(0) : undefined
      if (magic !== TRANS_HEADER_MAGIC || region.length > TRANS_HEADER_SIZE)
        throw this.#bad(record, 'a transaction does not begin with its header', transaction.tid)
      transaction.header = region
      return
    }
    const last = transaction.items.at(-1)
    if (last !== undefined && last.regions.length < last.total) {
      last.regions.push(region)
      return
    }
    if (region.length < 4) throw this.#bad(record, 'an item has no type', transaction.tid)
    const view = littleEndian(region, 'XFS log item')
    const [type, total] = [view.u16(0), view.u16(2)]
    if (total === 0 || total > MOST_REGIONS)
      throw this.#bad(record, `an item of type 0x${type.toString(16)} has ${total} regions`, transaction.tid)
    transaction.items.push({ type, total, regions: [region] })
  }

  #continueRegion(record: LogRecord, transaction: OpenTransaction, region: Uint8Array): void {
    this.#count(transaction, region)
    const last = transaction.items.at(-1)
    if (last === undefined) {
      transaction.header = joined(transaction.header, region)
      if (transaction.header.length > TRANS_HEADER_SIZE)
        throw this.#bad(record, 'the header of a transaction is too long', transaction.tid)
      return
    }
    const region0 = last.regions.pop()
    if (region0 === undefined) throw this.#bad(record, 'a region goes on that never began', transaction.tid)
    if (region0.length + region.length > MOST_REGION)
      throw this.#bad(record, `a region is longer than ${MOST_REGION} bytes`, transaction.tid)
    last.regions.push(joined(region0, region))
  }

  #committed(record: LogRecord, transaction: OpenTransaction): CommittedTransaction {
    const { tid, lsn, items } = transaction
    const short = items.find(item => item.regions.length !== item.total)
    if (short !== undefined)
      throw this.#bad(
        record,
        `an item of type 0x${short.type.toString(16)} has ${short.regions.length} of its ${short.total} regions`,
        tid,
      )
    return { tid, lsn, items }
  }

  #count(transaction: OpenTransaction, region: Uint8Array): void {
    transaction.bytes += region.length
    this.#bytes += region.length
    if (this.#bytes > MOST_OPEN_BYTES)
      throw unsupportedLog(`transactions of more than ${MOST_OPEN_BYTES} bytes are under way at once`)
  }

  #bad(record: LogRecord, what: string, tid?: number) {
    const inside = tid === undefined ? '' : `, transaction 0x${tid.toString(16)}`
    return corruptLog(`${what} (record at basic block ${record.header.block}${inside})`, {
      block: record.header.block,
      transaction: tid,
    })
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}
