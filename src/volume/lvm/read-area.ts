import type { BlockDevice } from '../../device/block-device.ts'
import { lvmChecksum } from './checksum.ts'
import { MDA_HEADER_SIZE, parseMdaHeader, type RawLocn } from './mda-header.ts'
import { textPieces } from './metadata-ring.ts'
import type { DiskLocn } from './pv-header.ts'

/** A metadata area's header, and where its text lies: `undefined` where it has none. */
export interface AreaHeader {
  readonly bytes: Uint8Array
  readonly locn: RawLocn | undefined
}

/** @returns what is wrong with the area, as a string. */
export async function readAreaHeader(device: BlockDevice, area: DiskLocn): Promise<AreaHeader | string> {
  if (area.offset + area.size > device.size || area.size < 2 * MDA_HEADER_SIZE)
    return `its ${area.size} bytes do not lie on the device of ${device.size}`
  const bytes = new Uint8Array(MDA_HEADER_SIZE)
  await device.read(area.offset, bytes)
  const locn = parseMdaHeader(bytes, area)
  return typeof locn === 'string' ? locn : { bytes, locn }
}

/**
 * The text that a header names. Its size is the caller's to bound.
 * @returns what is wrong with it, as a string.
 */
export async function readAreaText(
  device: BlockDevice,
  area: DiskLocn,
  locn: RawLocn,
): Promise<Uint8Array | string> {
  const text = new Uint8Array(locn.size)
  let at = 0
  for (const { offset, size } of textPieces(locn, area)) {
    await device.read(offset, text.subarray(at, at + size))
    at += size
  }
  const checksum = lvmChecksum(text)
  if (checksum === locn.checksum) return text
  return `the checksum of its text is 0x${checksum.toString(16)}, expected 0x${locn.checksum.toString(16)}`
}
