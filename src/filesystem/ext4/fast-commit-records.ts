import { littleEndian } from '../../bytes/byte-view.ts'
import type { InodeNumber } from '../filesystem.ts'

/** fc_tag (fs/ext4/fast_commit.h, EXT4_FC_TAG_*). */
export const FAST_COMMIT_TAG = {
  ADD_RANGE: 1,
  DEL_RANGE: 2,
  CREAT: 3,
  LINK: 4,
  UNLINK: 5,
  INODE: 6,
  PAD: 7,
  TAIL: 8,
  HEAD: 9,
} as const

/** Bytes of fc_tag and fc_len before each value (struct ext4_fc_tl). */
export const FAST_COMMIT_TAG_SIZE = 4

/** One change of a fast commit. */
export type FastCommitRecord =
  | {
      readonly kind: 'add-range'
      readonly ino: InodeNumber
      /** First block in the file. */
      readonly logical: number
      readonly count: number
      /** First block in the volume. */
      readonly block: number
      readonly unwritten: boolean
    }
  | {
      readonly kind: 'delete-range'
      readonly ino: InodeNumber
      readonly logical: number
      readonly count: number
    }
  | {
      readonly kind: 'create' | 'link' | 'unlink'
      readonly parent: InodeNumber
      readonly ino: InodeNumber
      readonly name: Uint8Array
    }
  | {
      readonly kind: 'inode'
      readonly ino: InodeNumber
      /** The inode as it was to be written, without the space after its extra fields. */
      readonly raw: Uint8Array
    }

/** Longest extent that is written to; longer ones in ee_len are unwritten (fs/ext4/ext4_extents.h). */
const MAX_WRITTEN_LENGTH = 32768

/** Whether a value may have this length, as fs/ext4/fast_commit.c, ext4_fc_value_len_isvalid. */
export function isFastCommitLength(tag: number, length: number, inodeSize: number): boolean {
  switch (tag) {
    case FAST_COMMIT_TAG.ADD_RANGE:
      return length === 16
    case FAST_COMMIT_TAG.DEL_RANGE:
      return length === 12
    case FAST_COMMIT_TAG.CREAT:
    case FAST_COMMIT_TAG.LINK:
    case FAST_COMMIT_TAG.UNLINK:
      return length > 8 && length <= 8 + 255
    case FAST_COMMIT_TAG.INODE:
      return length >= 4 + 128 && length <= 4 + inodeSize
    case FAST_COMMIT_TAG.PAD:
      return true
    case FAST_COMMIT_TAG.TAIL:
      return length >= 8
    case FAST_COMMIT_TAG.HEAD:
      return length === 8
    default:
      return false
  }
}

/** The change that a tag's value describes; `undefined` for tags that describe none. The length must be valid. */
export function parseFastCommitRecord(tag: number, value: Uint8Array): FastCommitRecord | undefined {
  const view = littleEndian(value, 'fast commit record')
  switch (tag) {
    case FAST_COMMIT_TAG.ADD_RANGE: {
      const length = view.u16(8)
      const unwritten = length > MAX_WRITTEN_LENGTH
      return {
        kind: 'add-range',
        ino: view.u32(0),
        logical: view.u32(4),
        count: unwritten ? length - MAX_WRITTEN_LENGTH : length,
        block: view.u16(10) * 0x1_0000_0000 + view.u32(12),
        unwritten,
      }
    }
    case FAST_COMMIT_TAG.DEL_RANGE:
      return { kind: 'delete-range', ino: view.u32(0), logical: view.u32(4), count: view.u32(8) }
    case FAST_COMMIT_TAG.CREAT:
    case FAST_COMMIT_TAG.LINK:
    case FAST_COMMIT_TAG.UNLINK:
      return {
        kind: tag === FAST_COMMIT_TAG.CREAT ? 'create' : tag === FAST_COMMIT_TAG.LINK ? 'link' : 'unlink',
        parent: view.u32(0),
        ino: view.u32(4),
        name: value.slice(8),
      }
    case FAST_COMMIT_TAG.INODE:
      return { kind: 'inode', ino: view.u32(0), raw: value.slice(4) }
    default:
      return undefined
  }
}
