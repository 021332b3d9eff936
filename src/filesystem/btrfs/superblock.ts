import { littleEndian } from '../../bytes/byte-view.ts'
import { formatUuid } from '../../bytes/guid.ts'
import { corrupt, unsupported } from './errors.ts'
import { INCOMPAT, SUPER_FLAG, unreadableFeatures } from './features.ts'

export const SUPERBLOCK_SIZE = 4096
/** Where copies of the superblock lie, those that the device is large enough for. */
export const SUPERBLOCKS_AT = [64 * 1024, 64 * 1024 ** 2, 256 * 1024 ** 3] as const
const MAGIC = '_BHRfS_M'
const CSUM_SIZE = 32
const LABEL_SIZE = 256
const SYS_CHUNK_ARRAY_AT = 0x32b
const SYS_CHUNK_ARRAY_SIZE = 2048
/** BTRFS_MAX_LEVEL of Linux is 8, so the highest level is 7. */
export const MOST_LEVEL = 7
/** BTRFS_MAX_METADATA_BLOCKSIZE. */
const MOST_NODE = 65_536
const LEAST_SECTOR = 4096

export interface Superblock {
  /** The UUID that a user sees. */
  readonly fsid: string
  /** What the header of every metadata block holds; differs from `fsid` with the feature metadata-uuid. */
  readonly metadataUuid: Uint8Array
  readonly generation: number
  readonly flags: bigint
  readonly root: number
  readonly rootLevel: number
  readonly chunkRoot: number
  readonly chunkRootLevel: number
  readonly chunkRootGeneration: number
  /** Address of the log tree, 0 when there is none. */
  readonly logRoot: number
  readonly totalBytes: number
  /** Bytes of the device that the filesystem takes. */
  readonly deviceBytes: number
  readonly bytesUsed: number
  readonly rootDirObjectid: bigint
  readonly numDevices: number
  readonly sectorsize: number
  readonly nodesize: number
  readonly incompat: bigint
  readonly compatRo: bigint
  readonly csumType: number
  readonly devid: bigint
  readonly label: Uint8Array
  readonly sysChunkArray: Uint8Array
}

/** The checksum type of what may be a superblock at that place, or `undefined` when it has no magic number or names another place. */
export function superblockCsumType(bytes: Uint8Array, at: number): number | undefined {
  const view = littleEndian(bytes, 'btrfs superblock')
  const magic = String.fromCharCode(...view.slice(0x40, 8))
  return magic === MAGIC && view.big(0x30) === BigInt(at) ? view.u16(0xc4) : undefined
}

/** What a superblock's checksum is stored in, and what it is of. */
export function superblockChecksummed(bytes: Uint8Array): { stored: Uint8Array; content: Uint8Array } {
  return { stored: bytes.subarray(0, CSUM_SIZE), content: bytes.subarray(CSUM_SIZE, SUPERBLOCK_SIZE) }
}

export function superblockGeneration(bytes: Uint8Array): bigint {
  return littleEndian(bytes, 'btrfs superblock').big(0x48)
}

/** On-disk format, "Superblock". Features come first, so that they are named before anything else is looked at. */
export function parseSuperblock(bytes: Uint8Array): Superblock {
  const view = littleEndian(bytes, 'btrfs superblock')
  const incompat = view.big(0xbc)
  const flags = view.big(0x38)
  refuseFeatures(incompat, flags)
  const [sectorsize, nodesize] = [view.u32(0x90), view.u32(0x94)]
  checkSizes(sectorsize, nodesize)
  const sysChunkArraySize = view.u32(0xa0)
  if (sysChunkArraySize > SYS_CHUNK_ARRAY_SIZE)
    throw corrupt(
      'superblock',
      `sys_chunk_array_size is ${sysChunkArraySize}, and there is room for ${SYS_CHUNK_ARRAY_SIZE} bytes`,
    )
  const [rootLevel, chunkRootLevel] = [view.u8(0xc6), view.u8(0xc7)]
  for (const level of [rootLevel, chunkRootLevel])
    if (level > MOST_LEVEL)
      throw corrupt('superblock', `a tree has level ${level}, and ${MOST_LEVEL} is the highest`)
  const numDevices = view.big(0x88)
  if (numDevices !== 1n)
    throw unsupported(
      `the filesystem spans ${numDevices} devices, and drydisk reads those of one device only; on a machine with all of them, remove the others (btrfs device remove)`,
      { devices: Number(numDevices) },
    )
  const labelBytes = view.slice(0x12b, LABEL_SIZE)
  const end = labelBytes.indexOf(0)
  return {
    fsid: formatUuid(view.slice(0x20, 16)),
    metadataUuid: view.slice((incompat & INCOMPAT.METADATA_UUID) === 0n ? 0x20 : 0x23b, 16),
    generation: view.u64(0x48),
    flags,
    root: view.u64(0x50),
    rootLevel,
    chunkRoot: view.u64(0x58),
    chunkRootLevel,
    chunkRootGeneration: view.u64(0xa4),
    logRoot: view.u64(0x60),
    totalBytes: view.u64(0x70),
    bytesUsed: view.u64(0x78),
    rootDirObjectid: view.big(0x80),
    numDevices: 1,
    sectorsize,
    nodesize,
    incompat,
    compatRo: view.big(0xb4),
    csumType: view.u16(0xc4),
    devid: view.big(0xc9),
    deviceBytes: view.u64(0xd1),
    label: end < 0 ? labelBytes : labelBytes.subarray(0, end),
    sysChunkArray: view.slice(SYS_CHUNK_ARRAY_AT, sysChunkArraySize),
  }
}

function refuseFeatures(incompat: bigint, flags: bigint): void {
  const features = unreadableFeatures(incompat)
  if (features.length > 0)
    throw unsupported(`the filesystem has features that drydisk does not read: ${features.join(', ')}`, {
      features: features.join(','),
    })
  if ((flags & (SUPER_FLAG.METADUMP | SUPER_FLAG.METADUMP_V2)) !== 0n)
    throw unsupported('this is a metadata dump (btrfs-image), which holds no file data')
  if ((flags & (SUPER_FLAG.CHANGING_FSID | SUPER_FLAG.CHANGING_FSID_V2)) !== 0n)
    throw unsupported('btrfstune was changing the UUID and did not finish; let it finish (btrfstune -u)')
  if ((flags & (SUPER_FLAG.CHANGING_DATA_CSUM | SUPER_FLAG.CHANGING_META_CSUM)) !== 0n)
    throw unsupported(
      'btrfstune was changing the checksums and did not finish; let it finish (btrfstune --csum)',
    )
  if ((flags & SUPER_FLAG.CHANGING_BG_TREE) !== 0n)
    throw unsupported(
      'btrfstune was converting the block groups and did not finish; let it finish (btrfstune --convert-to-block-group-tree)',
    )
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0
}

function checkSizes(sectorsize: number, nodesize: number): void {
  if (!isPowerOfTwo(sectorsize) || sectorsize < LEAST_SECTOR || sectorsize > MOST_NODE)
    throw corrupt(
      'superblock',
      `sectorsize is ${sectorsize}, expected a power of two from ${LEAST_SECTOR} to ${MOST_NODE}`,
    )
  if (!isPowerOfTwo(nodesize) || nodesize < sectorsize || nodesize > MOST_NODE)
    throw corrupt(
      'superblock',
      `nodesize is ${nodesize}, expected a power of two from ${sectorsize} to ${MOST_NODE}`,
    )
}
