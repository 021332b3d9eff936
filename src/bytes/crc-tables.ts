/**
 * Tables for a reflected 32-bit CRC, eight bytes per step ("slicing by 8", Kounavis and Berry): table k
 * advances a byte by k further zero bytes. One flat array, so that the hot loop has a single base.
 */
export function slicingTables(polynomial: number): Int32Array {
  const tables = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    tables[byte] = crc
  }
  for (let index = 256; index < 8 * 256; index++) {
    const previous = tables[index - 256] as number
    tables[index] = (previous >>> 8) ^ (tables[previous & 0xff] as number)
  }
  return tables
}

/** Advances a raw CRC register (no inversion before or after) over `bytes`; the result is unsigned. */
export function updateCrc(tables: Int32Array, register: number, bytes: Uint8Array): number {
  let crc = register | 0
  const length = bytes.length
  let at = 0
  // Indexes are below the lengths by construction, so the `as number` only undoes noUncheckedIndexedAccess.
  for (const end = length - 7; at < end; at += 8) {
    crc ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    crc =
      (tables[1792 + (crc & 0xff)] as number) ^
      (tables[1536 + ((crc >>> 8) & 0xff)] as number) ^
      (tables[1280 + ((crc >>> 16) & 0xff)] as number) ^
      (tables[1024 + (crc >>> 24)] as number) ^
      (tables[768 + (bytes[at + 4] as number)] as number) ^
      (tables[512 + (bytes[at + 5] as number)] as number) ^
      (tables[256 + (bytes[at + 6] as number)] as number) ^
      (tables[bytes[at + 7] as number] as number)
  }
  for (; at < length; at++) crc = (crc >>> 8) ^ (tables[(crc ^ (bytes[at] as number)) & 0xff] as number)
  return crc >>> 0
}
