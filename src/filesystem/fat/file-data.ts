import { DrydiskError } from '../../errors.ts'
import type { FileExtent } from '../filesystem.ts'
import type { ClusterChain } from './cluster-chain.ts'
import { ATTR, type ShortEntry } from './directory-entry.ts'
import { type FatNode, type FatVolume, MOST_FILE_BYTES } from './volume.ts'

export function requireOffset(offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0)
    throw new DrydiskError('EINVAL', `${offset} is not an offset in a file`, { offset })
}

/** The entry of a file; `EISDIR` for a directory. */
function fileEntry(node: FatNode): ShortEntry {
  if (node.entry === undefined || node.isDirectory)
    throw new DrydiskError('EISDIR', `inode ${node.ino} is a directory`, { inode: node.ino })
  return node.entry
}

/** The chain of a file. `ERR_CORRUPT` when it is shorter than the file's size: what is missing is not known to be zeros. */
async function fileChain(volume: FatVolume, node: FatNode, entry: ShortEntry): Promise<ClusterChain> {
  const { geometry } = volume
  const chain = await volume.chain(entry.cluster(geometry.bits), node.ino)
  const needed = geometry.clustersFor(entry.DIR_FileSize)
  if (chain.length < needed)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `FAT: file ${node.ino} has ${entry.DIR_FileSize} bytes and only ${chain.length} of the ${needed} clusters that they need; run fsck.fat`,
      { structure: 'cluster chain', inode: node.ino },
    )
  return chain
}

/** The pieces of the volume that hold bytes `from` up to `to` of a chain. */
function* pieces(
  volume: FatVolume,
  chain: ClusterChain,
  from: number,
  to: number,
): IterableIterator<{ readonly at: number; readonly deviceOffset: number; readonly length: number }> {
  const { geometry } = volume
  const { clusterSize } = geometry
  let at = from
  for (const { cluster, count } of chain.slice(Math.floor(from / clusterSize), geometry.clustersFor(to))) {
    const within = at % clusterSize
    const length = Math.min(count * clusterSize - within, to - at)
    if (length <= 0) return
    yield { at, deviceOffset: geometry.offsetOf(cluster) + within, length }
    at += length
  }
}

export async function readData(
  volume: FatVolume,
  node: FatNode,
  offset: number,
  into: Uint8Array,
): Promise<number> {
  requireOffset(offset)
  const entry = fileEntry(node)
  const end = Math.min(entry.DIR_FileSize, offset + into.length)
  if (end <= offset) return 0
  const chain = await fileChain(volume, node, entry)
  for (const { at, deviceOffset, length } of pieces(volume, chain, offset, end))
    await volume.device.read(deviceOffset, into.subarray(at - offset, at - offset + length))
  return end - offset
}

export async function* dataExtents(volume: FatVolume, node: FatNode): AsyncIterable<FileExtent> {
  const entry = fileEntry(node)
  if (entry.DIR_FileSize === 0) return
  const chain = await fileChain(volume, node, entry)
  for (const { at, deviceOffset, length } of pieces(volume, chain, 0, entry.DIR_FileSize))
    yield { offset: at, length, kind: 'data', deviceOffset }
}

/** FAT has no holes: a gap is filled with zeros. */
export async function writeData(
  volume: FatVolume,
  node: FatNode,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  requireOffset(offset)
  const entry = fileEntry(node)
  if (from.length === 0) return
  const end = offset + from.length
  const chain = await grow(volume, node, entry, end)
  await zero(volume, chain, entry.DIR_FileSize, offset)
  for (const { at, deviceOffset, length } of pieces(volume, chain, offset, end))
    await volume.device.write(deviceOffset, from.subarray(at - offset, at - offset + length))
  await changed(volume, node, chain, Math.max(end, entry.DIR_FileSize))
}

export async function truncateData(volume: FatVolume, node: FatNode, size: number): Promise<void> {
  requireOffset(size)
  const entry = fileEntry(node)
  const { geometry } = volume
  if (size > entry.DIR_FileSize) {
    const chain = await grow(volume, node, entry, size)
    await zero(volume, chain, entry.DIR_FileSize, size)
    return changed(volume, node, chain, size)
  }
  // A chain that is shorter than the size may be cut to what there is.
  const chain = await volume.chain(entry.cluster(geometry.bits), node.ino)
  if (geometry.clustersFor(size) > chain.length) await fileChain(volume, node, entry)
  await volume.cut(chain, geometry.clustersFor(size))
  await changed(volume, node, chain, size)
}

/** Frees all clusters of a file whose name goes. */
export async function freeData(volume: FatVolume, node: FatNode): Promise<void> {
  const first = fileEntry(node).cluster(volume.geometry.bits)
  await volume.cut(await volume.chain(first, node.ino), 0)
}

/** Clusters for `end` bytes, where there are fewer; `EFBIG` and `ENOSPC` before anything changes. */
async function grow(volume: FatVolume, node: FatNode, entry: ShortEntry, end: number): Promise<ClusterChain> {
  if (end > MOST_FILE_BYTES)
    throw new DrydiskError('EFBIG', `FAT: a file holds 4 GiB - 1 at most, not ${end} bytes`, {
      inode: node.ino,
    })
  const chain = await fileChain(volume, node, entry)
  const { geometry } = volume
  const needed = geometry.clustersFor(end)
  if (needed <= chain.length) return chain
  await volume.extend(chain, needed - chain.length)
  // What is behind the end in the last cluster is another file's past.
  const slack = needed * geometry.clusterSize - end
  for (const { deviceOffset, length } of pieces(volume, chain, end, end + slack))
    await volume.device.erase(deviceOffset, length)
  return chain
}

async function zero(volume: FatVolume, chain: ClusterChain, from: number, to: number): Promise<void> {
  if (to <= from) return
  for (const { deviceOffset, length } of pieces(volume, chain, from, to))
    await volume.device.erase(deviceOffset, length)
}

async function changed(volume: FatVolume, node: FatNode, chain: ClusterChain, size: number): Promise<void> {
  const [first] = chain.slice(0, 1)
  const entry = await volume.editEntry(node.place)
  entry.setCluster(first?.cluster ?? 0, volume.geometry.bits)
  entry.DIR_FileSize = size
  entry.DIR_Attr |= ATTR.ARCHIVE
  entry.modified = volume.now()
}
