import type { RangeSet } from '../bytes/range-set.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { type MappedRun, runsOf } from '../device/mapped-runs.ts'
import type { Storage } from '../device/storage.ts'

/** A run of the target and where its bytes come from. Pieces are gapless and in order; offsets are the target's. */
export type SourcePiece =
  | (PiecePlace & { readonly kind: 'zero' })
  | (PiecePlace & { readonly kind: 'data'; readonly storage: Storage; readonly host: number })
  | (PiecePlace & Compressed)
  /** To be read through a source: `host` is the offset in it. */
  | (PiecePlace & { readonly kind: 'device'; readonly device: BlockDevice; readonly host: number })

interface Compressed {
  readonly kind: 'compressed'
  readonly storage: Storage
  readonly host: number
  /** Stored bytes that the stream may take. */
  readonly stored: number
  /** As `stored`, but no longer than up to the stream that begins in the last sector. */
  readonly exact: number
  readonly within: number
  readonly clusterSize: number
  readonly compression: 'zlib' | 'zstd'
}

interface PiecePlace {
  readonly offset: number
  /** Bytes; never 0. */
  readonly length: number
  /** The layer that answers. */
  readonly depth: number
  /** Whether the target may have nothing of its own for it. */
  readonly leave: boolean
}

/** Each source but the last is as long as its whole sectors, as for qemu-img: a disk has no half sector. */
export function sourceSize(sources: readonly BlockDevice[], index: number): number {
  const size = sources[index]?.size ?? 0
  return index === sources.length - 1 ? size : Math.ceil(size / 512) * 512
}

/**
 * The sources one after another.
 * @param free ranges that read as zeros whatever the sources say, in bytes of the target.
 * @param allocate whether zeros are to be in the target too.
 */
export async function* sourcePieces(
  sources: readonly BlockDevice[],
  free: RangeSet | undefined,
  allocate: boolean,
): AsyncIterable<readonly SourcePiece[]> {
  let start = 0
  for (const [index, device] of sources.entries()) {
    for await (const runs of runsOf(device, 0, device.size)) {
      const pieces = runs.map((run, at) => pieceOf(run, runs[at + 1], device, start, !allocate))
      yield free === undefined ? pieces : pieces.flatMap(piece => withoutFree(piece, free, !allocate))
    }
    const size = sourceSize(sources, index)
    if (size > device.size) yield [zeroPiece(start + device.size, size - device.size, !allocate)]
    start += size
  }
}

function zeroPiece(offset: number, length: number, leave: boolean): SourcePiece {
  return { kind: 'zero', offset, length, depth: 0, leave }
}

/** Property by property: a literal that adds to a spread is slow, and there may be millions. */
function pieceOf(
  run: MappedRun,
  next: MappedRun | undefined,
  device: BlockDevice,
  start: number,
  leave: boolean,
): SourcePiece {
  const offset = start + run.offset
  const { length, depth } = run
  if (run.kind === 'zero') return { kind: 'zero', offset, length, depth, leave }
  if (run.kind === 'staged')
    return { kind: 'device', offset, length, depth, leave: false, device, host: run.offset }
  const { storage, host } = run
  if (run.kind === 'data') return { kind: 'data', offset, length, depth, leave: false, storage, host }
  return {
    kind: 'compressed',
    offset,
    length,
    depth,
    leave: false,
    storage,
    host,
    stored: run.stored,
    exact: exactLength(run, next),
    within: run.within,
    clusterSize: run.clusterSize,
    compression: run.compression,
  }
}

/**
 * The entry counts sectors, and the stream ends somewhere in the last of them. Only there may another one begin (qcow2
 * specification, "Compressed Clusters Descriptor"), so one that does tells where this one ends at the latest.
 */
function exactLength(run: Extract<MappedRun, { kind: 'compressed' }>, next: MappedRun | undefined): number {
  if (next?.kind !== 'compressed' || next.storage !== run.storage) return run.stored
  const distance = next.host - run.host
  return distance > run.stored - 512 && distance > 0 && distance < run.stored ? distance : run.stored
}

function withoutFree(piece: SourcePiece, free: RangeSet, leave: boolean): SourcePiece[] {
  const end = piece.offset + piece.length
  if (piece.kind === 'zero' || !free.intersects(piece.offset, end)) return [piece]
  return [...free.segments(piece.offset, end)].map(segment =>
    segment.inside
      ? zeroPiece(segment.start, segment.end - segment.start, leave)
      : partOf(piece, segment.start, segment.end),
  )
}

/** The part of a piece between two offsets of the target. */
export function partOf<Piece extends SourcePiece>(piece: Piece, start: number, end: number): Piece {
  const length = end - start
  if (piece.offset === start && piece.length === length) return piece
  const skipped = start - piece.offset
  if (piece.kind === 'zero') return { ...piece, offset: start, length }
  if (piece.kind === 'compressed') return { ...piece, offset: start, length, within: piece.within + skipped }
  return { ...piece, offset: start, length, host: piece.host + skipped }
}
