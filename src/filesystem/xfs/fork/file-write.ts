import { DrydiskError } from '../../../errors.ts'
import { DIFLAG2, type Dinode, FORMAT } from '../dinode.ts'
import type { VolumeBlock } from '../geometry.ts'
import type { XfsWriter } from '../writer.ts'
import { DataWrites } from './data-writes.ts'
import { ForkEditor } from './fork-edit.ts'
import { requireOnVolume } from './fork-state.ts'
import { WritableBlocks, type WritableRun } from './writable-blocks.ts'

const NOTHING = new Uint8Array()

/**
 * Writes all of `from` at byte `offset`, growing the file; a gap becomes a hole. The inode is open for change; its times are the
 * caller's. What fails, `ENOSPC` and `EFBIG` too, fails before anything of the content is written.
 */
export async function writeData(
  writer: XfsWriter,
  inode: Dinode,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  requireOffset(inode, offset)
  requireOnVolume(inode, 'data')
  if (from.length === 0) return
  const end = offset + from.length
  if (!Number.isSafeInteger(end))
    throw new DrydiskError(
      'EFBIG',
      `inode ${inode.ino}: a file cannot end at byte ${end}; ${Number.MAX_SAFE_INTEGER} is the last possible end`,
      { inode: inode.ino, offset },
    )
  const change = new DataChange(writer, inode)
  if (offset > inode.di_size) await change.clearBehind(offset, 'floor')
  await change.write(offset, from)
  inode.di_size = Math.max(inode.di_size, end)
  await change.done()
}

/** Cuts the file, or grows it by a hole. What lay behind never comes back. Times are the caller's. */
export async function truncateData(writer: XfsWriter, inode: Dinode, size: number): Promise<void> {
  requireOffset(inode, size)
  requireOnVolume(inode, 'data')
  const change = new DataChange(writer, inode)
  if (size > inode.di_size) await change.clearBehind(size, 'ceil')
  // Also blocks that were allocated behind the end go, as ftruncate(2) to the same size lets them go.
  else await change.cut(size)
  inode.di_size = size
  await change.done()
}

function requireOffset(inode: Dinode, offset: number): void {
  if (!(Number.isSafeInteger(offset) && offset >= 0))
    throw new DrydiskError('EINVAL', `inode ${inode.ino}: ${offset} is no byte offset`, {
      inode: inode.ino,
      offset,
    })
}

/** One change of a file's content: its blocks are made ready first, and written when everything else is decided. */
class DataChange {
  readonly #writer: XfsWriter
  readonly #inode: Dinode
  readonly #blockSize: number
  readonly #blocks: WritableBlocks
  readonly #writes: DataWrites

  constructor(writer: XfsWriter, inode: Dinode) {
    const { device, geometry } = writer.volume
    this.#writer = writer
    this.#inode = inode
    this.#blockSize = geometry.blockSize
    this.#blocks = new WritableBlocks(writer, inode, inode.di_size)
    this.#writes = new DataWrites(device, geometry.blockSize)
  }

  /** All blocks that the bytes lie in become the file's own. */
  async write(offset: number, from: Uint8Array): Promise<void> {
    const size = this.#blockSize
    const end = offset + from.length
    const runs = await this.#blocks.fill(Math.floor(offset / size), Math.ceil(end / size))
    for (const run of runs) {
      const start = Math.max(offset, run.logical * size)
      const stop = Math.min(end, (run.logical + run.count) * size)
      await this.#into(run, start, from.subarray(start - offset, stop - offset))
    }
  }

  /**
   * From the file's end to byte `to`, which is about to be content, there are zeros: what lies there now is anything.
   * @param last whether the block that `to` lies in is among them, or is written anyhow.
   */
  async clearBehind(to: number, last: 'ceil' | 'floor'): Promise<void> {
    const { di_size } = this.#inode
    const size = this.#blockSize
    await this.#zero(di_size, Math.min(to, Math.ceil(di_size / size) * size))
    await this.#blocks.drop(Math.ceil(di_size / size), Math[last](to / size))
  }

  /** Frees the blocks behind byte `size` and zeros the rest of its block. */
  async cut(size: number): Promise<void> {
    const blocks = Math.ceil(size / this.#blockSize)
    await new ForkEditor(this.#writer, this.#inode, 'data').unmap(blocks, Number.MAX_SAFE_INTEGER)
    // At the end that it has, what lies behind is cleared when the file grows.
    if (size < this.#inode.di_size) await this.#zero(size, blocks * this.#blockSize)
    const { format, nextents } = this.#inode.data
    // A file without blocks shares none (xfs_itruncate_clear_reflink_flags).
    if (format === FORMAT.EXTENTS && nextents === 0) this.#inode.di_flags2 &= ~DIFLAG2.REFLINK
  }

  /** Now the content goes to the volume. */
  async done(): Promise<void> {
    await this.#writes.write()
  }

  /** Zeros bytes of one block, where it holds content. */
  async #zero(from: number, to: number): Promise<void> {
    if (from >= to) return
    const logical = Math.floor(from / this.#blockSize)
    for (const run of await this.#blocks.existing(logical, logical + 1))
      await this.#into(run, from, new Uint8Array(to - from))
  }

  /** @param at byte of the file, in the run. */
  async #into(run: WritableRun, at: number, piece: Uint8Array): Promise<void> {
    const { logical, count, block, content } = run
    const head = at - logical * this.#blockSize
    if (content === 'here') return this.#writes.bytes(block * this.#blockSize + head, piece)
    const tail = count * this.#blockSize - head - piece.length
    if (content === 'zeros') return this.#writes.run(block, new Uint8Array(head), piece, new Uint8Array(tail))
    const before = await this.#read(content.at, 0, head)
    this.#writes.run(block, before, piece, await this.#read(content.at, head + piece.length, tail))
  }

  async #read(block: VolumeBlock, at: number, length: number): Promise<Uint8Array> {
    if (length === 0) return NOTHING
    const bytes = new Uint8Array(length)
    await this.#writer.volume.device.read(block * this.#blockSize + at, bytes)
    return bytes
  }
}
