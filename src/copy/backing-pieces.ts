import type { BlockDevice } from '../device/block-device.ts'
import { imageChain } from './image-chain.ts'
import { partOf, type SourcePiece } from './source-pieces.ts'

/**
 * The layer of the source that is the target's backing file: what it and those below answer need not be in the target.
 * `undefined` when it is none of them.
 */
export function sharedLayer(source: BlockDevice, backing: BlockDevice): number | undefined {
  const [wanted] = imageChain(backing)
  const identity = wanted?.[0]?.identity
  if (identity === undefined) return undefined
  const layer = imageChain(source).findIndex(([storage]) => storage?.identity === identity)
  // The same file as the top layer is the whole source: comparing finds everything equal.
  return layer > 0 ? layer : undefined
}

/** Pieces for a target over a backing file: zeros may be left out only where that reads as zeros too. */
export async function backedPieces(
  pieces: readonly SourcePiece[],
  backing: BlockDevice,
  shared: number | undefined,
  allocate: boolean,
): Promise<readonly SourcePiece[]> {
  const planned: SourcePiece[] = []
  for (const piece of pieces) {
    if (shared !== undefined && piece.depth >= shared) planned.push({ ...piece, leave: true })
    else if (piece.kind !== 'zero' || allocate) planned.push({ ...piece, leave: false })
    else {
      const end = piece.offset + piece.length
      const stop = Math.min(end, Math.max(piece.offset, backing.size))
      if (stop > piece.offset)
        for await (const extent of backing.extents(piece.offset, stop - piece.offset))
          planned.push({
            ...partOf(piece, extent.offset, extent.offset + extent.length),
            leave: extent.kind === 'zero',
          })
      if (end > stop) planned.push({ ...partOf(piece, stop, end), leave: true })
    }
  }
  return planned
}
