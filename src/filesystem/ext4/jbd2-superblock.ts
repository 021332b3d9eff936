import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'

/** h_magic of every block of the log (include/linux/jbd2.h, JBD2_MAGIC_NUMBER). */
export const JBD2_MAGIC = 0xc03b3998

/** h_blocktype (include/linux/jbd2.h). */
export const JBD2_BLOCK_TYPE = {
  DESCRIPTOR: 1,
  COMMIT: 2,
  SUPERBLOCK_V1: 3,
  SUPERBLOCK_V2: 4,
  REVOKE: 5,
} as const

/** s_feature_compat: v1 checksums, one over all the blocks of a transaction. */
export const JBD2_COMPAT_CHECKSUM = 0x1

/** s_feature_incompat (include/linux/jbd2.h, JBD2_FEATURE_INCOMPAT_*). */
export const JBD2_INCOMPAT = {
  REVOKE: 0x1,
  '64BIT': 0x2,
  ASYNC_COMMIT: 0x4,
  CSUM_V2: 0x8,
  CSUM_V3: 0x10,
  FAST_COMMIT: 0x20,
} as const

const KNOWN_INCOMPAT = 0x3f

/** Fewest blocks of a log that the kernel takes (JBD2_MIN_JOURNAL_BLOCKS). */
export const JBD2_MIN_JOURNAL_BLOCKS = 1024

/** Size of the fast-commit area when s_num_fc_blks is 0 (JBD2_DEFAULT_FAST_COMMIT_BLOCKS). */
const DEFAULT_FAST_COMMIT_BLOCKS = 256

/** s_checksum_type: crc32c, the only one that checksums v2 and v3 use. */
const CHECKSUM_TYPE_CRC32C = 4

/** Bytes of struct journal_superblock_s. */
export const JBD2_SUPERBLOCK_SIZE = 1024

const CHECKSUM_OFFSET = 0xfc

/** The journal's superblock: block 0 of the journal. A view on its bytes with the names of struct journal_superblock_s. */
export class JournalSuperblock {
  /** `JBD2_SUPERBLOCK_SIZE` bytes. */
  readonly bytes: Uint8Array
  readonly #view: ByteView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes.subarray(0, JBD2_SUPERBLOCK_SIZE)
    this.#view = bigEndian(this.bytes, 'journal superblock')
  }

  get magic(): number {
    return this.#view.u32(0x0)
  }
  get blockType(): number {
    return this.#view.u32(0x4)
  }
  /** s_blocksize in bytes. */
  get blockSize(): number {
    return this.#view.u32(0xc)
  }
  /** s_maxlen: blocks of the journal. */
  get maxLength(): number {
    return this.#view.u32(0x10)
  }
  /** s_first: first block of the log. */
  get first(): number {
    return this.#view.u32(0x14)
  }
  /** s_sequence: number of the first transaction that is expected in the log. */
  get sequence(): number {
    return this.#view.u32(0x18)
  }
  set sequence(value: number) {
    this.#view.setU32(0x18, value >>> 0)
  }
  /** s_start: block where the log starts; 0 when the journal is empty. */
  get start(): number {
    return this.#view.u32(0x1c)
  }
  set start(value: number) {
    this.#view.setU32(0x1c, value)
  }
  /** s_errno: what aborted the journal, 0 for nothing. */
  get errno(): number {
    return this.#view.i32(0x20)
  }
  set errno(value: number) {
    this.#view.setU32(0x20, value >>> 0)
  }
  get featureCompat(): number {
    return this.#isV2 ? this.#view.u32(0x24) : 0
  }
  get featureIncompat(): number {
    return this.#isV2 ? this.#view.u32(0x28) : 0
  }
  get featureRoCompat(): number {
    return this.#isV2 ? this.#view.u32(0x2c) : 0
  }
  get uuid(): Uint8Array {
    return this.#view.slice(0x30, 16)
  }
  /** s_nr_users: filesystems that share the log. */
  get users(): number {
    return this.#isV2 ? this.#view.u32(0x40) : 1
  }
  get checksumType(): number {
    return this.#view.u8(0x50)
  }

  hasIncompat(feature: number): boolean {
    return (this.featureIncompat & feature) !== 0
  }
  /** Checksums v2 or v3: every block of the log carries a crc32c. */
  get hasBlockChecksums(): boolean {
    return this.hasIncompat(JBD2_INCOMPAT.CSUM_V2 | JBD2_INCOMPAT.CSUM_V3)
  }
  /** What the checksums of blocks start with: crc32c(~0, uuid). */
  get checksumSeed(): number {
    return crc32c(0xffff_ffff, this.uuid)
  }
  /** Blocks of the fast-commit area, at the journal's end; 0 without the feature. */
  get fastCommitBlocks(): number {
    if (!this.hasIncompat(JBD2_INCOMPAT.FAST_COMMIT)) return 0
    const stored = this.#view.u32(0x54)
    return stored === 0 ? DEFAULT_FAST_COMMIT_BLOCKS : stored
  }
  /** First block after the log: where it wraps around to `first`. */
  get last(): number {
    return this.maxLength - this.fastCommitBlocks
  }

  /** Sets s_checksum where checksums v2 or v3 are on; without them the kernel keeps none. */
  updateChecksum(): void {
    if (this.hasBlockChecksums) this.#view.setU32(CHECKSUM_OFFSET, this.#computeChecksum())
  }

  get #isV2(): boolean {
    return this.blockType === JBD2_BLOCK_TYPE.SUPERBLOCK_V2
  }

  #computeChecksum(): number {
    const copy = this.bytes.slice()
    bigEndian(copy, 'journal superblock').setU32(CHECKSUM_OFFSET, 0)
    return crc32c(0xffff_ffff, copy)
  }

  /**
   * Checks everything that later code relies on (fs/jbd2/journal.c, journal_check_superblock). `ERR_CORRUPT`, or
   * `ERR_UNSUPPORTED` for a feature that is not known.
   * @param blockSize bytes of a block of the filesystem.
   * @param fileBlocks blocks of the journal's file.
   */
  validate(blockSize: number, fileBlocks: number): void {
    if (this.magic !== JBD2_MAGIC) throw corrupt(`magic is ${hex(this.magic)}, expected ${hex(JBD2_MAGIC)}`)
    const type = this.blockType
    if (type !== JBD2_BLOCK_TYPE.SUPERBLOCK_V1 && type !== JBD2_BLOCK_TYPE.SUPERBLOCK_V2)
      throw corrupt(`block type is ${type}, expected 3 or 4`)
    const unknown = (this.featureIncompat & ~KNOWN_INCOMPAT) >>> 0
    if (unknown !== 0) throw unsupported('incompatible', unknown)
    if (this.featureRoCompat !== 0) throw unsupported('read-only compatible', this.featureRoCompat)
    if (this.hasIncompat(JBD2_INCOMPAT.CSUM_V2) && this.hasIncompat(JBD2_INCOMPAT.CSUM_V3))
      throw corrupt('checksum features v2 and v3 are both on; only one can be')
    if (this.hasBlockChecksums) {
      if ((this.featureCompat & JBD2_COMPAT_CHECKSUM) !== 0)
        throw corrupt('checksum feature v1 is on together with v2 or v3; only one can be')
      if (this.checksumType !== CHECKSUM_TYPE_CRC32C)
        throw corrupt(`checksum type is ${this.checksumType}, expected 4 (crc32c)`)
      const stored = this.#view.u32(CHECKSUM_OFFSET)
      const computed = this.#computeChecksum()
      if (stored !== computed) throw corrupt(`checksum is ${hex(stored)}, computed ${hex(computed)}`)
    }
    if (this.blockSize !== blockSize)
      throw corrupt(`block size is ${this.blockSize}, but that of the filesystem is ${blockSize}`)
    if (this.maxLength > fileBlocks)
      throw corrupt(`${this.maxLength} blocks are claimed, but the journal's file has ${fileBlocks}`)
    if (this.maxLength - this.fastCommitBlocks < JBD2_MIN_JOURNAL_BLOCKS)
      throw corrupt(
        `${this.maxLength} blocks, of which ${this.fastCommitBlocks} for fast commits: fewer than the ${JBD2_MIN_JOURNAL_BLOCKS} that a log needs`,
      )
    if (this.first === 0 || this.first >= this.last)
      throw corrupt(`the log starts at block ${this.first}, expected 1 to ${this.last - 1}`)
    // Only a log with a fast-commit area may be written from `last` on, and that is never where a transaction starts.
    if (this.start !== 0 && (this.start < this.first || this.start >= this.last))
      throw corrupt(
        `the first transaction is at block ${this.start}, expected ${this.first} to ${this.last - 1}`,
      )
    if (this.users > 1)
      throw new DrydiskError('ERR_UNSUPPORTED', `the journal is shared by ${this.users} filesystems`, {
        structure: 'journal superblock',
      })
  }
}

