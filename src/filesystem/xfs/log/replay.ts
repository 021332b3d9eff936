import { bigEndian } from '../../../bytes/byte-view.ts'
import type { OverlayDevice } from '../../../device/overlay-device.ts'
import { DrydiskError } from '../../../errors.ts'
import { checksumIsRight, storeChecksum } from '../checksum.ts'
import { Geometry } from '../geometry.ts'
import type { Superblock } from '../superblock.ts'
import { BBSIZE } from './basic-block.ts'
import { type BufferItem, parseBufferItem } from './buffer-item.ts'
import { bufferLsn, NO_LSN, stampBuffer } from './buffer-kinds.ts'
import { DQBLK_CRC, DQBLK_LSN, DQBLK_SIZE, DQUOT_MAGIC, parseDquotItem, quotaoffTypes } from './dquot-item.ts'
import { corruptLog, unsupportedLog } from './errors.ts'
import { INODE_CRC, newInodes, parseIcreateItem } from './icreate-item.ts'
import {
  DINODE_MAGIC,
  flushCount,
  ILOG,
  type InodeItem,
  parseInodeItem,
  writeCore,
  writeForks,
} from './inode-item.ts'
import { INTENT_TYPES, IntentList } from './intents.ts'
import { LI } from './item-types.ts'
import { changeOwner } from './owner-change.ts'
import type { CommittedTransaction, LogItem } from './transactions.ts'

/** Metadata buffers have 64 KiB at most. */
const MOST_BUFFER = 65_536 / BBSIZE
const NEXT_UNLINKED = 96
const DI_MAX_FLUSH = 0xffff

/**
 * Replays transactions into an overlay, in two passes: the first learns which buffers were freed, so that the second does
 * not write old metadata over what came after them (Linux, xlog_do_log_recovery).
 */
export class Replay {
  readonly intents = new IntentList()
  transactions = 0
  readonly #device: OverlayDevice
  readonly #sb: Superblock
  readonly #geometry: Geometry
  /** How many cancel items of a buffer are still ahead. */
  readonly #cancelled = new Map<string, number>()
  /** Cancelled buffers by where they begin, for chunks of inodes. */
  readonly #cancelledStarts = new Set<number>()
  #quotaoff = 0
  /** Buffers that get the sequence number of the transactions under way once all those are replayed. */
  readonly #unstamped = new Map<number, { len: number; kind: number }>()
  #lsn: bigint | undefined
  /** Where buffers were replayed, and how many bytes they have together. */
  readonly #touched = new Set<number>()
  #bytes = 0
  readonly #mostBytes: number

  /** @param mostBytes of all replayed buffers together; a log that changes more is refused. */
  constructor(device: OverlayDevice, superblock: Superblock, mostBytes: number) {
    this.#device = device
    this.#mostBytes = mostBytes
    this.#sb = superblock
    this.#geometry = new Geometry(superblock)
  }

