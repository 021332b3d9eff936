import { bigEndian } from '../../bytes/byte-view.ts'
import { corrupt, unsupported } from './corruption.ts'
import { type Geometry, geometryOf } from './geometry.ts'
import {
  EXTENSION,
  type HeaderExtension,
  parseFeatureNames,
  parseHeaderExtensions,
} from './header-extensions.ts'

/** `QFI\xfb` */
export const QCOW2_MAGIC = 0x514649fb

/** Byte offsets of the header fields that a change switches; all lie in the first 512 bytes. */
export const FIELD = {
  size: 24,
  l1_size: 36,
  l1_table_offset: 40,
  refcount_table_offset: 48,
  refcount_table_clusters: 56,
  nb_snapshots: 60,
  snapshots_offset: 64,
  incompatible_features: 72,
  compatible_features: 80,
  autoclear_features: 88,
  refcount_order: 96,
} as const

export const INCOMPATIBLE = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  dataFile: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
} as const
const KNOWN_INCOMPATIBLE = 0b11111n
export const COMPATIBLE_LAZY_REFCOUNTS = 1n
export const AUTOCLEAR = { bitmaps: 1n << 0n, rawExternalData: 1n << 1n } as const
export const KNOWN_AUTOCLEAR = AUTOCLEAR.bitmaps | AUTOCLEAR.rawExternalData

export const COMPRESSION_TYPES = ['zlib', 'zstd'] as const
/** How clusters of a qcow2 image are compressed. */
export type CompressionType = (typeof COMPRESSION_TYPES)[number]

const V2_LENGTH = 72
const V3_MIN_LENGTH = 104
/** Bounds that qemu holds an image to (block/qcow2.h): no image beyond them was made by it. */
export const MAX_L1_BYTES = 32 << 20
const MAX_REFCOUNT_TABLE_BYTES = 8 << 20
export const MAX_SNAPSHOTS = 65_536
const MAX_BACKING_NAME = 1023

/** The fields of the header under the specification's names, with what follows from them. */
export interface Header {
  readonly version: 2 | 3
  readonly backing_file_offset: number
  readonly cluster_bits: number
  readonly size: number
  readonly crypt_method: number
  readonly l1_size: number
  readonly l1_table_offset: number
  readonly refcount_table_offset: number
  readonly refcount_table_clusters: number
  readonly nb_snapshots: number
  readonly snapshots_offset: number
  readonly incompatible_features: bigint
  readonly compatible_features: bigint
  readonly autoclear_features: bigint
  readonly refcount_order: number
  readonly header_length: number
  readonly compressionType: CompressionType
  readonly geometry: Geometry
  readonly backingFile: string | undefined
  readonly backingFormat: string | undefined
  /** From the header extension; `undefined` when the image has an external data file but does not name it. */
  readonly dataFile: string | undefined
  readonly extensions: readonly HeaderExtension[]
}

/** Cluster size that a header claims, so that the reader knows how much of the file to give to `parseHeader`. */
export function headerClusterSize(name: string, sector: Uint8Array): number {
  const view = bigEndian(sector, 'header')
  if (sector.length >= 4 && sector.length < V2_LENGTH && view.u32(0) === QCOW2_MAGIC)
    throw corrupt(
      name,
      `the file ends within its header: ${sector.length} bytes, expected at least ${V2_LENGTH}`,
      {
        offset: sector.length,
      },
    )
  if (sector.length < V2_LENGTH || view.u32(0) !== QCOW2_MAGIC)
    throw corrupt(name, 'this is not a qcow2 image: its first four bytes are not "QFI\\xfb"', { offset: 0 })
  const version = view.u32(4)
  if (version !== 2 && version !== 3)
    throw unsupported(name, `qcow2 version ${version}; drydisk knows versions 2 and 3`, { offset: 4 })
  const bits = view.u32(20)
  if (bits < 9 || bits > 21)
    throw corrupt(name, `cluster_bits is ${bits}; 9 (512 bytes) to 21 (2 MiB) are possible`, { offset: 20 })
  return 2 ** bits
}

/**
 * Errors: `ERR_CORRUPT`; `ERR_UNSUPPORTED`, by name, for encryption and unknown incompatible features.
 * @param cluster the first cluster of the file, or as much of it as there is.
 */
