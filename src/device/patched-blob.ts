import type { PatchedStorage } from './patched-storage.ts'

/**
 * What a patched storage holds, as a `Blob`: it refers to the original for all that did not change, so that putting several
 * gigabytes together takes the memory of the changes alone.
 * @param original what lies below the patched storage.
 */
export function patchedBlob(original: Blob, patched: PatchedStorage): Blob {
  const parts: (Blob | Uint8Array<ArrayBuffer>)[] = []
  for (const piece of patched.pieces())
    parts.push(
      piece.from === 'below'
        ? original.slice(piece.offset, piece.offset + piece.length)
        : // Made for this piece alone, so never shared memory, which a Blob does not take.
          (piece.bytes as Uint8Array<ArrayBuffer>),
    )
  return new Blob(parts, { type: 'application/octet-stream' })
}
