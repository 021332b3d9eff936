import { equalBytes, isZero } from '../bytes/compare.ts'
import type { DeviceNumber } from '../filesystem/filesystem.ts'
import type { GuestFs, GuestPath, NewFileOptions } from '../guest/guest-fs.ts'
import { statOrUndefined } from './guest-files.ts'

/** Bytes from outside the guest, in pieces, so that no file is held in memory whole. */
export interface ByteSource {
  /** What it is called where it comes from, for reports. */
  readonly name: string
  /** A fresh run over the bytes at each call. */
  chunks(): AsyncIterable<Uint8Array>
}

/** A file, folder, link or node outside the guest, as a host folder or another image offers it. */
export interface SourceNode {
  /** One path component; need not be UTF-8. */
  readonly name: Uint8Array
  readonly mode: number
  /** Left out: 0, as virt-customize's files from the host become root's. */
  readonly uid?: number
  readonly gid?: number
  readonly mtimeNs?: bigint
  readonly content:
    | {
        readonly type: 'file'
        readonly source: ByteSource
        /** The same for all names of one file (hard links); left out where there is one name only. */
        readonly identity?: string
      }
    | { readonly type: 'directory'; children(): AsyncIterable<SourceNode> }
    | { readonly type: 'symlink'; readonly target: Uint8Array }
    | { readonly type: 'character-device' | 'block-device'; readonly device: DeviceNumber }
    | { readonly type: 'fifo' | 'socket' }
}

/**
 * Makes a guest file hold what a source gives, in place, writing only what differs: a second run writes nothing. Memory
 * stays at one chunk. `'same'` when the file was so already.
 */
export async function writeFromSource(
  guest: GuestFs,
  path: GuestPath,
  source: ByteSource,
  options: NewFileOptions = {},
): Promise<'created' | 'changed' | 'same'> {
  const existing = await statOrUndefined(guest, path)
  if (!existing) await guest.writeFile(path, new Uint8Array(0), options)
  const oldSize = existing?.size ?? 0
  let offset = 0
  let written = 0
  let changed = false
  for await (const chunk of source.chunks()) {
    if (chunk.length === 0) continue
    if (offset >= oldSize) {
      // What is new and zero stays a hole.
      for (const { start, end } of dataRuns(chunk))
        await guest.writeAt(path, offset + start, chunk.subarray(start, end))
      written = offset + chunk.length
      changed = true
    } else if (!(await holds(guest, path, offset, chunk))) {
      await guest.writeAt(path, offset, chunk)
      changed = true
    }
    offset += chunk.length
  }
  if (written > 0) await guest.truncate(path, written)
  if (offset < oldSize) {
    await guest.truncate(path, offset)
    changed = true
  }
  return existing ? (changed ? 'changed' : 'same') : 'created'
}

const BLOCK = 1 << 16

/** The parts of a chunk that are not all zeros, in steps of 64 KiB. */
function* dataRuns(chunk: Uint8Array): Iterable<{ start: number; end: number }> {
  let start = -1
  for (let at = 0; at < chunk.length; at += BLOCK) {
    const empty = isZero(chunk.subarray(at, at + BLOCK))
    if (!empty && start < 0) start = at
    if (empty && start >= 0) {
      yield { start, end: at }
      start = -1
    }
  }
  if (start >= 0) yield { start, end: chunk.length }
}

async function holds(guest: GuestFs, path: GuestPath, offset: number, chunk: Uint8Array): Promise<boolean> {
  const old = new Uint8Array(chunk.length)
  let filled = 0
  while (filled < old.length) {
    const count = await guest.readAt(path, offset + filled, old.subarray(filled))
    if (count === 0) return false
    filled += count
  }
  return equalBytes(old, chunk)
}

/** Four bytes at a time where both are aligned; chunks are large. */

/** Bytes in memory as the content of a file. */
export function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    async *chunks() {
      yield bytes
    },
  }
}
