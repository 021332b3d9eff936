import type { FileExtent } from '../filesystem.ts'
import { decompressExtent } from './decompress.ts'
import { corrupt } from './errors.ts'
import { type FileExtentItem, parseFileExtent } from './file-extent.ts'
import { hasDataChecksums, type InodeItem } from './inode-item.ts'
import { ITEM } from './key.ts'
import type { Tree } from './tree.ts'
import type { BtrfsVolume } from './volume.ts'

/** A file's inode, and the tree that it is in. */
export interface FileSource {
  readonly tree: Tree
  readonly objectid: bigint
  readonly inode: InodeItem
}

interface Piece {
  /** Byte offset in the file. */
  readonly offset: number
  readonly length: number
  /** `undefined`: a hole, for which NO_HOLES has no item. */
  readonly extent: FileExtentItem | undefined
}

/** The file's content from one byte up to another, gapless. */
async function* pieces(
  { tree, objectid }: FileSource,
  from: number,
  to: number,
  sectorsize: number,
): AsyncIterable<Piece> {
  const key = (offset: number) => ({ objectid, type: ITEM.EXTENT_DATA, offset: BigInt(offset) })
  const before = await tree.floor(key(from))
  const isOwn = before?.key.objectid === objectid && before.key.type === ITEM.EXTENT_DATA
  let at = from
  let end = 0
  for await (const item of tree.range(isOwn ? before.key : key(from), key(to - 1))) {
    const extent = parseFileExtent(item, sectorsize)
    const { fileOffset, length } = extent
    if (fileOffset < end)
      throw corrupt(
        'file extent',
        `inode ${objectid}: the extent at ${fileOffset} overlaps the one before, which ends at ${end}`,
      )
    end = fileOffset + length
    if (end <= at) continue
    if (fileOffset > at) yield { offset: at, length: fileOffset - at, extent: undefined }
    const start = Math.max(at, fileOffset)
    at = Math.min(end, to)
    yield { offset: start, length: at - start, extent }
  }
  if (at < to) yield { offset: at, length: to - at, extent: undefined }
}

export async function readData(
  volume: BtrfsVolume,
  source: FileSource,
  offset: number,
  into: Uint8Array,
): Promise<number> {
  const end = Math.min(source.inode.size, offset + into.length)
  if (end <= offset) return 0
  const { sectorsize } = volume.superblock
  const checked = hasDataChecksums(source.inode)
  for await (const piece of pieces(source, offset, end, sectorsize)) {
    const target = into.subarray(piece.offset - offset, piece.offset - offset + piece.length)
    const content = piece.extent?.content
    const within = piece.offset - (piece.extent?.fileOffset ?? 0)
    if (content?.kind === 'regular') await volume.data.read(content, within, target, checked)
    else {
      target.fill(0)
      if (content?.kind !== 'inline') continue
      const { compression, bytes, ramBytes } = content
      const plain =
        compression === undefined ? bytes : await decompressExtent(compression, bytes, ramBytes, sectorsize)
      target.set(plain.subarray(within, within + target.length))
    }
  }
  return end - offset
}

/** Runs of the file's content; neighbours that continue each other are one. */
export async function* dataExtents(volume: BtrfsVolume, source: FileSource): AsyncIterable<FileExtent> {
  let last: FileExtent | undefined
  const { size } = source.inode
  if (size === 0) return
  for await (const piece of pieces(source, 0, size, volume.superblock.sectorsize))
    for (const run of runsOf(volume, piece)) {
      if (last !== undefined && continues(last, run)) last = { ...last, length: last.length + run.length }
      else {
        if (last !== undefined) yield last
        last = run
      }
    }
  if (last !== undefined) yield last
}

/** A piece of an extent may be in several places of the volume; a compressed one is in none that shows its bytes. */
function* runsOf(volume: BtrfsVolume, { offset, length, extent }: Piece): Iterable<FileExtent> {
  const content = extent?.content
  if (extent === undefined || content === undefined || content.kind === 'hole') {
    yield { offset, length, kind: 'hole' }
    return
  }
  if (content.kind === 'inline') {
    yield { offset, length, kind: 'inline' }
    return
  }
  const kind = content.kind === 'regular' ? 'data' : 'unwritten'
  if (content.compression !== undefined) {
    yield { offset, length, kind }
    return
  }
  const logical = content.diskBytenr + content.offset - extent.fileOffset
  for (let at = offset; at < offset + length; ) {
    const place = volume.map.place(logical + at, offset + length - at)
    yield { offset: at, length: place.length, kind, deviceOffset: place.copies[0] ?? 0 }
    at += place.length
  }
}

function continues(last: FileExtent, run: FileExtent): boolean {
  if (last.kind !== run.kind) return false
  if (last.deviceOffset === undefined || run.deviceOffset === undefined)
    return last.deviceOffset === run.deviceOffset
  return last.deviceOffset + last.length === run.deviceOffset
}