  /** First pass over a transaction. */
  learn({ items, tid }: CommittedTransaction): void {
    for (const item of items)
      this.#naming(tid, item, () => {
        if (item.type === LI.QUOTAOFF) this.#quotaoff |= quotaoffTypes(item)
        if (item.type !== LI.BUF) return
        const { cancel, blkno, len } = parseBufferItem(item)
        if (!cancel) return
        const key = `${blkno}:${len}`
        this.#cancelled.set(key, (this.#cancelled.get(key) ?? 0) + 1)
        this.#cancelledStarts.add(blkno)
      })
  }

  /** Second pass over a transaction. */
  async apply(transaction: CommittedTransaction): Promise<void> {
    if (this.#lsn !== transaction.lsn) await this.finish()
    this.#lsn = transaction.lsn
    this.transactions++
    for (const item of inReplayOrder(transaction.items))
      await this.#namingAsync(transaction.tid, item, () =>
        this.#apply(item, transaction.tid, transaction.lsn),
      )
  }

  /**
   * Stamps what was replayed. Transactions that began in one record have one sequence number: the buffers of each must not
   * look too new for the next (Linux, xlog_recover_process_ophdr).
   */
  async finish(): Promise<void> {
    const lsn = this.#lsn
    if (lsn === undefined) return
    for (const [blkno, { len, kind }] of this.#unstamped) {
      const bytes = await this.#read(blkno, len)
      if (stampBuffer(bytes, kind, lsn)) await this.#write(blkno, bytes)
    }
    this.#unstamped.clear()
  }

  async #apply(item: LogItem, tid: number, lsn: bigint): Promise<void> {
    if (INTENT_TYPES.has(item.type)) return this.intents.add(item, tid)
    switch (item.type) {
      case LI.BUF:
        return this.#buffer(parseBufferItem(item), lsn)
      case LI.INODE:
        return this.#inode(parseInodeItem(item), lsn)
      case LI.ICREATE:
        return this.#icreate(item)
      case LI.DQUOT:
        return this.#dquot(item, lsn)
      case LI.QUOTAOFF:
        return
      default:
        throw unsupportedLog(`an item of type 0x${item.type.toString(16)} is not known`)
    }
  }

  async #buffer(item: BufferItem, lsn: bigint): Promise<void> {
    const { blkno, len, cancel } = item
    const key = `${blkno}:${len}`
    const ahead = this.#cancelled.get(key) ?? 0
    if (cancel) {
      if (ahead > 1) this.#cancelled.set(key, ahead - 1)
      else this.#cancelled.delete(key)
      return
    }
    if (ahead > 0 || (item.dquots & this.#quotaoff) !== 0) return
    const bytes = await this.#read(blkno, len)
    const uuids = { sb: this.#sb.sb_uuid, meta: this.#sb.metaUuid }
    const onDisk = this.#sb.isV5 ? bufferLsn(bytes, uuids) : undefined
    if (onDisk !== undefined && onDisk >= lsn) return
    if (item.inodes) this.#unlinkedPointers(item, bytes)
    else for (const piece of item.pieces) bytes.set(piece.bytes, piece.at)
    await this.#write(blkno, bytes)
    if (this.#sb.isV5 && !item.inodes && item.dquots === 0)
      this.#unstamped.set(blkno, { len, kind: item.kind })
  }

  /** All else of an inode is logged as an inode, and what its buffer holds of it may be old (xlog_recover_do_inode_buffer). */
  #unlinkedPointers(item: BufferItem, bytes: Uint8Array): void {
    const size = this.#sb.sb_inodesize
    for (let start = 0; start + size <= bytes.length; start += size) {
      const at = start + NEXT_UNLINKED
      const piece = item.pieces.find(
        ({ at: from, bytes: { length } }) => from <= at && at + 4 <= from + length,
      )
      if (piece === undefined) continue
      const pointer = piece.bytes.subarray(at - piece.at, at - piece.at + 4)
      if (pointer.every(byte => byte === 0))
        throw corruptLog(
          `inode ${start / size} of the buffer at basic block ${item.blkno} is given di_next_unlinked 0`,
        )
      bytes.set(pointer, at)
      const inode = bytes.subarray(start, start + size)
      if (inode[4] === 3) storeChecksum(inode, INODE_CRC)
    }
  }

  async #inode(item: InodeItem, lsn: bigint): Promise<void> {
    const { blkno, len, boffset, ino, core } = item
    if ((this.#cancelled.get(`${blkno}:${len}`) ?? 0) > 0) return
    const bytes = await this.#read(blkno, len)
    const size = this.#sb.sb_inodesize
    if (boffset < 0 || boffset % size !== 0 || boffset + size > bytes.length)
      throw corruptLog(`inode ${ino} is said to lie ${boffset} bytes into ${bytes.length} bytes`, {
        inode: ino,
      })
    const inode = bytes.subarray(boffset, boffset + size)
    const view = bigEndian(inode, 'XFS inode')
    if (view.u16(0) !== DINODE_MAGIC)
      throw corruptLog(`there is no inode at basic block ${blkno}, where inode ${ino} has to be`, {
        inode: ino,
      })
    if (!this.#isNewer(view, core, lsn)) {
      const onDisk = { ...item, fields: item.fields & (ILOG.DOWNER | ILOG.AOWNER) }
      return this.#owners(onDisk, inode)
    }
    if ((core.u8(4) === 3) !== this.#sb.isV5)
      throw corruptLog(`logged inode ${ino} has version ${core.u8(4)}`, { inode: ino })
    writeCore(core, inode, lsn)
    if (!this.#sb.isV5) view.setU16(30, 0)
    writeForks(item, inode)
    if (this.#sb.isV5) storeChecksum(inode, INODE_CRC)
    await this.#write(blkno, bytes)
    await this.#owners(item, inode)
  }

  #isNewer(onDisk: ReturnType<typeof bigEndian>, core: InodeItem['core'], lsn: bigint): boolean {
    if (this.#sb.isV5) {
      const was = onDisk.u8(4) >= 3 ? onDisk.big(112) : 0n
      return was === 0n || was === NO_LSN || was <= lsn
    }
    const [was, is] = [onDisk.u16(30), flushCount(core)]
    return is >= was || (was === DI_MAX_FLUSH && is < DI_MAX_FLUSH >> 1)
  }

  /** Two files exchanged their extents: the blocks of their trees have to say whose they are now. */
  async #owners(item: InodeItem, inode: Uint8Array): Promise<void> {
    if ((item.fields & (ILOG.DOWNER | ILOG.AOWNER)) === 0) return
    await changeOwner(item, inode, this.#geometry, {
      read: blkno => this.#read(blkno, this.#sb.sb_blocksize / BBSIZE),
      write: (blkno, bytes) => this.#write(blkno, bytes),
    })
  }

  async #icreate(item: LogItem): Promise<void> {
    const icreate = parseIcreateItem(item, this.#sb, this.#geometry)
    const first = this.#geometry.diskAddress(this.#geometry.inAg(icreate.agno, icreate.agbno))
    const bytes = newInodes(icreate, this.#sb, this.#geometry)
    // The chunk was freed later on: one of its buffers being cancelled says so of all.
    for (let at = 0; at < bytes.length / BBSIZE; at++)
      if (this.#cancelledStarts.has(first + at) && this.#isCancelledAt(first + at)) return
    await this.#write(first, bytes)
  }

  #isCancelledAt(blkno: number): boolean {
    for (let len = 1; len <= MOST_BUFFER; len++) if (this.#cancelled.has(`${blkno}:${len}`)) return true
    return false
  }

  async #dquot(item: LogItem, lsn: bigint): Promise<void> {
    const { blkno, len, boffset, dquot, type } = parseDquotItem(item)
    if ((type & this.#quotaoff) !== 0 || (this.#cancelled.get(`${blkno}:${len}`) ?? 0) > 0) return
    const bytes = await this.#read(blkno, len)
    if (boffset + DQBLK_SIZE > bytes.length)
      throw corruptLog(`a dquot is said to lie ${boffset} bytes into ${bytes.length} bytes`)
    const target = bytes.subarray(boffset, boffset + DQBLK_SIZE)
    const view = bigEndian(target, 'XFS dquot')
    const onDisk = this.#sb.isV5 && view.u16(0) === DQUOT_MAGIC ? view.big(DQBLK_LSN) : 0n
    if (onDisk !== 0n && onDisk !== NO_LSN && onDisk >= lsn && checksumIsRight(target, DQBLK_CRC)) return
    target.set(dquot)
    if (this.#sb.isV5) storeChecksum(target, DQBLK_CRC)
    await this.#write(blkno, bytes)
  }

  async #read(blkno: number, len: number): Promise<Uint8Array> {
    if (len <= 0 || len > MOST_BUFFER || (blkno + len) * BBSIZE > this.#device.size)
      throw corruptLog(
        `a buffer of ${len} basic blocks at ${blkno} is logged, which the volume does not have`,
        {
          blkno,
        },
      )
    const bytes = new Uint8Array(len * BBSIZE)
    await this.#device.read(blkno * BBSIZE, bytes)
    return bytes
  }

  async #write(blkno: number, bytes: Uint8Array): Promise<void> {
    if (!this.#touched.has(blkno)) {
      this.#touched.add(blkno)
      this.#bytes += bytes.length
    }
    if (this.#bytes > this.#mostBytes) throw unsupportedLog(`it changes more than ${this.#mostBytes} bytes`)
    await this.#device.write(blkno * BBSIZE, bytes)
  }

  #naming(tid: number, item: LogItem, work: () => void): void {
    try {
      work()
    } catch (error) {
      throw named(error, tid, item)
    }
  }

  async #namingAsync(tid: number, item: LogItem, work: () => Promise<void> | void): Promise<void> {
    try {
      await work()
    } catch (error) {
      throw named(error, tid, item)
    }
  }
}

/**
 * Buffers and new inodes first, then what changes inodes in them, then pointers of unlinked inodes, and cancelled buffers
 * at the end (Linux, xlog_recover_reorder_trans).
 */
function inReplayOrder(items: readonly LogItem[]): readonly LogItem[] {
  const rank = (item: LogItem): number => {
    if (item.type === LI.ICREATE) return 0
    if (item.type !== LI.BUF) return 1
    const { cancel, inodes } = parseBufferItem(item)
    return cancel ? 3 : inodes ? 2 : 0
  }
  const ranked = items.map(item => ({ item, rank: rank(item) }))
  return ranked.sort((a, b) => a.rank - b.rank).map(({ item }) => item)
}

function named(error: unknown, tid: number, item: LogItem): unknown {
  if (!(error instanceof DrydiskError)) return error
  const transaction = `transaction 0x${tid.toString(16)}`
  return new DrydiskError(
    error.code,
    `${error.message} (${transaction})`,
    { ...error.context, transaction: tid, item: item.type },
    error,
  )
}
