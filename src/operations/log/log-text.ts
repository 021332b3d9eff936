import type { GuestFs } from '../../guest/guest-fs.ts'

const CHUNK = 1 << 20
const NEWLINE = 0x0a
/** A longer line is given in pieces. */
const MAX_LINE = 1 << 20

/**
 * The bytes of a text file from its last `last` lines on: in pieces as they are read, or line by line without their newlines. Memory
 * holds a piece.
 */
export async function* logText(
  guest: GuestFs,
  path: string,
  last: number,
  byLine: boolean,
): AsyncGenerator<Uint8Array> {
  const { size } = await guest.stat(path)
  // An error for a folder comes from reading it.
  const start = Number.isFinite(last) ? await startOfLast(guest, path, size, last) : 0
  let rest = new Uint8Array(0)
  for await (const piece of pieces(guest, path, start)) {
    if (!byLine) {
      yield piece
      continue
    }
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