export function parseHeader(name: string, cluster: Uint8Array): Header {
  const clusterSize = headerClusterSize(name, cluster)
  const view = bigEndian(cluster, 'header')
  const version = view.u32(4) === 2 ? 2 : 3
  const fail = (field: string, what: string): Error =>
    corrupt(name, `${field} ${what}`, { structure: 'header', field })

  const header_length = version === 2 ? V2_LENGTH : view.u32(100)
  if (
    version === 3 &&
    (header_length < V3_MIN_LENGTH || header_length % 8 !== 0 || header_length > clusterSize)
  )
    throw fail(
      'header_length',
      `is ${header_length}; a multiple of 8 from 104 to the cluster size was expected`,
    )
  const incompatible_features = version === 2 ? 0n : view.big(72)
  const backing_file_offset = view.u64(8)
  const backing_file_size = view.u32(16)
  if (backing_file_offset > clusterSize) throw fail('backing_file_offset', 'lies outside the first cluster')
  const areaEnd = backing_file_offset === 0 ? clusterSize : backing_file_offset
  const extensions = parseHeaderExtensions(name, cluster, header_length, areaEnd)
  checkIncompatible(name, incompatible_features, extensions)

  const crypt_method = view.u32(32)
  if (crypt_method !== 0)
    throw unsupported(
      name,
      `the image is encrypted (${['', 'AES', 'LUKS'][crypt_method] ?? `crypt_method ${crypt_method}`}); decrypt it first, for example with qemu-img convert`,
      { feature: 'encryption' },
    )
  const autoclear_features = version === 2 ? 0n : view.big(88)
  // As qemu: the guest's content would be looked for in a file that there is not.
  if (
    (autoclear_features & AUTOCLEAR.rawExternalData) !== 0n &&
    (incompatible_features & INCOMPATIBLE.dataFile) === 0n
  )
    throw fail('autoclear_features', 'says that the data file is raw, and there is no data file')
  const refcount_order = version === 2 ? 4 : view.u32(96)
  if (refcount_order > 6) throw fail('refcount_order', `is ${refcount_order}; 0 to 6 are possible`)
  const cluster_bits = view.u32(20)
  const extendedL2 = (incompatible_features & INCOMPATIBLE.extendedL2) !== 0n
  if (extendedL2 && cluster_bits < 14)
    throw fail(
      'cluster_bits',
      `is ${cluster_bits}; extended L2 entries need clusters of 16 KiB (14) at least`,
    )
  const geometry = geometryOf(cluster_bits, refcount_order, extendedL2)

  const aligned = (field: string, value: number): number => {
    if (value % clusterSize !== 0) throw fail(field, `is ${value}, which is no multiple of the cluster size`)
    return value
  }
  const size = view.u64(24)
  const l1_size = view.u32(36)
  const l1_table_offset = aligned('l1_table_offset', view.u64(40))
  if (l1_size * 8 > MAX_L1_BYTES)
    throw fail('l1_size', `is ${l1_size}; at most ${MAX_L1_BYTES / 8} is possible`)
  if (Math.ceil(size / geometry.l2Span) > l1_size)
    throw fail('l1_size', `is ${l1_size}, too small for a disk of ${size} bytes`)
  if (l1_size > 0 && l1_table_offset === 0) throw fail('l1_table_offset', 'is 0, where the header lies')
  const refcount_table_offset = aligned('refcount_table_offset', view.u64(48))
  const refcount_table_clusters = view.u32(56)
  if (refcount_table_clusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES)
    throw fail(
      'refcount_table_clusters',
      `is ${refcount_table_clusters}; a refcount table of at most 8 MiB is possible`,
    )
  if (refcount_table_clusters === 0 || refcount_table_offset === 0)
    throw fail('refcount_table_clusters', 'or its offset is 0: the image has no refcount table')
  const nb_snapshots = view.u32(60)
  const snapshots_offset = nb_snapshots === 0 ? 0 : aligned('snapshots_offset', view.u64(64))
  if (nb_snapshots > MAX_SNAPSHOTS)
    throw fail('nb_snapshots', `is ${nb_snapshots}; at most ${MAX_SNAPSHOTS} are possible`)

  return {
    version,
    backing_file_offset,
    cluster_bits,
    size,
    crypt_method,
    l1_size,
    l1_table_offset,
    refcount_table_offset,
    refcount_table_clusters,
    nb_snapshots,
    snapshots_offset,
    incompatible_features,
    compatible_features: version === 2 ? 0n : view.big(80),
    autoclear_features,
    refcount_order,
    header_length,
    compressionType: parseCompressionType(
      name,
      header_length > 104 ? view.u8(104) : 0,
      incompatible_features,
    ),
    geometry,
    backingFile: parseBackingFile(name, cluster, backing_file_offset, backing_file_size),
    backingFormat: text(extensions, EXTENSION.backingFormat),
    dataFile: text(extensions, EXTENSION.dataFile),
    extensions,
  }
}

function parseCompressionType(name: string, type: number, features: bigint): CompressionType {
  const flagged = (features & INCOMPATIBLE.compressionType) !== 0n
  if (flagged !== (type !== 0))
    throw corrupt(
      name,
      `compression_type is ${type}, and its feature bit says ${flagged ? 'another' : 'zlib'}`,
      {
        structure: 'header',
        field: 'compression_type',
      },
    )
  const known = COMPRESSION_TYPES[type]
  if (known === undefined)
    throw unsupported(name, `compression_type ${type}; drydisk knows zlib (0) and zstd (1)`, {
      feature: 'compression',
    })
  return known
}

function parseBackingFile(
  name: string,
  cluster: Uint8Array,
  offset: number,
  size: number,
): string | undefined {
  if (offset === 0) return undefined
  if (size > MAX_BACKING_NAME || offset + size > cluster.length)
    throw corrupt(
      name,
      `the backing file name (${size} bytes at ${offset}) must be at most 1023 bytes and lie in the first cluster`,
      {
        structure: 'header',
        field: 'backing_file_size',
      },
    )
  return size === 0 ? undefined : new TextDecoder().decode(cluster.subarray(offset, offset + size))
}

function text(extensions: readonly HeaderExtension[], type: number): string | undefined {
  const found = extensions.find(extension => extension.type === type)
  if (found === undefined) return undefined
  const zero = found.data.indexOf(0)
  return new TextDecoder().decode(zero < 0 ? found.data : found.data.subarray(0, zero))
}

function checkIncompatible(name: string, features: bigint, extensions: readonly HeaderExtension[]): void {
  let unknown = features & ~KNOWN_INCOMPATIBLE
  if (unknown === 0n) return
  const table = extensions.find(extension => extension.type === EXTENSION.featureNames)
  const names = parseFeatureNames(table?.data ?? new Uint8Array())
  const found: string[] = []
  for (let bit = 0; unknown !== 0n; bit++, unknown >>= 1n)
    if ((unknown & 1n) !== 0n) found.push(names.get(`0:${bit}`) ?? `bit ${bit}`)
  throw unsupported(name, `the image needs features that drydisk does not know: ${found.join(', ')}`, {
    feature: found.join(', '),
  })
}
