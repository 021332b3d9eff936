import { DrydiskError } from '../../errors.ts'

/** Reads `into.length` bytes of the database file at `offset`; the number that there were. */
export type ReadBytes = (offset: number, into: Uint8Array) => Promise<number>

/** A row of a table: its rowid and its columns; a blob or text is cut off at the limit that was asked for. */
export interface SqliteRow {
  readonly rowid: number
  readonly columns: readonly (number | string | Uint8Array | null)[]
}

const INTERIOR_TABLE = 5
const LEAF_TABLE = 13
/** Trees of a table are a handful of levels deep. */
const MAX_DEPTH = 20
/** Together this bounds what a damaged file can make of it. */
const MAX_PAGES = 100_000
const CACHED_PAGES = 64

const corrupt = (what: string) => new DrydiskError('ERR_CORRUPT', `SQLite database: ${what}`)

/** Tables of an SQLite file (https://www.sqlite.org/fileformat2.html), read only, page by page; no indices, no WAL. */
export class SqliteFile {
  readonly #read: ReadBytes
  readonly #pageSize: number
  readonly #usable: number
  readonly #pages: number
  readonly #cache = new Map<number, Uint8Array>()
  #pagesRead = 0

  private constructor(read: ReadBytes, pageSize: number, usable: number, pages: number) {
    this.#read = read
    this.#pageSize = pageSize
    this.#usable = usable
    this.#pages = pages
  }

  static async open(read: ReadBytes, size: number): Promise<SqliteFile> {
    const header = new Uint8Array(100)
    if (
      (await read(0, header)) < 100 ||
      new TextDecoder().decode(header.subarray(0, 15)) !== 'SQLite format 3'
    )
      throw corrupt('the file does not begin with "SQLite format 3"')
    const view = new DataView(header.buffer)
    const written = view.getUint16(16)
    const pageSize = written === 1 ? 65_536 : written
    if (pageSize < 512 || (pageSize & (pageSize - 1)) !== 0) throw corrupt(`page size ${written}`)
    const usable = pageSize - view.getUint8(20)
    if (usable < 480) throw corrupt(`${usable} usable bytes in a page`)
    return new SqliteFile(read, pageSize, usable, Math.floor(size / pageSize))
  }

  /** The root page of a table, by sqlite_schema; `undefined` where there is none. */
  async rootOf(table: string): Promise<number | undefined> {
    for await (const { columns } of this.rows(1, 4096)) {
      const [type, name, , root] = columns
      if (type === 'table' && name === table && typeof root === 'number') return root
    }
    return undefined
  }

  /** Every row, in the order of rowids. */
  async *rows(root: number, limit: number): AsyncGenerator<SqliteRow> {
    yield* this.#walk(root, limit, 0, new Set())
  }

