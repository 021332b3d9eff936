import { ByteView } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { ReadBytes } from './sqlite-table.ts'

/**
 * Hash databases of Berkeley DB, as rpm keeps its packages in until EL8 (`Packages`). Structures and their names are those of
 * Berkeley DB's src/dbinc/db_page.h; integers have the byte order of the machine that made the file.
 */
const DB_HASHMAGIC = 0x061561
/** Versions of which pages are the same: Berkeley DB 4.0 to 18. */
const VERSIONS = [8, 9, 10]
const P_HASH_UNSORTED = 2
const P_OVERFLOW = 7
const P_HASHMETA = 8
const P_HASH = 13
const H_KEYDATA = 1
const H_OFFPAGE = 3
const META_SIZE = 512
const SIZEOF_PAGE = 26
const SIZEOF_HOFFPAGE = 12
/** Together with the set of pages that were read, this bounds what a damaged or a sparse file can make of it. */
const MAX_PAGES = 100_000

const corrupt = (what: string) => new DrydiskError('ERR_CORRUPT', `Berkeley DB file: ${what}`)

export interface HashItem {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/**
 * Every key of a hash database with its value; of each, the first `limit` bytes.
 * @throws `ERR_CORRUPT`; `ERR_UNSUPPORTED` for another access method, version, or one that is encrypted or has checksums.
 */
export async function* berkeleyHashItems(
  read: ReadBytes,
  size: number,
  limit: number,
): AsyncGenerator<HashItem> {
  const pages = await HashPages.open(read, size)
  for (let bucket = 0; bucket <= pages.max_bucket; bucket++)
    for (let number = pages.firstOf(bucket); number !== 0; ) {
      const page = await pages.page(number)
      const type = page.u8(25)
      // A bucket that nothing was ever put into may have a page that was never written.
      if (type === 0) break
      if (type !== P_HASH && type !== P_HASH_UNSORTED)
        throw corrupt(`page ${number} has type ${type}, expected a page of a bucket`)
      const entries = page.u16(20)
      for (let index = 0; index + 1 < entries; index += 2)
        yield {
          key: await pages.item(page, index, limit),
          value: await pages.item(page, index + 1, limit),
        }
      number = page.u32(16)
    }
}

class HashPages {
  readonly #read: ReadBytes
  readonly #endian: 'little' | 'big'
  readonly #pagesize: number
  readonly #pages: number
  readonly #spares: readonly number[]
  /** Every page belongs to one chain: one that comes twice is a loop. */
  readonly #seen = new Set<number>()
  readonly max_bucket: number

  private constructor(read: ReadBytes, meta: ByteView, endian: 'little' | 'big', size: number) {
    this.#read = read
    this.#endian = endian
    this.#pagesize = meta.u32(20)
    if (this.#pagesize < 512 || this.#pagesize > 65_536 || (this.#pagesize & (this.#pagesize - 1)) !== 0)
      throw corrupt(`page size ${this.#pagesize}, expected a power of two from 512 to 65536`)
    this.#pages = Math.floor(size / this.#pagesize)
    this.max_bucket = meta.u32(72)
    if (this.max_bucket >= this.#pages)
      throw corrupt(`${this.max_bucket + 1} buckets in ${this.#pages} pages`)
    this.#spares = Array.from({ length: 32 }, (_, i) => meta.u32(96 + i * 4))
  }

  static async open(read: ReadBytes, size: number): Promise<HashPages> {
    const bytes = new Uint8Array(META_SIZE)
    if ((await read(0, bytes)) < META_SIZE) throw corrupt(`it is shorter than its first ${META_SIZE} bytes`)
    for (const endian of ['little', 'big'] as const) {
      const meta = new ByteView(bytes, endian, 'Berkeley DB metadata page')
      if (meta.u32(12) !== DB_HASHMAGIC) continue
      const version = meta.u32(16)
      if (!VERSIONS.includes(version))
        throw unsupported(`hash version ${version} (versions ${VERSIONS.join(', ')} are read)`)
      if (meta.u8(25) !== P_HASHMETA) throw corrupt(`its first page has type ${meta.u8(25)}`)
      // Checksums and encryption move the content of pages; rpm uses neither.
      if (meta.u8(24) !== 0 || meta.u8(26) !== 0)
        throw unsupported('it is encrypted, has checksums or is a part')
      return new HashPages(read, meta, endian, size)
    }
    throw unsupported('no hash database (its magic is not 0x061561)')
  }

  /** The first page of a bucket: buckets come in groups, each twice as large as those before (BUCKET_TO_PAGE of dbinc/hash.h). */
  firstOf(bucket: number): number {
    const group = 32 - Math.clz32(bucket)
    return bucket + (this.#spares[group] ?? 0)
  }

  async page(number: number): Promise<ByteView> {
    if (number < 1 || number >= this.#pages) throw corrupt(`page ${number} of ${this.#pages}`)
    if (this.#seen.has(number)) throw corrupt(`page ${number} comes twice`)
    this.#seen.add(number)
    if (this.#seen.size > MAX_PAGES) throw corrupt(`more than ${MAX_PAGES} pages to read`)
    const bytes = new Uint8Array(this.#pagesize)
    if ((await this.#read(number * this.#pagesize, bytes)) < bytes.length)
      throw corrupt(`page ${number} is cut off`)
    const page = new ByteView(bytes, this.#endian, 'Berkeley DB page')
    if (page.u8(25) !== 0 && page.u32(8) !== number)
      throw corrupt(`page ${number} says that it is page ${page.u32(8)}`)
    return page
  }

  /** Items fill a page from its end, in the order of the index: each ends where the one before it begins (LEN_HITEM). */
  async item(page: ByteView, index: number, limit: number): Promise<Uint8Array> {
    const start = page.u16(SIZEOF_PAGE + index * 2)
    const end = index === 0 ? this.#pagesize : page.u16(SIZEOF_PAGE + index * 2 - 2)
    if (start < SIZEOF_PAGE || start >= end || end > this.#pagesize)
      throw corrupt(`item ${index} of page ${page.u32(8)} is from byte ${start} to ${end}`)
    const type = page.u8(start)
    if (type === H_KEYDATA) return page.bytes.subarray(start + 1, Math.min(end, start + 1 + limit))
    if (type !== H_OFFPAGE || end - start < SIZEOF_HOFFPAGE)
      throw corrupt(`item ${index} of page ${page.u32(8)} has type ${type}`)
    return this.#overflow(page.u32(start + 4), Math.min(page.u32(start + 8), limit))
  }

  /** An item that has pages of its own: hf_offset of each says how much is in it. */
  async #overflow(first: number, length: number): Promise<Uint8Array> {
    const into = new Uint8Array(length)
    let number = first
    for (let filled = 0; filled < length; ) {
      const page = await this.page(number)
      if (page.u8(25) !== P_OVERFLOW)
        throw corrupt(`page ${number} has type ${page.u8(25)}, expected an overflow page`)
      const part = page.slice(SIZEOF_PAGE, page.u16(22)).subarray(0, length - filled)
      into.set(part, filled)
      filled += part.length
      number = page.u32(16)
    }
    return into
  }
}

function unsupported(what: string): DrydiskError {
  return new DrydiskError('ERR_UNSUPPORTED', `Berkeley DB file: ${what}`)
}
