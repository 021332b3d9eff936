import { bigEndian } from '../../bytes/byte-view.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { ClusterCounts } from './cluster-counts.ts'
import { type Geometry, geometryOf, roundUp } from './geometry.ts'
import {
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSION_TYPES,
  type CompressionType,
  INCOMPATIBLE,
  MAX_L1_BYTES,
  QCOW2_MAGIC,
} from './header.ts'
import { EXTENSION, serializeFeatureNames, serializeHeaderExtensions } from './header-extensions.ts'
import { serializeRefcountTable } from './refcount-table.ts'

export interface CreateQcow2Options {
  /** Bytes of the virtual disk; rounded up to a whole sector. */
  readonly size: number
  /** A power of two from 512 bytes to 2 MiB; 64 KiB when left out. */
  readonly clusterSize?: number
  /** 1, 2, 4, … 64; 16 when left out. */
  readonly refcountBits?: number
  /** 3 when left out. */
  readonly version?: 2 | 3
  readonly compressionType?: CompressionType
  /** Subclusters; needs clusters of 16 KiB at least. */
  readonly extendedL2?: boolean
  /** Name that the image gets for its backing file; it is not opened. */
  readonly backingFile?: string
  readonly backingFormat?: string
  readonly lazyRefcounts?: boolean
}

/** Features that an image of ours names, so that a program that does not know one can say which it is. */
const FEATURES = [
  { type: 0, bit: 0, name: 'dirty bit' },
  { type: 0, bit: 1, name: 'corrupt bit' },
  { type: 0, bit: 2, name: 'external data file' },
  { type: 0, bit: 3, name: 'compression type' },
  { type: 0, bit: 4, name: 'extended L2 entries' },
  { type: 1, bit: 0, name: 'lazy refcounts' },
] as const

/**
 * Makes an empty image in an empty storage, and flushes it. Errors: `ERR_INVALID_ARGUMENT` for what cannot be.
 */
export async function createQcow2(storage: Storage, options: CreateQcow2Options): Promise<void> {
  const { clusterSize = 65_536, refcountBits = 16, version = 3, extendedL2 = false } = options
  const geometry = checkOptions(options, clusterSize, refcountBits, version, extendedL2)
  const size = roundUp(options.size, 512)
  const l1Size = Math.ceil(size / geometry.l2Span)
  if (l1Size * 8 > MAX_L1_BYTES)
    throw invalid(
      `a disk of ${size} bytes is too large for clusters of ${clusterSize} bytes; take larger ones`,
    )

  // Header, L1 table, refcount blocks, refcount table, one after another. The blocks count themselves and the table.
  const l1Clusters = Math.ceil((l1Size * 8) / clusterSize)
  let blocks = 1
  let tableClusters = 1
  for (;;) {
    const total = 1 + l1Clusters + blocks + tableClusters
    const neededBlocks = Math.ceil(total / geometry.refcountsPerBlock)
    const neededTable = Math.ceil((neededBlocks * 8) / clusterSize)
    if (neededBlocks <= blocks && neededTable <= tableClusters) break
    blocks = Math.max(blocks, neededBlocks)
    tableClusters = Math.max(tableClusters, neededTable)
  }
  const total = 1 + l1Clusters + blocks + tableClusters
  const firstBlock = 1 + l1Clusters
  const firstTable = firstBlock + blocks

  const counts = new ClusterCounts(storage.name)
  for (let cluster = 0; cluster < total; cluster++) counts.set(cluster, 1)
  const metadata = new Uint8Array((total - 1) * clusterSize)
  for (let index = 0; index < blocks; index++) {
    const at = (firstBlock + index - 1) * clusterSize
    const first = index * geometry.refcountsPerBlock
    counts.encode(metadata.subarray(at, at + clusterSize), 0, first, geometry.refcountsPerBlock, refcountBits)
  }
  const offsets = Array.from({ length: blocks }, (_, index) => (firstBlock + index) * clusterSize)
  metadata.set(serializeRefcountTable(offsets, tableClusters, clusterSize), (firstTable - 1) * clusterSize)
  await storage.write(clusterSize, metadata)
  // The header comes last: until it is there, the file is no image at all.
  await storage.flush()
  await storage.write(
    0,
    headerCluster(options, geometry, {
      size,
      l1Size,
      refcountTable: firstTable * clusterSize,
      tableClusters,
    }),
  )
  await storage.flush()
}

