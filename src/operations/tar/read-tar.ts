import { DrydiskError } from '../../errors.ts'
import type { DeviceNumber } from '../../filesystem/filesystem.ts'
import { ByteQueue } from './byte-queue.ts'
import { ascii, BLOCK, parseHeader, type TarHeader, terminated } from './header.ts'
import { type PaxRecords, parsePax, paxNumber, paxTime } from './pax.ts'
import { readGnuSparse, readPaxSparse, type SparseMap } from './sparse.ts'

/** What an entry of a tar archive is. */
export type TarEntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hard-link'
  | 'character-device'
  | 'block-device'
  | 'fifo'

/** A piece of a file's content, at its place; what lies between pieces is a hole. */
export interface TarPiece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** An entry of a tar archive. Times are in nanoseconds since 1970, sizes in bytes. */
export interface TarEntry {
  /** As in the archive, so that it may be absolute or hold `..`; need not be UTF-8. */
  readonly path: Uint8Array
  readonly type: TarEntryType
  /** Permission bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
  /** Bytes of a file's content, holes included; 0 for others. */
  readonly size: number
  readonly sparse: boolean
  /** What a symlink holds; for a hard link the path of an entry before it. */
  readonly linkTarget: Uint8Array
  readonly device: DeviceNumber
  /** Of SCHILY.xattr (GNU tar, star) or LIBARCHIVE.xattr; without `security.selinux`, which belongs to the policy of where they go. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>
  /** There were POSIX ACLs in their text form. */
  readonly hasAcl: boolean
  /** Reads the content, once and before the next entry is asked for. A piece is good until the next one. */
  content(): AsyncIterable<TarPiece>
}

/** Extended headers and long names are read whole. */
const MAX_EXTENSION = 16 << 20

const TYPES: Readonly<Record<string, TarEntryType>> = {
  '1': 'hard-link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  D: 'directory',
}

/** What comes before a header and belongs to it. */
interface Extensions {
  records: PaxRecords
  pairs: number[]
  name?: Uint8Array
  linkname?: Uint8Array
}

/**
 * The entries of an archive in their order: v7, ustar, pax and GNU, with long names, numbers of any size, sparse files and extended
 * attributes. Memory stays at one piece. A damaged archive is `ERR_CORRUPT` where the damage is met.
 */
export async function* readTar(pieces: AsyncIterable<Uint8Array>): AsyncIterable<TarEntry> {
  const queue = new ByteQueue(pieces)
  try {
    let global: PaxRecords = new Map()
    let extensions: Extensions = { records: new Map(), pairs: [] }
    for (;;) {
      const offset = queue.offset
      const block = await queue.exactly(BLOCK)
      const header = block.length === 0 ? undefined : parseHeader(block, offset)
      if (!header) {
        if (offset === 0 && block.length === 0) throw new DrydiskError('ERR_CORRUPT', 'the archive is empty')
        return
      }
      const { typeflag } = header
      if ('xXgLK'.includes(typeflag)) {
        const body = await extension(queue, header, offset)
        if (typeflag === 'g') global = new Map([...global, ...parsePax(body, offset, [])])
        else if (typeflag === 'L') extensions.name = terminated(body).slice()
        else if (typeflag === 'K') extensions.linkname = terminated(body).slice()
        else extensions.records = parsePax(body, offset, extensions.pairs)
        continue
      }
      if (typeflag === 'M')
        throw new DrydiskError('ERR_UNSUPPORTED', 'this is a part of an archive of several volumes')
      const { entry, finish } = await takeEntry(queue, header, block, global, extensions)
      // V: a name of the volume, N: a list of names of an old GNU tar.
      if (!'VN'.includes(typeflag)) yield entry
      await finish()
      extensions = { records: new Map(), pairs: [] }
    }
  } finally {
    await queue.close()
  }
}

