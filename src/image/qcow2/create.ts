import { bigEndian } from '../../bytes/byte-view.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { type CreateLayout, createLayout } from './create-layout.ts'
import { type Geometry, geometryOf, TWO_32 } from './geometry.ts'
import {
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSION_TYPES,
  type CompressionType,
  INCOMPATIBLE,
  MAX_L1_BYTES,
  QCOW2_MAGIC,
} from './header.ts'
import { EXTENSION, serializeFeatureNames, serializeHeaderExtensions } from './header-extensions.ts'
import { COPIED } from './l2-table.ts'
import { writeRefcount } from './refcount-block.ts'
import { serializeRefcountTable } from './refcount-table.ts'

/** What a new qcow2 image is made with. Sizes are in bytes. */
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
  /** Every cluster of the disk gets its place in the file, which becomes as long as the disk: holes, where there can be. */
  readonly preallocated?: boolean
}

/** Features that an image of ours names, so that a program that does not know one can say which it is. */
export const FEATURES = [
  { type: 0, bit: 0, name: 'dirty bit' },
  { type: 0, bit: 1, name: 'corrupt bit' },
  { type: 0, bit: 2, name: 'external data file' },
  { type: 0, bit: 3, name: 'compression type' },
  { type: 0, bit: 4, name: 'extended L2 entries' },
  { type: 1, bit: 0, name: 'lazy refcounts' },
] as const

/** Bytes of metadata in one write. */
const PIECE = 1 << 20

/**
 * Makes an empty image in an empty storage, and flushes it. Errors: `ERR_INVALID_ARGUMENT` for what cannot be.
 * @returns the bytes of the file that hold the disk's own bytes: none unless the image is preallocated.
 */
export async function createQcow2(
  storage: Storage,
  options: CreateQcow2Options,
): Promise<{ readonly dataStart: number; readonly dataEnd: number }> {
  const { clusterSize = 65_536, refcountBits = 16, version = 3, extendedL2 = false } = options
  const geometry = checkOptions(options, clusterSize, refcountBits, version, extendedL2)
  const layout = createLayout(geometry, options.size, options.preallocated ?? false)
  if (layout.l1Size * 8 > MAX_L1_BYTES)
    throw invalid(
      `a disk of ${layout.size} bytes is too large for clusters of ${clusterSize} bytes; take larger ones`,
    )
  const header = headerCluster(options, geometry, layout)
  await writeL1(storage, geometry, layout)
  await writeRefcounts(storage, geometry, layout)
  await writeL2(storage, geometry, layout)
  const dataEnd = layout.total * clusterSize
  if (storage.size < dataEnd) await storage.truncate(dataEnd)
  // The header comes last: until it is there, the file is no image at all.
  await storage.flush()
  await storage.write(0, header)
  await storage.flush()
  return { dataStart: layout.data.first * clusterSize, dataEnd }
}

/** Writes clusters from `first` on, a few at a time; `fill` gets each of them, empty, with its index. */
async function writeClusters(
  storage: Storage,
  clusterSize: number,
  { first, count }: { readonly first: number; readonly count: number },
  fill: (cluster: Uint8Array, index: number) => void,
): Promise<void> {
  const most = Math.max(1, Math.floor(PIECE / clusterSize))
  for (let done = 0; done < count; done += most) {
    const piece = new Uint8Array(Math.min(most, count - done) * clusterSize)
    for (let at = 0; at < piece.length; at += clusterSize)
      fill(piece.subarray(at, at + clusterSize), done + at / clusterSize)
    await storage.write((first + done) * clusterSize, piece)
  }
}

/** Entries that point at consecutive clusters, each used once. */
function fillEntries(
  table: Uint8Array,
  entrySize: number,
  clusterSize: number,
  first: number,
  count: number,
): void {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
  for (let index = 0; index < count; index++) {
    const offset = (first + index) * clusterSize
    view.setUint32(index * entrySize, (COPIED | Math.floor(offset / TWO_32)) >>> 0)
    view.setUint32(index * entrySize + 4, offset >>> 0)
  }
}

async function writeL1(storage: Storage, { clusterSize }: Geometry, layout: CreateLayout): Promise<void> {
  const { l1, l2 } = layout
  const entries = clusterSize / 8
  await writeClusters(storage, clusterSize, l1, (cluster, index) => {
    const before = index * entries
    fillEntries(cluster, 8, clusterSize, l2.first + before, Math.max(0, Math.min(entries, l2.count - before)))
  })
}

async function writeRefcounts(storage: Storage, geometry: Geometry, layout: CreateLayout): Promise<void> {
  const { clusterSize, refcountsPerBlock, refcountBits } = geometry
  const { refcountBlocks, refcountTable, total } = layout
  const full = new Uint8Array(clusterSize)
  for (let index = 0; index < refcountsPerBlock; index++) writeRefcount(full, index, refcountBits, 1)
  await writeClusters(storage, clusterSize, refcountBlocks, (cluster, index) => {
    const used = total - index * refcountsPerBlock
    if (used >= refcountsPerBlock) cluster.set(full)
    else for (let at = 0; at < used; at++) writeRefcount(cluster, at, refcountBits, 1)
  })
  const offsets = Array.from(
    { length: refcountBlocks.count },
    (_, index) => (refcountBlocks.first + index) * clusterSize,
  )
  await storage.write(
    refcountTable.first * clusterSize,
    serializeRefcountTable(offsets, refcountTable.count, clusterSize),
  )
}

/** With extended entries the clusters are there and their subclusters unallocated, as qemu preallocates. */
async function writeL2(storage: Storage, geometry: Geometry, layout: CreateLayout): Promise<void> {
  const { clusterSize, l2Entries, l2EntrySize } = geometry
  const { l2, data } = layout
  await writeClusters(storage, clusterSize, l2, (cluster, index) => {
    const before = index * l2Entries
    const count = Math.min(l2Entries, data.count - before)
    fillEntries(cluster, l2EntrySize, clusterSize, data.first + before, count)
  })
}

function invalid(what: string): DrydiskError {
  return new DrydiskError('ERR_INVALID_ARGUMENT', what)
}

/** What the options come to. Errors: `ERR_INVALID_ARGUMENT` for what cannot be. */
export function checkOptions(
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
  if (options.preallocated && options.backingFile !== undefined && !extendedL2)
    throw invalid('preallocated clusters would hide the backing file, unless L2 entries are extended')
  if (extendedL2 && clusterBits < 14) throw invalid('extended L2 entries need clusters of 16 KiB at least')
  return geometryOf(clusterBits, order, extendedL2)
}

/** The first cluster; the L1 table follows it. */
export function headerCluster(
  options: CreateQcow2Options,
  geometry: Geometry,
  layout: Pick<CreateLayout, 'size' | 'l1Size' | 'refcountTable'>,
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
  view.setU64(48, layout.refcountTable.first * geometry.clusterSize)
  view.setU32(56, layout.refcountTable.count)
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
