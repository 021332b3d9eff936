import { littleEndian } from '../../../bytes/byte-view.ts'
import { corruptLog } from './errors.ts'
import type { LogItem } from './transactions.ts'

/** Bytes that one bit of the map stands for (XFS_BLF_CHUNK). */
const CHUNK = 128
const MAP_AT = 20
/** XFS_BLF_DATAMAP_SIZE: words for 64 KiB and one of padding. */
const MOST_WORDS = 17

const FLAG = { INODE_BUF: 1, CANCEL: 2, UDQUOT_BUF: 4, PDQUOT_BUF: 8, GDQUOT_BUF: 16 } as const

/** A buffer log item, struct xfs_buf_log_format: pieces of a metadata block. */
export interface BufferItem {
  /** Basic blocks from the start of the volume. */
  readonly blkno: number
  /** Basic blocks. */
  readonly len: number
  /** XFS_BLFT_*: what the block is; 0 where the writer did not say. */
  readonly kind: number
  /** Holds inodes, of which only di_next_unlinked counts. */
  readonly inodes: boolean
  /** The block was freed: what the log says of it earlier must not be replayed. */
  readonly cancel: boolean
  /** The bits of quota types (1 user, 2 project, 4 group) if it holds dquots, else 0. */
  readonly dquots: number
  /** Where each logged region goes, in bytes from the start of the buffer. */
  readonly pieces: readonly { readonly at: number; readonly bytes: Uint8Array }[]
}

/** @throws ERR_CORRUPT where the map and the regions do not agree. */
export function parseBufferItem(item: LogItem): BufferItem {
  const [format, ...regions] = item.regions
  const view = littleEndian(format ?? new Uint8Array(), 'XFS log buffer item')
  const flags = view.u16(4)
  const len = view.u16(6)
  const words = view.u32(16)
  if (words > MOST_WORDS) throw corruptLog(`the map of a logged buffer has ${words} words`)
  const bits: boolean[] = []
  for (let bit = 0; bit < words * 32; bit++)
    bits.push(((view.u32(MAP_AT + (bit >>> 5) * 4) >>> (bit & 31)) & 1) === 1)
  const cancel = (flags & FLAG.CANCEL) !== 0
  const blkno = view.u64(8)
  return {
    blkno,
    len,
    kind: flags >>> 11,
    inodes: (flags & FLAG.INODE_BUF) !== 0,
    cancel,
    dquots: (flags >>> 2) & 7,
    pieces: cancel ? [] : place(bits, regions, len * 512, blkno),
  }
}

/** A run of bits may be split over regions where the writer's memory was not contiguous (xlog_recover_do_reg_buffer). */
function place(bits: readonly boolean[], regions: readonly Uint8Array[], size: number, blkno: number) {
  const pieces: { at: number; bytes: Uint8Array }[] = []
  let bit = bits.indexOf(true)
  for (const region of regions) {
    let run = 0
    while (bits[bit + run] === true) run++
    const count = Math.min(run, Math.floor(region.length / CHUNK))
    if (bit < 0 || count === 0 || (bit + count) * CHUNK > size)
      throw corruptLog(`a logged buffer at basic block ${blkno} has regions that its map does not place`, {
        blkno,
      })
    pieces.push({ at: bit * CHUNK, bytes: region.subarray(0, count * CHUNK) })
    bit = bits.indexOf(true, bit + count)
  }
  if (bit >= 0)
    throw corruptLog(`a logged buffer at basic block ${blkno} has fewer regions than its map says`, { blkno })
  return pieces
}
