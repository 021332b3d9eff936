import { littleEndian } from '../../bytes/byte-view.ts'
import { lvmChecksum } from './checksum.ts'

/** The label lies in one of the first four sectors (LVM2, lib/label/label.h: LABEL_SCAN_SECTORS); pvcreate takes the second. */
export const LABEL_SCAN_SIZE = 2048
export const LABEL_SECTOR = 512
const HEADER_SIZE = 32
const LABEL_ID = 'LABELONE'
const LVM2_LABEL = 'LVM2 001'

/** `struct label_header`. */
export interface LvmLabel {
  /** Sector where the label was found. */
  readonly sector: number
  /** The sector from the physical volume's header on. */
  readonly content: Uint8Array
}

/**
 * Finds the label in a device's first 2048 bytes, as LVM2 does: the first whose sector number and checksum are right.
 * @returns what is wrong with it, as a string, where there is a label that does not count; `undefined` without any.
 */
export function findLabel(head: Uint8Array): LvmLabel | string | undefined {
  let wrong: string | undefined
  for (let sector = 0; (sector + 1) * LABEL_SECTOR <= Math.min(head.length, LABEL_SCAN_SIZE); sector++) {
    const bytes = head.subarray(sector * LABEL_SECTOR, (sector + 1) * LABEL_SECTOR)
    const found = parseLabel(bytes, sector)
    if (typeof found === 'object') return found
    wrong ??= found
  }
  return wrong
}

function parseLabel(bytes: Uint8Array, sector: number): LvmLabel | string | undefined {
  const view = littleEndian(bytes, 'LVM label')
  if (ascii(bytes, 0) !== LABEL_ID || ascii(bytes, 24) !== LVM2_LABEL) return undefined
  if (view.big(8) !== BigInt(sector))
    return `its label says that it lies in sector ${view.big(8)}, not ${sector}`
  const [crc, expected] = [view.u32(16), lvmChecksum(bytes.subarray(20))]
  if (crc !== expected)
    return `the checksum of its label is 0x${crc.toString(16)}, expected 0x${expected.toString(16)}`
  const offset = view.u32(20)
  if (offset < HEADER_SIZE || offset >= LABEL_SECTOR)
    return `its label says that the header lies at byte ${offset}, outside the sector`
  return { sector, content: bytes.subarray(offset) }
}

/**
 * The sector with another id of the physical volume in its header, which begins with it.
 * @param bytes a sector that `findLabel` takes.
 * @param id 32 characters.
 */
export function withPvUuid(bytes: Uint8Array, id: string): Uint8Array {
  const changed = bytes.slice()
  const view = littleEndian(changed, 'LVM label')
  view.slice(view.u32(20), id.length).set(new TextEncoder().encode(id))
  view.setU32(16, lvmChecksum(changed.subarray(20)))
  return changed
}

function ascii(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 8))
}
