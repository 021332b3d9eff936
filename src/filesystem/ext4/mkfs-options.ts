import { parseUuid, randomUuid } from '../../bytes/guid.ts'
import { DrydiskError } from '../../errors.ts'
import type { Timestamp } from '../filesystem.ts'
import { FEATURES, type FeatureName } from './features.ts'
import { JBD2_MIN_JOURNAL_BLOCKS } from './jbd2-superblock.ts'

/** What a new filesystem can have besides the defaults, and what of them can be left out. */
export interface MakeExt4Options {
  /** Up to 16 bytes of UTF-8. */
  readonly label?: string
  /** Random when left out. */
  readonly uuid?: string
  /** The seed of directory hashes, as a UUID; random when left out. */
  readonly hashSeed?: string
  /** 1024 to 65536; as mke2fs chooses by size when left out (1024 below 512 MiB, else 4096). */
  readonly blockSize?: number
  /** A power of two from 128 to the block size; 256 when left out. */
  readonly inodeSize?: number
  /** Bytes of the volume per inode; as mke2fs chooses by size when left out. */
  readonly inodeRatio?: number
  /** Features to turn on (`orphan_file`) or off (`^64bit`), over today's defaults of mkfs.ext4. */
  readonly features?: readonly string[]
  /** Blocks of the journal; as mke2fs chooses by size when left out. */
  readonly journalBlocks?: number
  /** Blocks that only root may use, in percent of all; 5 when left out. */
  readonly reservedPercent?: number
  readonly now?: () => Timestamp
}

export interface MkfsSettings {
  readonly label: Uint8Array
  readonly uuid: Uint8Array
  readonly hashSeed: Uint8Array
  readonly blockSize: number
  readonly inodeSize: number
  readonly inodeRatio: number
  readonly features: ReadonlySet<FeatureName>
  readonly journalBlocks: number | undefined
  readonly reservedPercent: number
  readonly seconds: number
}

/** /etc/mke2fs.conf of e2fsprogs 1.47 for ext4. */
const DEFAULT_FEATURES: readonly FeatureName[] = [
  'has_journal',
  'ext_attr',
  'resize_inode',
  'dir_index',
  'filetype',
  'extent',
  '64bit',
  'flex_bg',
  'sparse_super',
  'large_file',
  'huge_file',
  'dir_nlink',
  'extra_isize',
  'metadata_csum',
]
const OPTIONAL_FEATURES: readonly FeatureName[] = [
  'uninit_bg',
  'metadata_csum_seed',
  'inline_data',
  'large_dir',
  'ea_inode',
  'orphan_file',
]

/** As mke2fs: more is never of use. */
const MOST_JOURNAL_BLOCKS = 10_240_000

const MIB = 2 ** 20
const TIB = 2 ** 40

