import { compareBytes, printable } from '../../bytes/names.ts'
import { concatBytes, encodeText } from '../../config/text.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs, GuestPath, GuestStats } from '../../guest/guest-fs.ts'
import { childPath } from '../../guest/guest-path.ts'
import { pathBytes } from '../guest-files.ts'
import { BLOCK } from './header.ts'
import { PaxWriter } from './pax-writer.ts'

/** What `writeTar` takes. */
export interface WriteTarOptions {
  /** Told of what an archive cannot hold (sockets) or what cannot be read; the rest goes on. Without it, that is an error. */
  readonly problem?: (path: Uint8Array, error: DrydiskError) => void
  /** Stay on the filesystem of the folder. */
  readonly oneFileSystem?: boolean
}

/** A run of content; what lies between runs reads as zeros. */
interface Run {
  readonly offset: number
  readonly length: number
}

/** A guest whose files tell where they have holes. */
interface WithExtents {
  extents(path: GuestPath): AsyncIterable<Run & { readonly kind: string }>
}

const CHUNK = 1 << 20
/** Two blocks of zeros end an archive, and GNU tar fills it up to a record of 20 blocks. */
const RECORD = 20 * BLOCK
const MOST_DEPTH = 4096

/**
 * A folder of a guest as a tar archive in the pax format: owners and groups by number, extended attributes, names of one file
 * as hard links, holes (GNU's sparse format 1.0), devices, names as bytes. Entries are below `./`, by name.
 */
export async function* writeTar(
  guest: GuestFs,
  folder: GuestPath,
  options: WriteTarOptions = {},
): AsyncGenerator<Uint8Array> {
  const path = await guest.realpath(pathBytes(folder))
  const stats = await guest.stat(path)
  if (!stats.isDirectory())
    throw new DrydiskError('ENOTDIR', `${printable(path)} is no directory`, { path: printable(path) })
  const archive = new TarWriter(guest, stats.dev, options)
  yield* archive.entry(path, encodeText('.'), stats, 0)
  const end = (Math.floor((archive.length + 2 * BLOCK - 1) / RECORD) + 1) * RECORD
  yield new Uint8Array(end - archive.length)
}

class TarWriter {
  /** Bytes that were written. */
  length = 0
  readonly #guest: GuestFs
  readonly #dev: number
  readonly #options: WriteTarOptions
  /** The first name in the archive of each file that has several. */
  readonly #names = new Map<string, Uint8Array>()

  constructor(guest: GuestFs, dev: number, options: WriteTarOptions) {
    this.#guest = guest
    this.#dev = dev
    this.#options = options
  }

  async *entry(
    path: Uint8Array,
    name: Uint8Array,
    stats: GuestStats,
    depth: number,
  ): AsyncGenerator<Uint8Array> {
    if (depth > MOST_DEPTH)
      throw new DrydiskError('ERR_CORRUPT', `more than ${MOST_DEPTH} directories inside each other`, {})
    if (stats.type === 'socket') {
      this.#problem(
        path,
        new DrydiskError('ENOTSUP', `${printable(path)}: a socket, which an archive cannot hold`, {}),
      )
      return
    }
    const linked = this.#linkOf(name, stats)
    if (linked !== undefined)
      yield this.#counted(headerOf({ name, stats, typeflag: '1', linkname: linked, size: 0 }))
    else if (stats.isFile()) yield* this.#file(path, name, stats)
    else yield this.#counted(await this.#other(path, name, stats))
    if (stats.isDirectory() && !(this.#options.oneFileSystem && stats.dev !== this.#dev))
      yield* this.#children(path, name, depth)
  }

  async *#children(path: Uint8Array, name: Uint8Array, depth: number): AsyncGenerator<Uint8Array> {
    const entries = await this.#attempt(path, () => this.#guest.readdir(path))
    for (const entry of (entries ?? []).sort((a, b) => compareBytes(a.name, b.name))) {
      const child = childPath(path, entry.name)
      const stats = await this.#attempt(child, () => this.#guest.lstat(child))
      if (stats !== undefined)
        yield* this.entry(child, concatBytes([name, encodeText('/'), entry.name]), stats, depth + 1)
    }
  }

