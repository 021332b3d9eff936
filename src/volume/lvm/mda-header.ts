import { littleEndian } from '../../bytes/byte-view.ts'
import { lvmChecksum } from './checksum.ts'
import type { DiskLocn } from './pv-header.ts'

/** One sector. */
export const MDA_HEADER_SIZE = 512
/** FMTT_MAGIC of LVM2, lib/format_text/layout.h. */
export const FMTT_MAGIC = ' LVM2 x[5A%r0N*>'
const FMTT_VERSION = 1
const RAW_LOCN_IGNORED = 1
/** Where the list of raw_locn begins; 24 bytes each. */
const SLOTS = 40
const SLOT_SIZE = 24

/** `struct raw_locn`: where the metadata text of the volume group lies. */
export interface RawLocn {
  /** Bytes from the metadata area's beginning. */
  readonly offset: number
  /** Bytes, with the NUL at the end. */
  readonly size: number
  readonly checksum: number
  /** The area is not to be used: the volume group has enough copies elsewhere. */
  readonly ignored: boolean
}

/**
 * Parses a metadata area's header. Only the first raw_locn counts: the second names text that was not committed.
 * @param bytes its 512 bytes.
 * @param area what the physical volume's header says.
 * @returns what is wrong with it, as a string; `undefined` when the area has no text yet.
 */
export function parseMdaHeader(bytes: Uint8Array, area: DiskLocn): RawLocn | string | undefined {
  const view = littleEndian(bytes, 'LVM metadata area header')
  const [crc, expected] = [view.u32(0), lvmChecksum(bytes.subarray(4, MDA_HEADER_SIZE))]
  if (String.fromCharCode(...view.slice(4, 16)) !== FMTT_MAGIC) return 'its header has no magic number'
  if (crc !== expected)
    return `the checksum of its header is 0x${crc.toString(16)}, expected 0x${expected.toString(16)}`
  if (view.u32(20) !== FMTT_VERSION) return `its version is ${view.u32(20)}, expected ${FMTT_VERSION}`
  if (view.big(24) !== BigInt(area.offset))
    return `its header says that it begins at byte ${view.big(24)}, but it begins at ${area.offset}`
  if (view.big(32) !== BigInt(area.size))
    return `its header says that it has ${view.big(32)} bytes, but it has ${area.size}`
  const ignored = (view.u32(60) & RAW_LOCN_IGNORED) !== 0
  if (view.big(40) === 0n) return ignored ? { offset: 0, size: 0, checksum: 0, ignored } : undefined
  if (view.big(40) >= BigInt(area.size) || view.big(48) > BigInt(area.size))
    return `its text has ${view.big(48)} bytes at ${view.big(40)}, more than the area of ${area.size} holds`
  const [offset, size] = [view.u64(40), view.u64(48)]
  if (offset < MDA_HEADER_SIZE || size > area.size - MDA_HEADER_SIZE)
    return `its text of ${size} bytes at ${offset} lies over the header`
  return { offset, size, checksum: view.u32(56), ignored }
}

/**
 * The header with another text committed. What the second raw_locn names, a text that a change of LVM's did not get to commit, is given up,
 * as LVM gives it up with its next change.
 * @param bytes a header that `parseMdaHeader` takes.
 */
export function withCommitted(
  bytes: Uint8Array,
  { offset, size, checksum }: Omit<RawLocn, 'ignored'>,
): Uint8Array {
  const changed = bytes.slice()
  const view = littleEndian(changed, 'LVM metadata area header')
  changed.fill(0, SLOTS, SLOTS + 2 * SLOT_SIZE)
  view.setU64(SLOTS, offset)
  view.setU64(SLOTS + 8, size)
  view.setU32(SLOTS + 16, checksum)
  view.setU32(0, lvmChecksum(changed.subarray(4)))
  return changed
}
