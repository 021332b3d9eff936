import { DrydiskError } from '../../errors.ts'
import type { BlockNumber } from './context.ts'
import {
  commitChecksumIsRight,
  commitTime,
  dataChecksumIsRight,
  type JournalTag,
  parseDescriptor,
  parseJournalHeader,
  parseRevokes,
  tailChecksumIsRight,
  transactionChecksumIsRight,
} from './jbd2-blocks.ts'
import { crc32Be } from './jbd2-checksum.ts'
import { JBD2_BLOCK_TYPE, JBD2_COMPAT_CHECKSUM, JBD2_INCOMPAT } from './jbd2-superblock.ts'
import type { JournalFile } from './journal-file.ts'

/** Where the newest content of a block of the filesystem is. */
export interface JournalledBlock {
  /** Block of the journal. */
  readonly journalBlock: number
  /** The content's first four bytes are the log's magic and are zeroed in the journal. */
  readonly escaped: boolean
}

/** What has to be done to make the filesystem what its committed transactions say. */
export interface RecoveryPlan {
  /** Newest content by block of the filesystem; revoked blocks are not in it. */
  readonly blocks: ReadonlyMap<BlockNumber, JournalledBlock>
  /** Committed transactions. */
  readonly transactions: number
  /** Number of the first transaction that is not in the log; fast commits belong to it. */
  readonly endSequence: number
}

/** One transaction while its blocks are gathered. */
interface Transaction {
  readonly tags: { readonly tag: JournalTag; readonly journalBlock: number }[]
  /** Journal blocks of its revoke blocks. */
  readonly revokes: number[]
  /** A descriptor or revoke block had a bad checksum: what it says is not used. */
  damaged: boolean
  /** Checksums v1: crc32 over the blocks so far. */
  checksum: number
}

/** A block to replay, with what its check needs. */
interface PlannedBlock extends JournalledBlock {
  readonly tag: JournalTag
  readonly sequence: number
}

/**
 * Most blocks that a log may hold, revoke blocks included: 4 GiB of 4 KiB blocks, four times the largest journal that mke2fs
 * makes on its own. A crafted extent tree can make a small image's journal seem longer.
 */
const MOST_BLOCKS = 2 ** 20

/** Whether sequence number `a` comes after `b`; they wrap around at 2^32. */
function isAfter(a: number, b: number): boolean {
  return ((a - b) | 0) > 0
}

/**
 * Reads the log from its start to the last committed transaction, and decides what is to be replayed. Writes nothing.
 *
 * As fs/jbd2/recovery.c decides: the log ends at the first block that is not of the expected transaction; a
 * transaction without a commit block does not count; a checksum that does not hold is corruption (`ERR_CORRUPT`), unless
 * its commit time tells that the block is left over from an earlier round of the log. Unlike the kernel, which stops with
 * half of the blocks written, everything that will be replayed is checked first.
 */
export async function scanJournal(journal: JournalFile, blocksCount: number): Promise<RecoveryPlan> {
  const scan = new JournalScan(journal, blocksCount)
  return scan.run()
}

class JournalScan {
  readonly #journal: JournalFile
  readonly #blocksCount: number
  readonly #committed: { readonly sequence: number; readonly transaction: Transaction }[] = []
  /** The next block to read, and how many were read: no log is longer than its journal. */
  #next: number
  #read = 0
  #sequence: number
  #lastCommitTime = 0
  /** async_commit: a commit block with a bad checksum, which is the log's end if no commit comes after it. */
  #failed: number | undefined

  constructor(journal: JournalFile, blocksCount: number) {
    this.#journal = journal
    this.#blocksCount = blocksCount
    this.#next = journal.superblock.start
    this.#sequence = journal.superblock.sequence
  }

