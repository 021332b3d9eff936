import { bigEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import { crc32cWithout, tagChecksum } from './jbd2-checksum.ts'
import { JBD2_INCOMPAT, JBD2_MAGIC, type JournalSuperblock } from './jbd2-superblock.ts'

/** Bytes of the header that each block of the log but data starts with (struct journal_header_s). */
const HEADER_SIZE = 12
/** Bytes of the checksum at the end of descriptor and revoke blocks (struct jbd2_journal_block_tail). */
const TAIL_SIZE = 4
/** Bytes of the UUID after a tag without `SAME_UUID`. */
const UUID_SIZE = 16

/** t_flags (include/linux/jbd2.h). */
const TAG_FLAG = {
  /** The block's first four bytes were the log's magic and are zeroed in the log. */
  ESCAPE: 1,
  SAME_UUID: 2,
  LAST_TAG: 8,
} as const

/** h_chksum_type of checksums v1. */
const COMMIT_CHECKSUM_CRC32 = 1

/** What a block of the log says about the block after it. */
export interface JournalTag {
  /** Where the content belongs: a block of the filesystem. */
  readonly block: number
  readonly escaped: boolean
  /** t_checksum: 32 bits of crc32c with checksums v3, 16 with v2, meaningless without. */
  readonly checksum: number
}

/** The common header; `undefined` for a block that has none: data, or never written. */
export function parseJournalHeader(
  bytes: Uint8Array,
): { readonly type: number; readonly sequence: number } | undefined {
  const view = bigEndian(bytes, 'journal block')
  return view.u32(0) === JBD2_MAGIC ? { type: view.u32(4), sequence: view.u32(8) } : undefined
}

/** Bytes of a tag: its size depends on the features (journal_tag_bytes). */
function tagSize(superblock: JournalSuperblock): number {
  if (superblock.hasIncompat(JBD2_INCOMPAT.CSUM_V3)) return 16
  // Checksums v2 were meant to grow the tag by two bytes; the kernel counts them though the field fits without.
  return (
    8 +
    (superblock.hasIncompat(JBD2_INCOMPAT['64BIT']) ? 4 : 0) +
    (superblock.hasIncompat(JBD2_INCOMPAT.CSUM_V2) ? 2 : 0)
  )
}

/** The tags of a descriptor block, in the order of the data blocks that follow it. */
export function parseDescriptor(superblock: JournalSuperblock, bytes: Uint8Array): JournalTag[] {
  const view = bigEndian(bytes, 'journal descriptor block')
  const size = tagSize(superblock)
  const wide = superblock.hasIncompat(JBD2_INCOMPAT['64BIT'])
  const v3 = superblock.hasIncompat(JBD2_INCOMPAT.CSUM_V3)
  const end = bytes.length - (superblock.hasBlockChecksums ? TAIL_SIZE : 0)
  const tags: JournalTag[] = []
  for (let at = HEADER_SIZE; at + size <= end; ) {
    // In a v3 tag t_flags has 32 bits, of which the lower 16 lie where v1 and v2 have all of them.
    const flags = view.u16(at + 6)
    tags.push({
      block: view.u32(at) + (wide ? view.u32(at + 8) * 0x1_0000_0000 : 0),
      escaped: (flags & TAG_FLAG.ESCAPE) !== 0,
      checksum: v3 ? view.u32(at + 12) : view.u16(at + 4),
    })
    at += size
    if ((flags & TAG_FLAG.SAME_UUID) === 0) at += UUID_SIZE
    if ((flags & TAG_FLAG.LAST_TAG) !== 0) break
  }
  return tags
}

/** The blocks that a revoke block names. `ERR_CORRUPT` when its count reaches past its end. */
export function parseRevokes(superblock: JournalSuperblock, bytes: Uint8Array): number[] {
  const view = bigEndian(bytes, 'journal revoke block')
  const used = view.u32(HEADER_SIZE)
  const room = bytes.length - (superblock.hasBlockChecksums ? TAIL_SIZE : 0)
  if (used > room)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `journal revoke block: ${used} bytes in use, but it has room for ${room}`,
      { structure: 'journal revoke block' },
    )
  const wide = superblock.hasIncompat(JBD2_INCOMPAT['64BIT'])
  const size = wide ? 8 : 4
  const blocks: number[] = []
  for (let at = HEADER_SIZE + 4; at + size <= used; at += size)
    blocks.push(wide ? view.u32(at) * 0x1_0000_0000 + view.u32(at + 4) : view.u32(at))
  return blocks
}

/** Whether the checksum at the end of a descriptor or revoke block is right; true where there is none to check. */
export function tailChecksumIsRight(superblock: JournalSuperblock, bytes: Uint8Array): boolean {
  if (!superblock.hasBlockChecksums) return true
  const offset = bytes.length - TAIL_SIZE
  const stored = bigEndian(bytes, 'journal block').u32(offset)
  return stored === crc32cWithout(superblock.checksumSeed, bytes, offset)
}

/** Whether a data block is what its tag says; true where there is no checksum. `bytes` are as in the log, still escaped. */
export function dataChecksumIsRight(
  superblock: JournalSuperblock,
  tag: JournalTag,
  bytes: Uint8Array,
  sequence: number,
): boolean {
  if (!superblock.hasBlockChecksums) return true
  const computed = tagChecksum(superblock.checksumSeed, sequence, bytes)
  return superblock.hasIncompat(JBD2_INCOMPAT.CSUM_V3)
    ? computed === tag.checksum
    : (computed & 0xffff) === tag.checksum
}

/** h_commit_sec of a commit block, seconds since 1970: tells an old block of the log from one of now. */
export function commitTime(bytes: Uint8Array): number {
  const view = bigEndian(bytes, 'journal commit block')
  return view.u32(0x30) * 0x1_0000_0000 + view.u32(0x34)
}

/** Bytes of struct commit_header. */
const COMMIT_HEADER_SIZE = 0x3c

/** Whether a commit block's own checksum (v2, v3) is right; true where there is none. */
export function commitChecksumIsRight(superblock: JournalSuperblock, bytes: Uint8Array): boolean {
  if (!superblock.hasBlockChecksums) return true
  const stored = bigEndian(bytes, 'journal commit block').u32(0x10)
  if (stored === crc32cWithout(superblock.checksumSeed, bytes, 0x10)) return true
  // A commit block of which only the first sector reached the disk is whole all the same: the rest is padding
  // (fs/jbd2/recovery.c, jbd2_commit_block_csum_verify_partial).
  const header = new Uint8Array(bytes.length)
  header.set(bytes.subarray(0, COMMIT_HEADER_SIZE))
  return stored === crc32cWithout(superblock.checksumSeed, header, 0x10)
}

/** Checksums v1: whether the commit block's crc32 over all blocks of its transaction is right, or not in use. */
export function transactionChecksumIsRight(bytes: Uint8Array, computed: number): boolean {
  const view = bigEndian(bytes, 'journal commit block')
  const type = view.u8(0xc)
  const size = view.u8(0xd)
  const stored = view.u32(0x10)
  if (type === 0 && size === 0 && stored === 0) return true
  return type === COMMIT_CHECKSUM_CRC32 && size === 4 && stored === computed
}