async function extension(queue: ByteQueue, header: TarHeader, offset: number): Promise<Uint8Array> {
  if (header.size > MAX_EXTENSION)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `an extended header of ${header.size} bytes at byte ${offset} of the archive`,
      {
        offset,
      },
    )
  const body = await queue.exactly(header.size)
  await queue.skip(padding(header.size) + (body.length < header.size ? header.size : 0))
  return body
}

async function takeEntry(
  queue: ByteQueue,
  header: TarHeader,
  block: Uint8Array,
  global: PaxRecords,
  { records: own, pairs, name, linkname }: Extensions,
): Promise<{ entry: TarEntry; finish: () => Promise<void> }> {
  const records = new Map([...global, ...own])
  const number = (keyword: string, fallback: number) => {
    const value = records.get(keyword)
    return value && value.length > 0 ? paxNumber(value, keyword) : fallback
  }
  const path = records.get('GNU.sparse.name') ?? records.get('path') ?? name ?? header.name
  const mtime = records.get('mtime')
  let type = TYPES[header.typeflag] ?? 'file'
  // Before ustar a folder was a file whose name ends in a slash.
  if (type === 'file' && path.at(-1) === 0x2f) type = 'directory'
  // Links and devices have no content, whatever their size says: so GNU tar reads them, too.
  let stored = '12346'.includes(header.typeflag) ? 0 : number('size', header.size)
  let map: SparseMap | undefined
  let left = stored
  if (type === 'file') {
    if (header.typeflag === 'S') map = await readGnuSparse(block, queue, stored)
    else {
      const sparse = await readPaxSparse(records, pairs, queue, stored)
      map = sparse?.map
      left -= sparse?.taken ?? 0
      if (sparse) stored -= sparse.taken
    }
  }
  const runs = map?.runs ?? (stored > 0 ? [{ offset: 0, length: stored }] : [])
  const whole = left
  let begun = false
  const entry: TarEntry = {
    path,
    type,
    mode: header.mode,
    uid: number('uid', header.uid),
    gid: number('gid', header.gid),
    mtimeNs: mtime ? paxTime(mtime, 'mtime') : BigInt(header.mtime) * 1_000_000_000n,
    size: type === 'file' ? (map?.size ?? stored) : 0,
    sparse: map !== undefined,
    linkTarget: records.get('linkpath') ?? linkname ?? header.linkname.slice(),
    device: { major: header.devmajor, minor: header.devminor },
    xattrs: xattrsOf(records),
    hasAcl: records.has('SCHILY.acl.access') || records.has('SCHILY.acl.default'),
    async *content() {
      if (begun) throw new DrydiskError('EINVAL', 'the content of an entry is read once')
      begun = true
      for (const run of runs)
        for (let at = 0; at < run.length; ) {
          const bytes = await queue.some(run.length - at)
          if (bytes.length === 0)
            throw new DrydiskError(
              'ERR_CORRUPT',
              `the archive ends in the middle of a file, after ${queue.offset} bytes`,
            )
          left -= bytes.length
          yield { offset: run.offset + at, bytes }
          at += bytes.length
        }
    },
  }
  return { entry, finish: () => queue.skip(left + padding(whole)) }
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK
}

const SELINUX = 'security.selinux'

function xattrsOf(records: PaxRecords): Map<string, Uint8Array> {
  const xattrs = new Map<string, Uint8Array>()
  for (const [keyword, value] of records) {
    if (keyword.startsWith('SCHILY.xattr.')) {
      // GNU tar writes `=` and `%` of a name as %3D and %25.
      xattrs.set(keyword.slice(13).replace(/%3D/g, '=').replace(/%25/g, '%'), value)
    } else if (keyword.startsWith('LIBARCHIVE.xattr.')) {
      const name = keyword
        .slice(17)
        .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
      const bytes = base64(ascii(value))
      if (bytes && !xattrs.has(name)) xattrs.set(name, bytes)
    }
  }
  xattrs.delete(SELINUX)
  return xattrs
}

function base64(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]*=*$/.test(text)) return undefined
  return Uint8Array.from(atob(text), char => char.charCodeAt(0))
}