function invalid(what: string): DrydiskError {
  return new DrydiskError('ERR_INVALID_ARGUMENT', what)
}

function checkOptions(
  options: CreateQcow2Options,
  clusterSize: number,
  refcountBits: number,
  version: 2 | 3,
  extendedL2: boolean,
): Geometry {
  const clusterBits = Math.log2(clusterSize)
  const order = Math.log2(refcountBits)
  if (!Number.isSafeInteger(options.size) || options.size < 0)
    throw invalid(`a disk cannot have ${options.size} bytes`)
  if (!Number.isInteger(clusterBits) || clusterBits < 9 || clusterBits > 21)
    throw invalid(`a cluster size of ${clusterSize} bytes; powers of two from 512 to 2097152 are possible`)
  if (!Number.isInteger(order) || order < 0 || order > 6)
    throw invalid(`refcounts of ${refcountBits} bits; 1, 2, 4, 8, 16, 32 and 64 are possible`)
  if (
    version === 2 &&
    (refcountBits !== 16 || extendedL2 || options.lazyRefcounts || options.compressionType === 'zstd')
  )
    throw invalid(
      'version 2 knows neither other refcount widths than 16, nor extended L2 entries, lazy refcounts or zstd',
    )
  if (extendedL2 && clusterBits < 14) throw invalid('extended L2 entries need clusters of 16 KiB at least')
  return geometryOf(clusterBits, order, extendedL2)
}

function headerCluster(
  options: CreateQcow2Options,
  geometry: Geometry,
  layout: {
    readonly size: number
    readonly l1Size: number
    readonly refcountTable: number
    readonly tableClusters: number
  },
): Uint8Array {
  const { version = 3, compressionType = 'zlib' } = options
  const bytes = new Uint8Array(geometry.clusterSize)
  const view = bigEndian(bytes, 'header')
  view.setU32(0, QCOW2_MAGIC)
  view.setU32(4, version)
  view.setU32(20, geometry.clusterBits)
  view.setU64(24, layout.size)
  view.setU32(36, layout.l1Size)
  view.setU64(40, geometry.clusterSize)
  view.setU64(48, layout.refcountTable)
  view.setU32(56, layout.tableClusters)
  if (version === 3) {
    view.setBig(
      72,
      (compressionType === 'zlib' ? 0n : INCOMPATIBLE.compressionType) |
        (geometry.subclusters > 1 ? INCOMPATIBLE.extendedL2 : 0n),
    )
    view.setBig(80, options.lazyRefcounts ? COMPATIBLE_LAZY_REFCOUNTS : 0n)
    view.setU32(96, Math.log2(geometry.refcountBits))
    view.setU32(100, 112)
    view.setU8(104, COMPRESSION_TYPES.indexOf(compressionType))
  }
  const start = version === 3 ? 112 : 72
  const backing = new TextEncoder().encode(options.backingFile ?? '')
  const essential = options.backingFormat === undefined ? [] : [backingFormat(options.backingFormat)]
  const named = { type: EXTENSION.featureNames, data: serializeFeatureNames(FEATURES) }
  // Clusters of 512 bytes have no room for both the names of features and a long backing file name.
  let extensions = serializeHeaderExtensions(version === 3 ? [...essential, named] : essential)
  if (start + extensions.length + backing.length > geometry.clusterSize)
    extensions = serializeHeaderExtensions(essential)
  if (backing.length > 1023 || start + extensions.length + backing.length > geometry.clusterSize)
    throw invalid(`the backing file name has ${backing.length} bytes, more than the header has room for`)
  bytes.set(extensions, start)
  if (backing.length > 0) {
    bytes.set(backing, start + extensions.length)
    view.setU64(8, start + extensions.length)
    view.setU32(16, backing.length)
  }
  return bytes
}

function backingFormat(format: string): { readonly type: number; readonly data: Uint8Array } {
  return { type: EXTENSION.backingFormat, data: new TextEncoder().encode(format) }
}
