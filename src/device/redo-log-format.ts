import { littleEndian } from '../bytes/byte-view.ts'
import { crc32cOf } from '../bytes/crc32c.ts'
import { DrydiskError } from '../errors.ts'
import { BLOCK_SIZE, countBlocks, PAGE_SIZE, slotOffset } from './page-file.ts'

/** `DRYDREDO`, little-endian halves. */
const MAGIC = Uint8Array.from('DRYDREDO', letter => letter.charCodeAt(0))
const VERSION = 1
/** One sector, which the medium writes whole or not at all: the header is what makes a log complete. */
export const HEADER_SIZE = 512
const CHECKSUM_AT = HEADER_SIZE - 4
export const SECTORS_PER_BLOCK = BLOCK_SIZE / 512
const MAX_TARGETS = 16
const MAX_NAME = 4096
const TARGET_SIZE = 32
const PAGE_ENTRY_SIZE = 24
const ERASE_ENTRY_SIZE = 16
const SAMPLE_ENTRY_SIZE = 8 + 4 * SECTORS_PER_BLOCK

/** Where a complete log keeps its index. */
export interface RedoHeader {
  readonly indexOffset: number
  readonly indexLength: number
  readonly indexChecksum: number
}

/** A page of the log: which page of the target, which of its blocks, and where its bytes are. */
export interface RedoPage {
  readonly index: number
  readonly mask: number
  /** The blocks that lie from `slot` on; those of `mask` are among them. */
  readonly savedMask: number
  readonly slot: number
  readonly checksum: number
}

/** What a block of the target held before the log was made: CRC-32C of each of its sectors. */
export interface RedoSample {
  readonly block: number
  readonly sectors: readonly number[]
}

/** What the log does to one file. */
export interface RedoTarget {
  /** How the image refers to the file; the image itself comes first, under its own name. */
  readonly name: string
  readonly sizeBefore: number
  readonly sizeAfter: number
  /** In order of `index`. */
  readonly pages: readonly RedoPage[]
  /** Runs of blocks that become zeros, except what `pages` gives. In order. */
  readonly erased: readonly { readonly start: number; readonly end: number }[]
  readonly samples: readonly RedoSample[]
}

export function serialiseHeader(header: RedoHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE)
  const view = littleEndian(bytes, 'redo log header')
  bytes.set(MAGIC)
  view.setU32(8, VERSION)
  view.setU32(12, PAGE_SIZE)
  view.setU32(16, BLOCK_SIZE)
  view.setU32(20, header.indexChecksum)
  view.setU64(24, header.indexOffset)
  view.setU64(32, header.indexLength)
  view.setU32(CHECKSUM_AT, crc32cOf(bytes.subarray(0, CHECKSUM_AT)))
  return bytes
}

/**
 * @returns `undefined` for a log that was never completed (its header sector is still zeros).
 * Errors: `ERR_CORRUPT`, and `ERR_UNSUPPORTED` for another version.
 */