/** Checks options and fills in what was left out. `ERR_INVALID_ARGUMENT`, or `ERR_UNSUPPORTED` for a feature by name. */
export function mkfsSettings(deviceSize: number, options: MakeExt4Options): MkfsSettings {
  const small = deviceSize < 512 * MIB
  const blockSize = options.blockSize ?? (small ? 1024 : 4096)
  if (![1024, 2048, 4096, 8192, 16384, 32768, 65536].includes(blockSize))
    throw invalid(`block size ${blockSize} is none of 1024, 2048, 4096, … 65536`)
  const inodeSize = options.inodeSize ?? 256
  if (inodeSize < 128 || inodeSize > blockSize || !Number.isInteger(Math.log2(inodeSize)))
    throw invalid(`inode size ${inodeSize} is no power of two from 128 to the block size ${blockSize}`)
  const inodeRatio = options.inodeRatio ?? defaultRatio(deviceSize, blockSize)
  if (!(inodeRatio >= 1024 && inodeRatio <= 0x4000000))
    throw invalid(`inode ratio ${inodeRatio} is not within 1024 to ${0x4000000}`)
  const reservedPercent = options.reservedPercent ?? 5
  if (!(reservedPercent >= 0 && reservedPercent <= 50))
    throw invalid(`${reservedPercent} % reserved blocks is not within 0 to 50`)
  const { journalBlocks } = options
  if (
    journalBlocks !== undefined &&
    !(journalBlocks >= JBD2_MIN_JOURNAL_BLOCKS && journalBlocks <= MOST_JOURNAL_BLOCKS)
  )
    throw invalid(
      `a journal of ${journalBlocks} blocks is not within ${JBD2_MIN_JOURNAL_BLOCKS} to ${MOST_JOURNAL_BLOCKS}`,
    )
  const label = new TextEncoder().encode(options.label ?? '')
  if (label.length > 16)
    throw invalid(`the label ${JSON.stringify(options.label)} has ${label.length} bytes, more than 16`)
  const nanoseconds = options.now?.() ?? BigInt(Date.now()) * 1_000_000n
  return {
    label,
    uuid: uuidBytes('uuid', options.uuid),
    hashSeed: uuidBytes('hashSeed', options.hashSeed),
    blockSize,
    inodeSize,
    inodeRatio,
    features: resolveFeatures(options.features ?? [], inodeSize),
    journalBlocks,
    reservedPercent,
    seconds: Number(nanoseconds / 1_000_000_000n),
  }
}

/** The usage types of mke2fs.conf that mke2fs goes by when it is told none. */
function defaultRatio(deviceSize: number, blockSize: number): number {
  if (deviceSize < 3 * MIB) return 8192
  if (deviceSize < 512 * MIB) return Math.max(4096, blockSize)
  if (deviceSize < 4 * TIB) return Math.max(16384, blockSize)
  return deviceSize < 16 * TIB ? Math.max(32768, blockSize) : 65536
}

function resolveFeatures(wanted: readonly string[], inodeSize: number): ReadonlySet<FeatureName> {
  const features = new Set<FeatureName>(DEFAULT_FEATURES)
  // 128 bytes have no room for anything but the fields of ext2.
  if (inodeSize === 128) features.delete('extra_isize')
  for (const word of wanted) {
    const off = word.startsWith('^')
    const name = off ? word.slice(1) : word
    if (!isKnown(name)) throw invalid(`${JSON.stringify(name)} is no feature of ext4`)
    if (off) features.delete(name)
    else if (DEFAULT_FEATURES.includes(name) || OPTIONAL_FEATURES.includes(name)) features.add(name)
    else
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `drydisk does not make filesystems with the feature ${name}`,
        {
          feature: name,
        },
      )
  }
  requires(features, 'inline_data', 'extra_isize')
  requires(features, 'metadata_csum_seed', 'metadata_csum')
  requires(features, 'orphan_file', 'has_journal')
  requires(features, 'resize_inode', 'sparse_super')
  // The checksum of metadata_csum takes the place of uninit_bg's.
  if (features.has('metadata_csum')) features.delete('uninit_bg')
  if (features.has('extra_isize') && inodeSize === 128)
    throw invalid('inodes of 128 bytes have no room for extra_isize')
  return features
}

function isKnown(name: string): name is FeatureName {
  return Object.hasOwn(FEATURES, name)
}

function requires(features: ReadonlySet<FeatureName>, one: FeatureName, other: FeatureName): void {
  if (features.has(one) && !features.has(other)) throw invalid(`the feature ${one} needs ${other}`)
}

function uuidBytes(option: string, text: string | undefined): Uint8Array {
  const bytes = parseUuid(text ?? randomUuid())
  if (bytes === undefined) throw invalid(`${option} ${JSON.stringify(text)} is no UUID`)
  return bytes
}

function invalid(message: string): DrydiskError {
  return new DrydiskError('ERR_INVALID_ARGUMENT', `cannot make an ext4 filesystem: ${message}`)
}
