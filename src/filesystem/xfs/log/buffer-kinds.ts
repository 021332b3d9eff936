import { bigEndian } from '../../../bytes/byte-view.ts'
import { equalBytes } from '../../../bytes/compare.ts'
import { storeChecksum } from '../checksum.ts'

/** Where metadata of version 5 keeps its magic number, sequence number, checksum and UUID. */
interface SelfDescription {
  readonly magicAt: number
  readonly magicBytes: 2 | 4
  readonly lsn: number
  readonly crc: number
  readonly uuid: number
  /** XFS_BLFT_*: what a log calls such a buffer. */
  readonly kind: number
}

const block = { magicAt: 0, magicBytes: 4 } as const
const SHORT_TREE: SelfDescription = { ...block, lsn: 24, crc: 52, uuid: 32, kind: 4 }
const LONG_TREE: SelfDescription = { ...block, lsn: 32, crc: 64, uuid: 40, kind: 4 }
const DIRECTORY = { ...block, lsn: 16, crc: 4, uuid: 24 } as const
const DA_NODE = { magicAt: 8, magicBytes: 2, lsn: 24, crc: 12, uuid: 32 } as const

/** By magic number. Offsets are those of the structures in xfs_format.h and xfs_da_format.h. */
const KINDS: ReadonlyMap<number, SelfDescription> = new Map<number, SelfDescription>([
  [0x4142_3342, SHORT_TREE], // AB3B, free space by block
  [0x4142_3343, SHORT_TREE], // AB3C, free space by size
  [0x4941_4233, SHORT_TREE], // IAB3, inodes
  [0x4649_4233, SHORT_TREE], // FIB3, free inodes
  [0x524d_4233, SHORT_TREE], // RMB3, reverse mappings
  [0x5233_4643, SHORT_TREE], // R3FC, reference counts
  [0x424d_4133, LONG_TREE], // BMA3, extents of a file
  [0x5841_4746, { ...block, lsn: 208, crc: 216, uuid: 64, kind: 5 }], // XAGF
  [0x5841_464c, { ...block, lsn: 24, crc: 32, uuid: 8, kind: 6 }], // XAFL
  [0x5841_4749, { ...block, lsn: 320, crc: 312, uuid: 296, kind: 7 }], // XAGI
  [0x5853_4c4d, { ...block, lsn: 48, crc: 12, uuid: 16, kind: 9 }], // XSLM
  [0x5844_4233, { ...DIRECTORY, kind: 10 }], // XDB3
  [0x5844_4433, { ...DIRECTORY, kind: 11 }], // XDD3
  [0x5844_4633, { ...DIRECTORY, kind: 12 }], // XDF3
  [0x3df1, { ...DA_NODE, kind: 13 }],
  [0x3dff, { ...DA_NODE, kind: 14 }],
  [0x3ebe, { ...DA_NODE, kind: 15 }],
  [0x3bee, { ...DA_NODE, kind: 16 }],
])

/** XFSB: which UUID the superblock is known by depends on its features, so that one is told apart by the caller. */
const SUPERBLOCK_MAGIC = 0x5846_5342
const SUPERBLOCK: SelfDescription = { ...block, lsn: 240, crc: 224, uuid: 32, kind: 18 }

export const NO_LSN = 0xffff_ffff_ffff_ffffn

function describe(bytes: Uint8Array): SelfDescription | undefined {
  if (bytes.length < 512) return undefined
  const view = bigEndian(bytes, 'XFS metadata block')
  if (view.u32(0) === SUPERBLOCK_MAGIC) return SUPERBLOCK
  return KINDS.get(view.u32(0)) ?? KINDS.get(view.u16(8))
}

/**
 * The sequence number of what stands on disk, if it is metadata of this filesystem that has one: then a change that is
 * not newer must not be replayed over it (Linux, xlog_recover_get_buf_lsn).
 */
export function bufferLsn(
  bytes: Uint8Array,
  uuids: { sb: Uint8Array; meta: Uint8Array },
): bigint | undefined {
  const found = describe(bytes)
  if (found === undefined) return undefined
  const uuid = found === SUPERBLOCK ? uuids.sb : uuids.meta
  if (!equalBytes(bytes.subarray(found.uuid, found.uuid + 16), uuid)) return undefined
  const lsn = bigEndian(bytes, 'XFS metadata block').big(found.lsn)
  return lsn === 0n || lsn === NO_LSN ? undefined : lsn
}

/** Stamps a replayed block with the sequence number and a new checksum, as Linux does when it writes it. */
export function stampBuffer(bytes: Uint8Array, kind: number, lsn: bigint): boolean {
  const found = describe(bytes)
  if (found === undefined || found.kind !== kind) return false
  bigEndian(bytes, 'XFS metadata block').setBig(found.lsn, lsn)
  storeChecksum(bytes, found.crc)
  return true
}
