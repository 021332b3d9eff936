import { isZero } from '../bytes/compare.ts'
import type { PageOverlay } from './page-overlay.ts'
import type { Storage } from './storage.ts'
import { zeros } from './zeros.ts'

/** Runs that follow one another are written together, up to this many bytes at a time. */
const TRANSFER = 2 << 20
/** Whether there are zeros already is looked at in pieces of this many bytes. */
const ZERO_UNIT = 64 << 10

/**
 * Brings what an overlay stages into the file that it lies over. Doing it again, or again after a part was done, gives the
 * same: what is written is the content afterwards, never a change of it.
 */
export async function applyOverlay(overlay: PageOverlay, file: Storage): Promise<void> {
  for (const { start, end } of erasedRuns(overlay)) await writeZeros(file, start, end)
  for (const { start, end } of stagedRuns(overlay)) {
    for (let at = start; at < end; ) {
      const bytes = new Uint8Array(Math.min(TRANSFER, end - at))
      await overlay.read(at, bytes)
      await file.write(at, bytes)
      at += bytes.length
    }
  }
  if (file.size !== overlay.size) await file.truncate(overlay.size)
}

interface Run {
  readonly start: number
  readonly end: number
}

/** What pages stage, as merged runs in order. */
function* stagedRuns(overlay: PageOverlay): IterableIterator<Run> {
  let run: { start: number; end: number } | undefined
  for (const segment of overlay.segments(0, overlay.size)) {
    if (segment.page === undefined) continue
    if (run !== undefined && run.end === segment.start) run.end = segment.end
    else {
      if (run !== undefined) yield run
      run = { start: segment.start, end: segment.end }
    }
  }
  if (run !== undefined) yield run
}

/** What is to read as zeros and lies in the base; what lies past it does so anyway. */
function* erasedRuns(overlay: PageOverlay): IterableIterator<Run> {
  for (const { start, end, page, zero } of overlay.segments(0, Math.min(overlay.size, overlay.baseSize)))
    if (page === undefined && zero) yield { start, end }
}

/** Writes only where there are no zeros yet: a hole in a sparse file stays one. */
async function writeZeros(file: Storage, start: number, end: number): Promise<void> {
  const limit = Math.min(end, file.size)
  const found = new Uint8Array(Math.max(0, Math.min(TRANSFER, limit - start)))
  for (let at = start; at < limit; at += found.length) {
    const chunk = found.subarray(0, Math.min(found.length, limit - at))
    await file.read(at, chunk)
    for (let piece = 0; piece < chunk.length; piece += ZERO_UNIT) {
      const bytes = chunk.subarray(piece, piece + ZERO_UNIT)
      if (!isZero(bytes)) await file.write(at + piece, zeros(bytes.length))
    }
  }
}