  async run(): Promise<RecoveryPlan> {
    if (this.#next !== 0) await this.#gather()
    const endSequence = this.#failed ?? this.#sequence
    const blocks = this.#afterRevokes(await this.#readRevokes())
    await this.#verify(blocks)
    return { blocks, transactions: this.#committed.length, endSequence }
  }

  /** The next block's number; the log wraps around before the fast-commit area (jbd2: j_last). */
  #advance(): number {
    const { superblock } = this.#journal
    const index = this.#next
    this.#next = index + 1 >= superblock.last ? superblock.first : index + 1
    this.#read++
    if (this.#read > superblock.maxLength)
      throw corrupt(`transaction ${this.#sequence} goes round the whole log`, this.#sequence)
    if (this.#read > MOST_BLOCKS)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `the journal's log is longer than ${MOST_BLOCKS} blocks; let a kernel or e2fsck replay it`,
        { structure: 'journal' },
      )
    return index
  }

  async #gather(): Promise<void> {
    const { superblock } = this.#journal
    let transaction = emptyTransaction()
    for (;;) {
      const index = this.#advance()
      const bytes = await this.#journal.read(index)
      const header = parseJournalHeader(bytes)
      if (header === undefined || header.sequence !== this.#sequence) return
      if (header.type === JBD2_BLOCK_TYPE.DESCRIPTOR) await this.#descriptor(transaction, bytes)
      else if (header.type === JBD2_BLOCK_TYPE.REVOKE) {
        if (tailChecksumIsRight(superblock, bytes)) transaction.revokes.push(index)
        else transaction.damaged = true
      } else if (header.type === JBD2_BLOCK_TYPE.COMMIT) {
        if (!this.#commit(transaction, bytes)) return
        transaction = emptyTransaction()
      } else return
    }
  }

  async #descriptor(transaction: Transaction, bytes: Uint8Array): Promise<void> {
    const { superblock } = this.#journal
    if (!tailChecksumIsRight(superblock, bytes)) transaction.damaged = true
    const sums = (superblock.featureCompat & JBD2_COMPAT_CHECKSUM) !== 0
    if (sums) transaction.checksum = crc32Be(transaction.checksum, bytes)
    for (const tag of parseDescriptor(superblock, bytes)) {
      const journalBlock = this.#advance()
      if (sums) transaction.checksum = crc32Be(transaction.checksum, await this.#journal.read(journalBlock))
      transaction.tags.push({ tag, journalBlock })
    }
  }

  /** Takes a commit block in. Returns whether the log goes on. */
  #commit(transaction: Transaction, bytes: Uint8Array): boolean {
    const { superblock } = this.#journal
    const time = commitTime(bytes)
    const sequence = this.#sequence
    // The log is not zeroed when the journal is made, so blocks of an older filesystem may follow its end.
    const stale = time < this.#lastCommitTime
    if (transaction.damaged) {
      if (stale) return false
      throw corrupt(
        `a descriptor or revoke block of transaction ${sequence} does not match its checksum`,
        sequence,
      )
    }
    if (this.#failed !== undefined)
      throw corrupt(
        `transaction ${this.#failed} does not match its checksum, but transaction ${sequence} after it is complete`,
        this.#failed,
      )
    const sums = (superblock.featureCompat & JBD2_COMPAT_CHECKSUM) !== 0
    const right = sums
      ? transactionChecksumIsRight(bytes, transaction.checksum)
      : commitChecksumIsRight(superblock, bytes)
    if (!right) {
      if (stale) return false
      // Without async_commit the commit block is written after everything else has reached the disk, so a power failure
      // cannot leave one that does not match.
      if (!superblock.hasIncompat(JBD2_INCOMPAT.ASYNC_COMMIT))
        throw corrupt(`the commit block of transaction ${sequence} does not match its checksum`, sequence)
      this.#failed = sequence
    } else this.#committed.push({ sequence, transaction })
    this.#lastCommitTime = time
    this.#sequence = (sequence + 1) >>> 0
    return true
  }

  /** The last transaction that revokes each block, for the blocks that the log has content of. */
  async #readRevokes(): Promise<Map<BlockNumber, number>> {
    const logged = new Set<BlockNumber>()
    for (const { transaction } of this.#committed)
      for (const { tag } of transaction.tags) logged.add(tag.block)
    const revoked = new Map<BlockNumber, number>()
    for (const { sequence, transaction } of this.#committed)
      for (const index of transaction.revokes)
        for (const block of parseRevokes(this.#journal.superblock, await this.#journal.read(index)))
          if (logged.has(block)) revoked.set(block, sequence)
    return revoked
  }

  /** A block that a transaction revokes is not replayed from that transaction or one before it. */
  #afterRevokes(revoked: ReadonlyMap<BlockNumber, number>): Map<BlockNumber, PlannedBlock> {
    const blocks = new Map<BlockNumber, PlannedBlock>()
    for (const { sequence, transaction } of this.#committed)
      for (const { tag, journalBlock } of transaction.tags) {
        const revocation = revoked.get(tag.block)
        if (revocation !== undefined && !isAfter(sequence, revocation)) continue
        if (tag.block >= this.#blocksCount)
          throw corrupt(
            `transaction ${sequence} holds block ${tag.block}, but the filesystem has ${this.#blocksCount} blocks`,
            sequence,
          )
        if (this.#journal.contains(tag.block))
          throw corrupt(
            `transaction ${sequence} holds block ${tag.block}, which is the journal's own`,
            sequence,
          )
        blocks.set(tag.block, { journalBlock, escaped: tag.escaped, tag, sequence })
      }
    return blocks
  }

  async #verify(blocks: ReadonlyMap<BlockNumber, PlannedBlock>): Promise<void> {
    const { superblock } = this.#journal
    if (!superblock.hasBlockChecksums) return
    const inOrder = [...blocks].sort(([, a], [, b]) => a.journalBlock - b.journalBlock)
    for (const [block, { tag, sequence, journalBlock }] of inOrder)
      if (!dataChecksumIsRight(superblock, tag, await this.#journal.read(journalBlock), sequence))
        throw corrupt(`block ${block} in transaction ${sequence} does not match its checksum`, sequence)
  }
}

function emptyTransaction(): Transaction {
  return { tags: [], revokes: [], damaged: false, checksum: 0xffff_ffff }
}

function corrupt(what: string, sequence: number): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `the journal is damaged: ${what}; nothing was replayed, run e2fsck on a copy`,
    { structure: 'journal', transaction: sequence },
  )
}