  async *#walk(number: number, limit: number, depth: number, seen: Set<number>): AsyncGenerator<SqliteRow> {
    if (depth > MAX_DEPTH) throw corrupt(`a tree of more than ${MAX_DEPTH} levels`)
    if (seen.has(number)) throw corrupt(`page ${number} is twice in one tree`)
    seen.add(number)
    const page = await this.#page(number)
    if (page.type === LEAF_TABLE) {
      for (const cell of page.cells) yield this.#row(page.bytes, cell, limit)
      return
    }
    for (const cell of page.cells)
      yield* this.#walk(u32(page.bytes, cell, this.#usable), limit, depth + 1, seen)
    yield* this.#walk(page.right, limit, depth + 1, seen)
  }

  /** One row by its rowid. */
  async row(root: number, rowid: number, limit: number): Promise<SqliteRow | undefined> {
    let number = root
    for (let depth = 0; depth <= MAX_DEPTH; depth++) {
      const page = await this.#page(number)
      if (page.type === LEAF_TABLE) {
        for (const cell of page.cells) {
          const [, after] = varint(page.bytes, cell)
          if (varint(page.bytes, after)[0] === rowid) return this.#row(page.bytes, cell, limit)
        }
        return undefined
      }
      // Keys of a subtree are at most the key beside its page number.
      const next = page.cells.find(cell => varint(page.bytes, cell + 4)[0] >= rowid)
      number = next === undefined ? page.right : u32(page.bytes, next, this.#usable)
    }
    throw corrupt(`a tree of more than ${MAX_DEPTH} levels`)
  }

  async #page(number: number) {
    const bytes = await this.#bytes(number)
    const start = number === 1 ? 100 : 0
    const type = bytes[start]
    if (type !== INTERIOR_TABLE && type !== LEAF_TABLE)
      throw corrupt(`page ${number} has type ${type}, expected a page of a table`)
    const view = new DataView(bytes.buffer, bytes.byteOffset, this.#usable)
    const count = view.getUint16(start + 3)
    const pointers = start + (type === INTERIOR_TABLE ? 12 : 8)
    if (pointers + count * 2 > this.#usable) throw corrupt(`page ${number} has ${count} cells`)
    const cells: number[] = []
    for (let i = 0; i < count; i++) {
      const cell = view.getUint16(pointers + i * 2)
      if (cell < pointers || cell + 4 > this.#usable) throw corrupt(`page ${number}: a cell at byte ${cell}`)
      cells.push(cell)
    }
    return { type, bytes, cells, right: type === INTERIOR_TABLE ? view.getUint32(start + 8) : 0 }
  }

  async #bytes(number: number): Promise<Uint8Array> {
    const cached = this.#cache.get(number)
    if (cached) return cached
    if (number < 1 || number > this.#pages) throw corrupt(`page ${number} of ${this.#pages}`)
    if (++this.#pagesRead > MAX_PAGES) throw corrupt(`more than ${MAX_PAGES} pages to read`)
    const bytes = new Uint8Array(this.#pageSize)
    if ((await this.#read((number - 1) * this.#pageSize, bytes)) < bytes.length)
      throw corrupt(`page ${number} is cut off`)
    if (this.#cache.size >= CACHED_PAGES) {
      const [oldest] = this.#cache.keys()
      if (oldest !== undefined) this.#cache.delete(oldest)
    }
    this.#cache.set(number, bytes)
    return bytes
  }

  async #row(page: Uint8Array, cell: number, limit: number): Promise<SqliteRow> {
    const [length, afterLength] = varint(page, cell)
    const [rowid, start] = varint(page, afterLength)
    return { rowid, columns: record(await this.#payload(page, start, length, limit), limit) }
  }

  /** The first bytes of a cell's payload, over its chain of overflow pages. */
  async #payload(page: Uint8Array, start: number, length: number, limit: number): Promise<Uint8Array> {
    // "B-tree Cell Format": with U usable bytes, X is the most that stays in the page of a table, M the least.
    const U = this.#usable
    const X = U - 35
    const M = Math.floor(((U - 12) * 32) / 255) - 23
    const K = M + ((length - M) % (U - 4))
    const local = length <= X ? length : K <= X ? K : M
    if (start + local > U) throw corrupt('a cell ends past its page')
    const wanted = Math.min(length, limit + 64)
    const bytes = new Uint8Array(wanted)
    bytes.set(page.subarray(start, start + Math.min(local, wanted)))
    let filled = Math.min(local, wanted)
    let next = filled < wanted ? u32(page, start + local, U) : 0
    while (filled < wanted) {
      const overflow = await this.#bytes(next)
      const part = overflow.subarray(4, Math.min(U, 4 + wanted - filled))
      bytes.set(part, filled)
      filled += part.length
      next = u32(overflow, 0, U)
    }
    return bytes
  }
}

function u32(bytes: Uint8Array, at: number, end: number): number {
  if (at + 4 > end) throw corrupt('a page number past the end of its page')
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0)
}

/** A big-endian varint of 1 to 9 bytes and where it ends; values past 2^53 are refused. */
function varint(bytes: Uint8Array, at: number): [number, number] {
  let value = 0
  for (let i = 0; i < 9; i++) {
    const byte = bytes[at + i]
    if (byte === undefined) throw corrupt('a number past the end of its page')
    if (i === 8) return [limited(value * 256 + byte), at + 9]
    value = limited(value * 128 + (byte & 0x7f))
    if (byte < 0x80) return [value, at + i + 1]
  }
  return [value, at + 9]
}

function limited(value: number): number {
  if (value > Number.MAX_SAFE_INTEGER) throw corrupt('a number beyond 2^53')
  return value
}

/** "Record Format": the header's length, a serial type for each column, then the values. */
function record(bytes: Uint8Array, limit: number): (number | string | Uint8Array | null)[] {
  const [headerLength, first] = varint(bytes, 0)
  if (headerLength > bytes.length) throw corrupt('a record shorter than its header')
  const types: number[] = []
  for (let at = first; at < headerLength; ) {
    const [type, next] = varint(bytes, at)
    types.push(type)
    at = next
  }
  let at = headerLength
  return types.map(type => {
    const length = type >= 12 ? Math.floor((type - 12) / 2) : ([0, 1, 2, 3, 4, 6, 8, 8, 0, 0][type] ?? 0)
    const value = bytes.subarray(at, at + Math.min(length, limit))
    at += length
    if (type === 0) return null
    if (type === 8 || type === 9) return type - 8
    if (type >= 12) return type % 2 === 0 ? value : new TextDecoder().decode(value)
    if (type === 7 || value.length < length) return null
    return value.reduce((sum, byte, i) => sum * 256 + (i === 0 && byte > 127 ? byte - 256 : byte), 0)
  })
}
