import { BITMAP_FLAG, type BitmapDirectory } from './bitmap-directory.ts'
import { AUTOCLEAR, COMPATIBLE_LAZY_REFCOUNTS, type Header, INCOMPATIBLE } from './header.ts'

/** A persistent bitmap, as `qemu-img info` tells of it. */
export interface BitmapInfo {
  readonly name: string
  readonly granularity: number
  readonly flags: readonly ('in-use' | 'auto')[]
}

/** The names and values of `format-specific.data` in `qemu-img info --output=json`. */
export interface Qcow2Info {
  readonly compat: '0.10' | '1.1'
  readonly 'compression-type': 'zlib' | 'zstd'
  readonly 'refcount-bits': number
  readonly 'lazy-refcounts'?: boolean
  readonly corrupt?: boolean
  readonly 'extended-l2'?: boolean
  readonly 'data-file'?: string
  readonly 'data-file-raw'?: boolean
  readonly bitmaps?: readonly BitmapInfo[]
}

export function infoOf(header: Header, bitmaps: BitmapDirectory | undefined): Qcow2Info {
  const common = { 'compression-type': header.compressionType, 'refcount-bits': header.geometry.refcountBits }
  if (header.version === 2) return { compat: '0.10', ...common }
  const has = (bit: bigint): boolean => (header.incompatible_features & bit) !== 0n
  return {
    compat: '1.1',
    ...common,
    'lazy-refcounts': (header.compatible_features & COMPATIBLE_LAZY_REFCOUNTS) !== 0n,
    corrupt: has(INCOMPATIBLE.corrupt),
    'extended-l2': has(INCOMPATIBLE.extendedL2),
    ...(has(INCOMPATIBLE.dataFile) && {
      ...(header.dataFile !== undefined && { 'data-file': header.dataFile }),
      'data-file-raw': (header.autoclear_features & AUTOCLEAR.rawExternalData) !== 0n,
    }),
    ...(bitmaps !== undefined && {
      bitmaps: bitmaps.bitmaps.map(({ name, granularity, flags }) => ({
        name,
        granularity,
        flags: [
          ...((flags & BITMAP_FLAG.inUse) !== 0 ? (['in-use'] as const) : []),
          ...((flags & BITMAP_FLAG.auto) !== 0 ? (['auto'] as const) : []),
        ],
      })),
    }),
  }
}