  #linkOf(name: Uint8Array, stats: GuestStats): Uint8Array | undefined {
    if (stats.isDirectory() || stats.nlink < 2) return undefined
    const key = `${stats.dev}:${stats.ino}`
    const first = this.#names.get(key)
    if (first === undefined) this.#names.set(key, name)
    return first
  }

  async *#file(path: Uint8Array, name: Uint8Array, stats: GuestStats): AsyncGenerator<Uint8Array> {
    const runs = await this.#runs(path, stats)
    const pax = await this.#pax(path, stats)
    const sparse = runs.length !== 1 || runs[0]?.offset !== 0 || runs[0].length !== stats.size
    if (!sparse || stats.size === 0) {
      yield this.#counted(headerOf({ name, stats, typeflag: '0', size: stats.size, pax }))
      yield* this.#content(path, [{ offset: 0, length: stats.size }])
      return
    }
    // GNU tar's manual, "Storing Sparse Files", version 1.0: the map stands before the data, in decimal, filled up to a block.
    const ends = runs.at(-1)
    const all =
      ends === undefined || ends.offset + ends.length < stats.size
        ? [...runs, { offset: stats.size, length: 0 }]
        : runs
    const map = padded(
      encodeText(`${all.length}\n${all.map(({ offset, length }) => `${offset}\n${length}\n`).join('')}`),
    )
    const data = runs.reduce((sum, { length }) => sum + length, 0)
    pax.add('GNU.sparse.major', '1')
    pax.add('GNU.sparse.minor', '0')
    pax.add('GNU.sparse.name', name)
    pax.add('GNU.sparse.realsize', String(stats.size))
    const slash = name.lastIndexOf(0x2f)
    const shown = concatBytes([
      name.subarray(0, slash + 1),
      encodeText('GNUSparseFile.0/'),
      name.subarray(slash + 1),
    ])
    yield this.#counted(headerOf({ name: shown, stats, typeflag: '0', size: map.length + data, pax }))
    yield this.#counted(map)
    yield* this.#content(path, runs)
  }

  async #other(path: Uint8Array, name: Uint8Array, stats: GuestStats): Promise<Uint8Array> {
    const pax = await this.#pax(path, stats)
    const at = { name, stats, size: 0, pax }
    switch (stats.type) {
      case 'directory':
        return headerOf({ ...at, name: concatBytes([name, encodeText('/')]), typeflag: '5' })
      case 'symlink':
        return headerOf({ ...at, typeflag: '2', linkname: await this.#guest.readlink(path) })
      case 'character-device':
        return headerOf({ ...at, typeflag: '3' })
      case 'block-device':
        return headerOf({ ...at, typeflag: '4' })
      default:
        return headerOf({ ...at, typeflag: '6' })
    }
  }

  /** Extended attributes, as GNU tar and star write them. */
  async #pax(path: Uint8Array, { mtimeNs }: GuestStats): Promise<PaxWriter> {
    const pax = new PaxWriter()
    if (mtimeNs % 1_000_000_000n !== 0n || mtimeNs < 0n) pax.add('mtime', seconds(mtimeNs))
    try {
      for (const name of await this.#guest.listxattr(path)) {
        const value = await this.#guest.getxattr(path, name)
        // A record's key ends at the first equals sign.
        if (value !== undefined && !name.includes('=')) pax.add(`SCHILY.xattr.${name}`, value)
      }
    } catch (error) {
      if (!isDrydiskError(error, 'ENOTSUP')) throw error
    }
    return pax
  }

  async #runs(path: Uint8Array, { size, blocks }: GuestStats): Promise<Run[]> {
    const { extents } = this.#guest as Partial<WithExtents>
    if (extents === undefined || blocks * 512 >= size) return [{ offset: 0, length: size }]
    const runs: Run[] = []
    for await (const { offset, length, kind } of extents.call(this.#guest, path)) {
      const kept = Math.min(length, size - offset)
      if (kept <= 0 || kind === 'hole' || kind === 'unwritten') continue
      const last = runs.at(-1)
      if (last !== undefined && last.offset + last.length === offset)
        runs[runs.length - 1] = { offset: last.offset, length: last.length + kept }
      else runs.push({ offset, length: kept })
    }
    return runs
  }

  /** The header says how long it is: what cannot be read ends the archive. */
  async *#content(path: Uint8Array, runs: readonly Run[]): AsyncGenerator<Uint8Array> {
    let total = 0
    for (const { offset, length } of runs)
      for (let at = offset; at < offset + length; ) {
        const bytes = new Uint8Array(Math.min(CHUNK, offset + length - at))
        const got = await this.#guest.readAt(path, at, bytes)
        // It reads as zeros past its end, as long as the header said.
        yield this.#counted(bytes)
        at += bytes.length
        total += bytes.length
        if (got === 0 && bytes.length === 0) break
      }
    if (total % BLOCK !== 0) yield this.#counted(new Uint8Array(BLOCK - (total % BLOCK)))
  }

  #counted(bytes: Uint8Array): Uint8Array {
    this.length += bytes.length
    return bytes
  }

  #problem(path: Uint8Array, error: DrydiskError): void {
    if (this.#options.problem === undefined) throw error
    this.#options.problem(path, error)
  }

  async #attempt<T>(path: Uint8Array, step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step()
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      this.#problem(path, error)
      return undefined
    }
  }
}

