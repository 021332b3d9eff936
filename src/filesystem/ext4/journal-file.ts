import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { BlockNumber, BlockRun } from './context.ts'
import { JBD2_SUPERBLOCK_SIZE, JournalSuperblock } from './jbd2-superblock.ts'

/** Bytes of one read ahead: recovery is one long sequential read of the log. */
const READ_AHEAD = 256 << 10

/** The blocks of a journal by their number within it, wherever they lie in the volume. */
export class JournalFile {
  readonly device: BlockDevice
  readonly blockSize: number
  readonly superblock: JournalSuperblock
  /** Runs in the order of the journal, with the journal block that each starts at. */
  readonly #runs: readonly { readonly first: number; readonly run: BlockRun }[]
  #ahead = new Uint8Array(0)
  #aheadFrom = 0
  #aheadCount = 0

  private constructor(
    device: BlockDevice,
    blockSize: number,
    runs: readonly BlockRun[],
    superblock: JournalSuperblock,
  ) {
    this.device = device
    this.blockSize = blockSize
    this.superblock = superblock
    let first = 0
    this.#runs = runs.map(run => {
      const entry = { first, run }
      first += run.count
      return entry
    })
  }

  /**
   * Reads and checks the journal's superblock.
   * @param runs the blocks of the journal's file from its first, gapless; they lie inside the volume.
   */
  static async open(device: BlockDevice, blockSize: number, runs: readonly BlockRun[]): Promise<JournalFile> {
    const first = runs[0]
    if (first === undefined)
      throw new DrydiskError('ERR_CORRUPT', 'journal: its file is empty; run e2fsck', {
        structure: 'journal',
      })
    const bytes = new Uint8Array(JBD2_SUPERBLOCK_SIZE)
    await device.read(first.block * blockSize, bytes)
    const superblock = new JournalSuperblock(bytes)
    superblock.validate(
      blockSize,
      runs.reduce((sum, run) => sum + run.count, 0),
    )
    return new JournalFile(device, blockSize, runs, superblock)
  }

  /** Where a block of the journal lies in the volume, and how many blocks follow it there without a gap. */
  locate(index: number): BlockRun {
    let low = 0
    let high = this.#runs.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#runs[middle]?.first ?? 0) <= index) low = middle
      else high = middle - 1
    }
    const found = this.#runs[low]
    if (found === undefined || index < found.first || index >= found.first + found.run.count)
      throw new DrydiskError('ERR_CORRUPT', `journal: block ${index} lies outside it; run e2fsck`, {
        structure: 'journal',
        block: index,
      })
    const skip = index - found.first
    return { block: found.run.block + skip, count: found.run.count - skip }
  }

  /** The content of one block. The buffer may be reused by the next call. */
  async read(index: number): Promise<Uint8Array> {
    if (index < this.#aheadFrom || index >= this.#aheadFrom + this.#aheadCount) {
      const where = this.locate(index)
      const count = Math.min(where.count, Math.max(1, Math.floor(READ_AHEAD / this.blockSize)))
      const bytes = new Uint8Array(count * this.blockSize)
      await this.device.read(where.block * this.blockSize, bytes)
      this.#ahead = bytes
      this.#aheadFrom = index
      this.#aheadCount = count
    }
    const at = (index - this.#aheadFrom) * this.blockSize
    return this.#ahead.subarray(at, at + this.blockSize)
  }

  /** Whether a block of the volume is part of the journal. */
  contains(block: BlockNumber): boolean {
    return this.#runs.some(({ run }) => block >= run.block && block < run.block + run.count)
  }

  /** Writes the superblock, as it was changed in place. */
  async writeSuperblock(): Promise<void> {
    this.superblock.updateChecksum()
    await this.device.write(this.locate(0).block * this.blockSize, this.superblock.bytes)
  }
}
