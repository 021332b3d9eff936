import { parseUuid, randomUuid } from '../../../bytes/guid.ts'
import { DrydiskError } from '../../../errors.ts'
import type { Timestamp } from '../../filesystem.ts'

/** What a new filesystem can have besides the defaults, and what of them can be left out. */
export interface MakeXfsOptions {
  /** Up to 12 bytes of UTF-8. */
  readonly label?: string
  /** Random when left out. */
  readonly uuid?: string
  /** A power of two from 1024 to 65536; 4096 when left out. */
  readonly blockSize?: number
  /** A power of two from 512 to 32768, at most a block; 512 when left out. Not less than the disk's own. */
  readonly sectorSize?: number
  /** A power of two from 512 to 2048, at most half a block; 512 when left out. */
  readonly inodeSize?: number
  /** A power of two from 4096, and from a block, to 65536; 4096, or a block where that is more, when left out. */
  readonly directoryBlockSize?: number
  /** Allocation groups; as mkfs.xfs chooses by size when left out (four below 4 TiB). */
  readonly agCount?: number
  /** Blocks of the log; as mkfs.xfs chooses by size when left out (64 MiB at least, 1/2048 of the volume). */
  readonly logBlocks?: number
  /**
   * Features to turn on (`rmapbt`, `nrext64`) or off (`^bigtime`), over the defaults of mkfs.xfs 6.1: finobt, sparse, reflink,
   * bigtime, inobtcount. Kernels before 5.10, and so all of RHEL 8, mount only what has neither bigtime nor inobtcount.
   */
  readonly features?: readonly string[]
  /** Consent to less than 300 MiB, which mkfs.xfs does not make either: with a small log, or one allocation group, XFS is slow and fragile. */
  readonly small?: boolean
  readonly now?: () => Timestamp
}

export interface XfsSettings {
  readonly label: Uint8Array
  readonly uuid: Uint8Array
  readonly blockSize: number
  readonly sectorSize: number
  readonly inodeSize: number
  readonly directoryBlockSize: number
  readonly agCount: number | undefined
  readonly logBlocks: number | undefined
  readonly features: ReadonlySet<XfsFeature>
  readonly small: boolean
  readonly now: Timestamp
}

/**
 * mkfs.xfs 6.1. Later ones turn on what older kernels do not mount: rmapbt and nrext64 (6.5), parent pointers and exchange
 * (lts_6.18.conf of xfsprogs).
 */
const DEFAULT_FEATURES = ['finobt', 'sparse', 'reflink', 'bigtime', 'inobtcount'] as const
const OPTIONAL_FEATURES = ['rmapbt', 'nrext64'] as const
/** Every filesystem of version 5 has them (validate_sb_features of mkfs.xfs). */
const ALWAYS = ['crc', 'ftype', 'lazy-count', 'projid32bit', 'attr2', 'align']

export type XfsFeature = (typeof DEFAULT_FEATURES)[number] | (typeof OPTIONAL_FEATURES)[number]

const LEAST_BLOCK = 1024
const MOST_BLOCK = 65_536
const LABEL_BYTES = 12

/** Checks options and fills in what was left out. `ERR_INVALID_ARGUMENT`, or `ERR_UNSUPPORTED` for a feature by name. */
export function xfsSettings(options: MakeXfsOptions): XfsSettings {
  const { blockSize = 4096, sectorSize = 512, inodeSize = 512, agCount, logBlocks } = options
  power('block size', blockSize, LEAST_BLOCK, MOST_BLOCK)
  power('sector size', sectorSize, 512, Math.min(32_768, blockSize))
  power('inode size', inodeSize, 512, Math.min(2048, blockSize / 2))
  const directoryBlockSize = options.directoryBlockSize ?? Math.max(4096, blockSize)
  power('directory block size', directoryBlockSize, Math.max(4096, blockSize), MOST_BLOCK)
  for (const [name, count] of [
    ['allocation groups', agCount],
    ['blocks of the log', logBlocks],
  ] as const)
    if (count !== undefined && !(Number.isSafeInteger(count) && count > 0))
      throw invalid(`${count} ${name} is no number of them`)
  const label = new TextEncoder().encode(options.label ?? '')
  if (label.length > LABEL_BYTES)
    throw invalid(
      `the label ${JSON.stringify(options.label)} has ${label.length} bytes, more than ${LABEL_BYTES}`,
    )
  const uuid = parseUuid(options.uuid ?? randomUuid())
  if (uuid === undefined) throw invalid(`uuid ${JSON.stringify(options.uuid)} is no UUID`)
  return {
    label,
    uuid,
    blockSize,
    sectorSize,
    inodeSize,
    directoryBlockSize,
    agCount,
    logBlocks,
    features: resolveFeatures(options.features ?? []),
    small: options.small ?? false,
    now: options.now?.() ?? BigInt(Date.now()) * 1_000_000n,
  }
}

function resolveFeatures(wanted: readonly string[]): ReadonlySet<XfsFeature> {
  const features = new Set<XfsFeature>(DEFAULT_FEATURES)
  for (const word of wanted) {
    const off = word.startsWith('^')
    const name = off ? word.slice(1) : word
    if (isFeature(name)) {
      if (off) features.delete(name)
      else features.add(name)
    } else if (!ALWAYS.includes(name))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `drydisk does not make XFS filesystems with the feature ${JSON.stringify(name)}; it knows ${[...DEFAULT_FEATURES, ...OPTIONAL_FEATURES].join(', ')}`,
        { feature: name },
      )
    else if (off)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `drydisk makes XFS filesystems of version 5 only, and they all have ${name}`,
        { feature: name },
      )
  }
  if (!features.has('finobt') && features.has('inobtcount')) {
    if (wanted.includes('inobtcount')) throw invalid('the feature inobtcount needs finobt')
    features.delete('inobtcount')
  }
  return features
}

function isFeature(name: string): name is XfsFeature {
  return [...DEFAULT_FEATURES, ...OPTIONAL_FEATURES].some(known => known === name)
}

function power(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most && Number.isInteger(Math.log2(value))))
    throw invalid(`${name} ${value} is no power of two from ${least} to ${most}`)
}

export function invalid(message: string): DrydiskError {
  return new DrydiskError('ERR_INVALID_ARGUMENT', `cannot make an XFS filesystem: ${message}`)
}