export function parseHeader(bytes: Uint8Array, name: string): RedoHeader | undefined {
  if (bytes.every(byte => byte === 0)) return undefined
  const view = littleEndian(bytes, 'redo log header')
  if (!MAGIC.every((byte, at) => bytes[at] === byte))
    throw corrupt(name, 'it does not begin as a redo log does')
  if (view.u32(CHECKSUM_AT) !== crc32cOf(bytes.subarray(0, CHECKSUM_AT)))
    throw corrupt(name, 'the checksum of its header is wrong')
  if (view.u32(8) !== VERSION || view.u32(12) !== PAGE_SIZE || view.u32(16) !== BLOCK_SIZE)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${name}: a redo log of version ${view.u32(8)}; this drydisk reads version ${VERSION}. ` +
        'Finish the commit with the drydisk that began it, by opening the image for writing',
      { path: name },
    )
  return { indexChecksum: view.u32(20), indexOffset: view.u64(24), indexLength: view.u64(32) }
}

export function serialiseIndex(targets: readonly RedoTarget[]): Uint8Array {
  const names = targets.map(target => new TextEncoder().encode(target.name))
  let length = 4
  for (const [position, target] of targets.entries())
    length +=
      TARGET_SIZE +
      (names[position]?.length ?? 0) +
      target.pages.length * PAGE_ENTRY_SIZE +
      target.erased.length * ERASE_ENTRY_SIZE +
      target.samples.length * SAMPLE_ENTRY_SIZE
  const bytes = new Uint8Array(length)
  const view = littleEndian(bytes, 'redo log index')
  view.setU32(0, targets.length)
  let at = 4
  for (const [position, target] of targets.entries()) {
    const name = names[position] ?? new Uint8Array()
    view.setU32(at, name.length)
    view.setU32(at + 4, target.pages.length)
    view.setU32(at + 8, target.erased.length)
    view.setU32(at + 12, target.samples.length)
    view.setU64(at + 16, target.sizeBefore)
    view.setU64(at + 24, target.sizeAfter)
    at += TARGET_SIZE
    bytes.set(name, at)
    at += name.length
    for (const page of target.pages) {
      view.setU64(at, page.index)
      view.setU16(at + 8, page.mask)
      view.setU16(at + 10, page.savedMask)
      view.setU32(at + 12, page.checksum)
      view.setU64(at + 16, page.slot)
      at += PAGE_ENTRY_SIZE
    }
    for (const run of target.erased) {
      view.setU64(at, run.start)
      view.setU64(at + 8, run.end)
      at += ERASE_ENTRY_SIZE
    }
    for (const sample of target.samples) {
      view.setU64(at, sample.block)
      for (const [sector, checksum] of sample.sectors.entries()) view.setU32(at + 8 + 4 * sector, checksum)
      at += SAMPLE_ENTRY_SIZE
    }
  }
  return bytes
}

/**
 * Parses an index whose checksum was found right, and still trusts none of it.
 * @param slots how many slots lie before the index.
 */
export function parseIndex(bytes: Uint8Array, slots: number, name: string): RedoTarget[] {
  const view = littleEndian(bytes, 'redo log index')
  const count = view.u32(0)
  if (count === 0 || count > MAX_TARGETS) throw corrupt(name, `its index names ${count} files`)
  const targets: RedoTarget[] = []
  let at = 4
  for (let position = 0; position < count; position++) {
    const nameLength = view.u32(at)
    const pageCount = view.u32(at + 4)
    const eraseCount = view.u32(at + 8)
    const sampleCount = view.u32(at + 12)
    const sizeBefore = view.u64(at + 16)
    const sizeAfter = view.u64(at + 24)
    at += TARGET_SIZE
    const needed =
      nameLength +
      pageCount * PAGE_ENTRY_SIZE +
      eraseCount * ERASE_ENTRY_SIZE +
      sampleCount * SAMPLE_ENTRY_SIZE
    if (nameLength > MAX_NAME || needed > bytes.length - at)
      throw corrupt(name, 'its index says that it holds more than it does')
    const targetName = new TextDecoder().decode(view.slice(at, nameLength))
    at += nameLength

    const pages: RedoPage[] = []
    const pageLimit = Math.ceil(sizeAfter / PAGE_SIZE)
    let lowest = 0
    for (let entry = 0; entry < pageCount; entry++, at += PAGE_ENTRY_SIZE) {
      const page = {
        index: view.u64(at),
        mask: view.u16(at + 8),
        savedMask: view.u16(at + 10),
        checksum: view.u32(at + 12),
        slot: view.u64(at + 16),
      }
      if (page.index < lowest || page.index >= pageLimit || page.slot + countBlocks(page.savedMask) > slots)
        throw corrupt(name, `page entry ${entry} of its index is out of order or of bounds`)
      if (page.mask === 0 || (page.mask & ~page.savedMask) !== 0)
        throw corrupt(
          name,
          `page entry ${entry} of its index has no blocks, or names blocks that it does not hold`,
        )
      lowest = page.index + 1
      pages.push(page)
    }

    const erased: { start: number; end: number }[] = []
    const blockLimit = Math.ceil(sizeBefore / BLOCK_SIZE)
    lowest = 0
    for (let entry = 0; entry < eraseCount; entry++, at += ERASE_ENTRY_SIZE) {
      const run = { start: view.u64(at), end: view.u64(at + 8) }
      if (run.start < lowest || run.end <= run.start || run.end > blockLimit)
        throw corrupt(name, `erase entry ${entry} of its index is out of order or of bounds`)
      lowest = run.end
      erased.push(run)
    }

    const samples: RedoSample[] = []
    for (let entry = 0; entry < sampleCount; entry++, at += SAMPLE_ENTRY_SIZE) {
      const block = view.u64(at)
      if (block >= blockLimit) throw corrupt(name, `sample ${entry} of its index is out of bounds`)
      const sectors = Array.from({ length: SECTORS_PER_BLOCK }, (_, sector) => view.u32(at + 8 + 4 * sector))
      samples.push({ block, sectors })
    }
    targets.push({ name: targetName, sizeBefore, sizeAfter, pages, erased, samples })
  }
  return targets
}

/** How many whole slots lie before the index. */
export function slotsBefore(header: RedoHeader): number {
  return Math.max(0, Math.floor(header.indexOffset / BLOCK_SIZE) - 1)
}

/** Where the index goes behind `slots` slots. */
export function indexOffset(slots: number): number {
  return slotOffset(slots)
}

export function corrupt(name: string, what: string): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `${name}: this redo log is damaged (${what}), so the commit that it holds cannot be finished and the image beside it ` +
      'may be half changed; nothing was done to it. Restore the image from a copy, or remove the log to open the image as it is',
    { path: name, structure: 'redo log' },
  )
}
