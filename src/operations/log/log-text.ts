import type { GuestFs } from '../../guest/guest-fs.ts'
import { isPacked, unpacked } from '../tar/decompress.ts'

const CHUNK = 1 << 20
const NEWLINE = 0x0a
/** A longer line is given in pieces. */
const MAX_LINE = 1 << 20

/**
 * The bytes of a text file from its last `last` lines on: in pieces as they are read, or line by line without their newlines. Memory
 * holds a piece. One that logrotate packed by gzip, xz or zstd is unpacked, and memory holds its last lines; other packers are
 * `ERR_UNSUPPORTED`.
 */
export async function* logText(
  guest: GuestFs,
  path: string,
  last: number,
  byLine: boolean,
): AsyncGenerator<Uint8Array> {
  const { size } = await guest.stat(path)
  const packed = await packedPieces(guest, path)
  if (packed !== undefined) {
    yield* Number.isFinite(last) ? lastOf(lines(packed), last, byLine) : byLine ? lines(packed) : packed
    return
  }
  // An error for a folder comes from reading it.
  const start = Number.isFinite(last) ? await startOfLast(guest, path, size, last) : 0
  yield* byLine ? lines(pieces(guest, path, start)) : pieces(guest, path, start)
}

async function packedPieces(guest: GuestFs, path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
  const first = new Uint8Array(6)
  const count = await guest.readAt(path, 0, first)
  if (!isPacked(first.subarray(0, count))) return undefined
  return unpacked({ name: path, chunks: () => pieces(guest, path, 0) })
}

async function* lastOf(
  all: AsyncIterable<Uint8Array>,
  last: number,
  byLine: boolean,
): AsyncGenerator<Uint8Array> {
  if (last === 0) return
  // A ring: the next line takes the place of the oldest.
  const kept: Uint8Array[] = []
  let next = 0
  for await (const line of all) {
    kept[next] = line
    next = (next + 1) % last
  }
  for (const line of [...kept.slice(next), ...kept.slice(0, next)]) {
    yield line
    if (!byLine) yield Uint8Array.of(NEWLINE)
  }
}

async function* lines(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest = new Uint8Array(0)
  for await (const piece of pieces) {
    let bytes = piece
    if (rest.length > 0) {
      bytes = new Uint8Array(rest.length + piece.length)
      bytes.set(rest)
      bytes.set(piece, rest.length)
    }
    let from = 0
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, from)) {
      yield bytes.slice(from, at)
      from = at + 1
    }
    rest = bytes.slice(from)
    if (rest.length > MAX_LINE) {
      yield rest
      rest = new Uint8Array(0)
    }
  }
  if (rest.length > 0) yield rest
}

async function* pieces(guest: GuestFs, path: string, start: number): AsyncGenerator<Uint8Array> {
  for (let offset = start; ; ) {
    const piece = new Uint8Array(CHUNK)
    const count = await guest.readAt(path, offset, piece)
    if (count === 0) return
    yield piece.subarray(0, count)
    offset += count
  }
}

/** Where the last lines begin; read from the end. */
async function startOfLast(guest: GuestFs, path: string, size: number, last: number): Promise<number> {
  if (last === 0) return size
  let found = 0
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - CHUNK)
    const piece = new Uint8Array(end - start)
    const count = await guest.readAt(path, start, piece)
    for (let at = count - 1; at >= 0; at--)
      // The newline at the end of the file ends the last line.
      if (piece[at] === NEWLINE && start + at !== size - 1 && ++found === last) return start + at + 1
    end = start
  }
  return 0
}