interface HeaderFields {
  readonly name: Uint8Array
  readonly stats: GuestStats
  readonly typeflag: string
  readonly size: number
  readonly linkname?: Uint8Array
  readonly pax?: PaxWriter
}

/** A header block, behind a pax header with what it has no room for. */
function headerOf({
  name,
  stats,
  typeflag,
  size,
  linkname,
  pax = new PaxWriter(),
}: HeaderFields): Uint8Array {
  if (name.length > 100) pax.add('path', name)
  if (linkname !== undefined && linkname.length > 100) pax.add('linkpath', linkname)
  if (size > 0o77777777777) pax.add('size', String(size))
  if (stats.uid > 0o7777777) pax.add('uid', String(stats.uid))
  if (stats.gid > 0o7777777) pax.add('gid', String(stats.gid))
  const block = ustarBlock({ name, stats, typeflag, size, linkname })
  if (pax.isEmpty) return block
  const records = padded(pax.bytes())
  const extended = ustarBlock({
    name: encodeText('./PaxHeaders/entry'),
    stats,
    typeflag: 'x',
    size: pax.bytes().length,
  })
  return concatBytes([extended, records, block])
}

/** POSIX.1-1988 ustar; numbers that do not fit are in the pax header. */
function ustarBlock({
  name,
  stats,
  typeflag,
  size,
  linkname,
}: Omit<HeaderFields, 'pax' | 'linkname'> & { linkname?: Uint8Array | undefined }): Uint8Array {
  const block = new Uint8Array(BLOCK)
  block.set(name.subarray(0, 100), 0)
  const number = (at: number, digits: number, value: number): void => {
    const fits = value >= 0 && value < 8 ** digits ? value : 0
    block.set(encodeText(fits.toString(8).padStart(digits, '0')), at)
  }
  number(100, 7, stats.mode & 0o7777)
  number(108, 7, stats.uid)
  number(116, 7, stats.gid)
  number(124, 11, size)
  number(136, 11, Number(stats.mtimeNs / 1_000_000_000n))
  block.set(encodeText(typeflag), 156)
  if (linkname !== undefined) block.set(linkname.subarray(0, 100), 157)
  block.set(encodeText('ustar\u000000'), 257)
  const isDevice = typeflag === '3' || typeflag === '4'
  number(329, 7, isDevice ? stats.rdev.major : 0)
  number(337, 7, isDevice ? stats.rdev.minor : 0)
  // The sum counts its own field as blanks.
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.set(encodeText(`${sum.toString(8).padStart(6, '0')}\u0000 `), 148)
  return block
}

function padded(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(Math.ceil(bytes.length / BLOCK) * BLOCK)
  out.set(bytes)
  return out
}

/** Decimal seconds, as pax writes times. */
function seconds(ns: bigint): string {
  const negative = ns < 0n
  const magnitude = negative ? -ns : ns
  const fraction = String(magnitude % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '')
  return `${negative ? '-' : ''}${magnitude / 1_000_000_000n}${fraction === '' ? '' : `.${fraction}`}`
}
