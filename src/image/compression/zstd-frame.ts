import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'

const MAGIC = 0xfd2fb528
/** 0x184D2A50 to 0x184D2A5F: skippable frames. */
const SKIPPABLE = 0x184d2a50
/** Every decoder accepts windows up to here (RFC 8878, section 3.1.1.1.2); a cluster is 2 MiB at most. */
const MAX_WINDOW = 8 << 20

/** One frame in a row of them. */
export interface ZstdFrame {
  readonly start: number
  readonly end: number
  /** A skippable frame holds no content. */
  readonly skippable: boolean
  /** Bytes of content, where the frame says so. */
  readonly contentSize?: number
}

/**
 * The zstd frame at `start`, measured by walking its blocks (RFC 8878, section 3.1); `undefined` when what follows is no
 * frame. A compressed cluster's length is known in sectors only, and a decoder stumbles over the padding.
 */
export function zstdFrame(bytes: Uint8Array, start: number): ZstdFrame | undefined {
  if (start + 8 > bytes.length) return undefined
  const view = littleEndian(bytes, 'zstd frame')
  const magic = view.u32(start)
  if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE)
    return { start, end: checkedEnd(start + 8 + view.u32(start + 4), bytes), skippable: true }
  if (magic !== MAGIC) return undefined
  const descriptor = view.u8(start + 4)
  const single = (descriptor & 0x20) !== 0
  const contentFlag = descriptor >>> 6
  let at = start + 5
  let window = 0
  if (!single) {
    const exponent = view.u8(at++)
    const base = 2 ** (10 + (exponent >>> 3))
    window = base + (base / 8) * (exponent & 7)
  }
  at += [0, 1, 2, 4][descriptor & 3] ?? 0
  const claimed = single || contentFlag > 0 ? contentSize(view, at, contentFlag) : undefined
  if (single) window = claimed ?? 0
  if (window > MAX_WINDOW)
    throw new DrydiskError('ERR_CORRUPT', `zstd frame: a window of ${window} bytes for one cluster`, {
      structure: 'zstd frame',
    })
  at += contentFlag === 0 ? (single ? 1 : 0) : 2 ** contentFlag
  for (;;) {
    const header = view.u8(at) | (view.u8(at + 1) << 8) | (view.u8(at + 2) << 16)
    const type = (header >>> 1) & 3
    // An RLE block stores one byte however much it stands for; type 3 is reserved.
    if (type === 3)
      throw new DrydiskError('ERR_CORRUPT', 'zstd frame: a block of the reserved type 3', {
        structure: 'zstd frame',
      })
    at = checkedEnd(at + 3 + (type === 1 ? 1 : header >>> 3), bytes)
    if ((header & 1) !== 0) break
  }
  if ((descriptor & 4) !== 0) at += 4
  const frame = { start, end: checkedEnd(at, bytes), skippable: false }
  return claimed === undefined ? frame : { ...frame, contentSize: claimed }
}

/** A frame of a single segment always says how large its content is, and needs a window of that size. */
function contentSize(view: ByteView, at: number, flag: number): number {
  if (flag === 0) return view.u8(at)
  if (flag === 1) return view.u16(at) + 256
  return flag === 2 ? view.u32(at) : view.u64(at)
}

function checkedEnd(end: number, bytes: Uint8Array): number {
  if (end > bytes.length)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `zstd frame: it reaches ${end - bytes.length} bytes past the data`,
      {
        structure: 'zstd frame',
      },
    )
  return end
}
