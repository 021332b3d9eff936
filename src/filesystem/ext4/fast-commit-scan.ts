import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import {
  FAST_COMMIT_TAG,
  FAST_COMMIT_TAG_SIZE,
  type FastCommitRecord,
  isFastCommitLength,
  parseFastCommitRecord,
} from './fast-commit-records.ts'
import type { JournalFile } from './journal-file.ts'

/** Most changes that are kept in memory. The area has 256 blocks as the kernel makes it, so a few thousand are usual. */
const MOST_RECORDS = 1 << 19

/**
 * Reads the fast-commit area: the changes of every fast commit that is complete, in order. As fs/ext4/fast_commit.c,
 * ext4_fc_replay_scan: each fast commit ends with a tail that has the checksum of all its tags; what comes after the last
 * good tail was not finished.
 * @param sequence the transaction that fast commits have to belong to: the first that is not in the log.
 * @param inodeSize s_inode_size.
 */
export async function scanFastCommits(
  journal: JournalFile,
  sequence: number,
  inodeSize: number,
): Promise<FastCommitRecord[]> {
  const { superblock } = journal
  if (superblock.start === 0 || superblock.fastCommitBlocks === 0) return []
  const scan = new FastCommitScan(sequence, inodeSize)
  // One block between the log and the area is in neither: j_fc_first is j_last + 1.
  for (let index = superblock.last + 1; index < superblock.maxLength; index++) {
    const first = index === superblock.last + 1
    if (!scan.block(await journal.read(index), first)) break
  }
  return scan.complete
}

class FastCommitScan {
  /** Changes of the fast commits whose tails were good. */
  readonly complete: FastCommitRecord[] = []
  readonly #sequence: number
  readonly #inodeSize: number
  #pending: FastCommitRecord[] = []
  #checksum = 0
  #tails = 0

  constructor(sequence: number, inodeSize: number) {
    this.#sequence = sequence
    this.#inodeSize = inodeSize
  }

  /** Takes the next block in. Returns whether another may follow. */
  block(bytes: Uint8Array, first: boolean): boolean {
    const view = littleEndian(bytes, 'fast commit block')
    if (first && view.u16(0) !== FAST_COMMIT_TAG.HEAD) return false
    for (let at = 0; at + FAST_COMMIT_TAG_SIZE <= bytes.length; ) {
      const tag = view.u16(at)
      const length = view.u16(at + 2)
      const start = at + FAST_COMMIT_TAG_SIZE
      if (start + length > bytes.length || !isFastCommitLength(tag, length, this.#inodeSize)) return false
      if (!this.#tag(tag, bytes.subarray(at, start + length))) return false
      at = start + length
    }
    return true
  }

  /** @param bytes the tag with its header. */
  #tag(tag: number, bytes: Uint8Array): boolean {
    const value = bytes.subarray(FAST_COMMIT_TAG_SIZE)
    const view = littleEndian(value, 'fast commit record')
    if (tag === FAST_COMMIT_TAG.TAIL) return this.#tail(bytes)
    if (tag === FAST_COMMIT_TAG.HEAD) {
      // Left over from an earlier transaction.
      if (view.u32(4) !== this.#sequence) return false
      const features = view.u32(0)
      if (features !== 0)
        throw new DrydiskError(
          'ERR_UNSUPPORTED',
          `the fast commits of the journal have unknown features 0x${features.toString(16)}; mount the filesystem with the kernel that made them`,
          { structure: 'fast commit', features },
        )
    }
    this.#checksum = crc32c(this.#checksum, bytes)
    const record = parseFastCommitRecord(tag, value)
    if (record !== undefined) this.#pending.push(record)
    if (this.#pending.length + this.complete.length > MOST_RECORDS)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `the journal holds more than ${MOST_RECORDS} fast-commit changes; let a kernel or e2fsck replay it`,
        { structure: 'fast commit' },
      )
    return true
  }

  #tail(bytes: Uint8Array): boolean {
    const view = littleEndian(bytes, 'fast commit tail')
    const sequence = view.u32(FAST_COMMIT_TAG_SIZE)
    const stored = view.u32(FAST_COMMIT_TAG_SIZE + 4)
    const computed = crc32c(this.#checksum, bytes.subarray(0, FAST_COMMIT_TAG_SIZE + 4))
    if (sequence !== this.#sequence) return false
    if (stored !== computed) {
      if (this.#tails > 0) return false
      throw new DrydiskError(
        'ERR_CORRUPT',
        `the journal is damaged: the first fast commit has checksum 0x${stored.toString(16)}, computed 0x${computed.toString(16)}; nothing was replayed, run e2fsck on a copy`,
        { structure: 'fast commit', transaction: sequence },
      )
    }
    for (const record of this.#pending) this.complete.push(record)
    this.#pending = []
    this.#checksum = 0
    this.#tails++
    return true
  }
}
