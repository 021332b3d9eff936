import { DrydiskError } from '../../errors.ts'
import type { ReadBytes } from './sqlite-table.ts'

/**
 * rpm's own database format, SUSE's Packages.db (rpm's lib/backend/ndb/rpmpkg.c): little-endian; a header of 32 bytes, slots of 16 bytes that
 * fill pages of 4096, blobs in blocks of 16 bytes, each with a head of 16 bytes before a package's header.
 */
const HEADER_MAGIC = 0x506d7052
const SLOT_MAGIC = 0x746f6c53
const BLOB_MAGIC = 0x53626c42
const PAGE = 4096
const BLOCK = 16
/** 64 pages have room for 16 000 packages. */
const MAX_SLOT_PAGES = 1024

/** The beginning of every package's header, up to `limit` bytes of it. */
export async function* ndbPackages(read: ReadBytes, size: number, limit: number): AsyncGenerator<Uint8Array> {
  const corrupt = (what: string) => new DrydiskError('ERR_CORRUPT', `rpm database (ndb): ${what}`)
  const header = new Uint8Array(32)
  const view = new DataView(header.buffer)
  if ((await read(0, header)) < 32 || view.getUint32(0, true) !== HEADER_MAGIC)
    throw corrupt('the file does not begin with RpmP')
  if (view.getUint32(4, true) !== 0) throw corrupt(`version ${view.getUint32(4, true)}, expected 0`)
  const slotPages = view.getUint32(12, true)
  if (slotPages === 0 || slotPages > MAX_SLOT_PAGES || slotPages * PAGE > size)
    throw corrupt(`${slotPages} pages of slots`)
  const slots = new Uint8Array(slotPages * PAGE)
  if ((await read(0, slots)) < slots.length) throw corrupt('its slots are cut off')
  const table = new DataView(slots.buffer)
  for (let at = 32; at < slots.length; at += 16) {
    if (table.getUint32(at, true) !== SLOT_MAGIC) throw corrupt(`no slot at byte ${at}`)
    const index = table.getUint32(at + 4, true)
    const start = table.getUint32(at + 8, true) * BLOCK
    const length = table.getUint32(at + 12, true) * BLOCK
    if (index === 0 || start === 0) continue
    if (length < 16 || start + length > size) throw corrupt(`package ${index} lies past the end of the file`)
    const blob = new Uint8Array(Math.min(length, limit + 16))
    if ((await read(start, blob)) < blob.length) throw corrupt(`package ${index} is cut off`)
    if (new DataView(blob.buffer).getUint32(0, true) !== BLOB_MAGIC)
      throw corrupt(`package ${index} has no BlbS before it`)
    yield blob.subarray(16)
  }
}