/** What the superblock of a new, empty journal says. */
export interface NewJournal {
  /** Bytes. */
  readonly blockSize: number
  /** Blocks of the journal, its superblock included. */
  readonly blocks: number
  /** The filesystem's own UUID, 16 bytes. */
  readonly uuid: Uint8Array
  /** Blocks of the fast-commit area within `blocks`; 0 for none. The feature bit is the kernel's to set, at mount. */
  readonly fastCommitBlocks?: number
}

/**
 * The first block of a new, empty journal, as mke2fs makes it: version 2 with no features. The kernel turns on what it
 * uses (64bit, checksums v3) when it mounts the filesystem.
 */
export function emptyJournalSuperblock(journal: NewJournal): Uint8Array {
  const bytes = new Uint8Array(journal.blockSize)
  const view = bigEndian(bytes, 'journal superblock')
  view.setU32(0x0, JBD2_MAGIC)
  view.setU32(0x4, JBD2_BLOCK_TYPE.SUPERBLOCK_V2)
  view.setU32(0xc, journal.blockSize)
  view.setU32(0x10, journal.blocks)
  view.setU32(0x14, 1)
  view.setU32(0x18, 1)
  bytes.set(journal.uuid, 0x30)
  view.setU32(0x40, 1)
  view.setU32(0x54, journal.fastCommitBlocks ?? 0)
  return bytes
}

function corrupt(what: string): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `journal superblock: ${what}; e2fsck can make a new one, which loses what the journal holds`,
    { structure: 'journal superblock' },
  )
}

function unsupported(kind: string, bits: number): DrydiskError {
  return new DrydiskError(
    'ERR_UNSUPPORTED',
    `the journal has unknown ${kind} features ${hex(bits)}; mount it with the kernel that made it, or run e2fsck`,
    { structure: 'journal superblock', features: bits },
  )
}

function hex(value: number): string {
  return `0x${value.toString(16)}`
}
