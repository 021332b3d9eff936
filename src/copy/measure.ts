import type { BlockDevice } from '../device/block-device.ts'
import { runsOf } from '../device/mapped-runs.ts'
import { DrydiskError } from '../errors.ts'
import type { BitmapInfo } from '../image/qcow2/info.ts'

/** How large a new image's file would be, in bytes, as `qemu-img measure` reckons. */
export interface Measure {
  /** With what the disk holds now. */
  readonly required: number
  /** With every cluster allocated. */
  readonly 'fully-allocated': number
  /** Besides, for the source's persistent bitmaps; only where both images can have some. */
  readonly bitmaps?: number
}

/** The image that `measureDevice` and `measureSize` reckon with. */
export interface MeasureOptions {
  readonly format: 'raw' | 'qcow2'
  /** Bytes; 64 KiB when left out. */
  readonly clusterSize?: number
  readonly refcountBits?: number
  readonly extendedL2?: boolean
  readonly version?: 2 | 3
  /** The new image is a difference to another: which parts of the source that saves is not known, and none is assumed. */
  readonly hasBackingFile?: boolean
  /** Clusters are allocated whatever the disk holds. */
  readonly preallocated?: boolean
}

/** What is to be copied into the new image. */
export interface MeasureSource {
  readonly device: BlockDevice
  /** Persistent bitmaps; `undefined` where the source's format has none. */
  readonly bitmaps?: readonly BitmapInfo[]
}

const MAX_L1_BYTES = 32 << 20
const SECTOR = 512
const CLUSTER_SIZE = 65_536

/** For an empty disk of so many bytes. Errors: `EFBIG` for more than such an image can be. */
export function measureSize(size: number, options: MeasureOptions): Measure {
  const rounded = roundUp(size, SECTOR)
  if (options.format === 'raw') return { required: rounded, 'fully-allocated': rounded }
  checkSize(rounded, options)
  const whole = roundUp(size, options.clusterSize ?? CLUSTER_SIZE)
  return qcow2Measure(whole, options.preallocated ? whole : 0, options)
}

/**
 * For a copy of a disk. What reads as zeros by the tables alone is not counted; a raw source counts whole, for Node.js cannot
 * ask a file for its holes.
 */
export async function measureDevice(source: MeasureSource, options: MeasureOptions): Promise<Measure> {
  const size = roundUp(source.device.size, SECTOR)
  if (options.format === 'raw') return { required: size, 'fully-allocated': size }
  checkSize(size, options)
  const { clusterSize = CLUSTER_SIZE, version = 3 } = options
  const whole = roundUp(size, clusterSize)
  const required =
    options.preallocated || options.hasBackingFile ? whole : await dataClusters(source.device, clusterSize)
  const measure = qcow2Measure(whole, required, options)
  if (version < 3 || source.bitmaps === undefined) return measure
  return { ...measure, bitmaps: bitmapBytes(source.bitmaps, source.device.size, clusterSize) }
}

function checkSize(size: number, { clusterSize = CLUSTER_SIZE, extendedL2 = false }: MeasureOptions): void {
  const l2Tables = Math.ceil(Math.floor(size / clusterSize) / (clusterSize / (extendedL2 ? 16 : 8)))
  if (l2Tables * 8 > MAX_L1_BYTES)
    throw new DrydiskError(
      'EFBIG',
      `a disk of ${size} bytes is too large for clusters of ${clusterSize} bytes; take larger ones`,
      { size, clusterSize },
    )
}

/** Bytes of the clusters that data touches. */
async function dataClusters(device: BlockDevice, clusterSize: number): Promise<number> {
  let bytes = 0
  /** End of the last cluster that was counted. */
  let counted = 0
  for await (const runs of runsOf(device, 0, device.size))
    for (const { kind, offset, length } of runs) {
      if (kind === 'zero') continue
      const start = Math.max(counted, offset - (offset % clusterSize))
      const end = roundUp(offset + length, clusterSize)
      if (end > start) bytes += end - start
      counted = Math.max(counted, end)
    }
  return bytes
}

/** @param size whole clusters. @param data bytes of them that are allocated. */
function qcow2Measure(size: number, data: number, options: MeasureOptions): Measure {
  const { clusterSize = CLUSTER_SIZE, refcountBits = 16, extendedL2 = false } = options
  const l2EntrySize = extendedL2 ? 16 : 8
  const l2Bytes = roundUp((size / clusterSize) * l2EntrySize, clusterSize)
  const l1Bytes = roundUp((l2Bytes / clusterSize) * 8, clusterSize)
  const metadata = clusterSize + l2Bytes + l1Bytes
  const all = metadata + size + refcountBytes((metadata + size) / clusterSize, clusterSize, refcountBits)
  return { required: all - size + data, 'fully-allocated': all }
}

/** Refcount blocks and their table, which count themselves too. */
function refcountBytes(clusters: number, clusterSize: number, refcountBits: number): number {
  const perBlock = (clusterSize * 8) / refcountBits
  let blocks = 0
  let table = 0
  for (;;) {
    const nextBlocks = Math.ceil((clusters + blocks + table) / perBlock)
    const nextTable = Math.ceil(nextBlocks / (clusterSize / 8))
    if (nextBlocks === blocks && nextTable === table) return (blocks + table) * clusterSize
    blocks = nextBlocks
    table = nextTable
  }
}

/** All bits of each bitmap that is up to date, its table, and its entry in the directory. */
function bitmapBytes(bitmaps: readonly BitmapInfo[], size: number, clusterSize: number): number {
  let bytes = 0
  let directory = 0
  for (const { name, granularity, flags } of bitmaps) {
    if (flags.includes('in-use')) continue
    const clusters = Math.ceil(Math.ceil(Math.ceil(size / granularity) / 8) / clusterSize)
    bytes += clusters * clusterSize + roundUp(clusters * 8, clusterSize)
    directory += roundUp(24 + new TextEncoder().encode(name).length, 8)
  }
  return bytes + roundUp(directory, clusterSize)
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}
