import type { FileExtent } from '../filesystem.ts'
import { DIFLAG, type Dinode } from './dinode.ts'
import { unsupported } from './errors.ts'
import { ForkMap } from './fork-map.ts'
import type { XfsVolume } from './volume.ts'

function mapOf(volume: XfsVolume, inode: Dinode): ForkMap {
  if ((inode.di_flags & DIFLAG.REALTIME) !== 0)
    throw unsupported(
      `the content of inode ${inode.ino} is on the real-time device, which is not in this volume`,
      { inode: inode.ino },
    )
  return new ForkMap(volume, inode, inode.data)
}

/** Fills what there is of `into` from byte `offset`; holes and unwritten extents are zeros. */
export async function readData(
  volume: XfsVolume,
  inode: Dinode,
  offset: number,
  into: Uint8Array,
): Promise<number> {
  const end = Math.min(inode.di_size, offset + into.length)
  if (end <= offset) return 0
  const { blockSize } = volume.geometry
  const [first, last] = [Math.floor(offset / blockSize), Math.ceil(end / blockSize)]
  for await (const { logical, count, block, unwritten } of mapOf(volume, inode).runs(first, last)) {
    const start = Math.max(offset, logical * blockSize)
    const stop = Math.min(end, (logical + count) * blockSize)
    const target = into.subarray(start - offset, stop - offset)
    if (block === undefined || unwritten) target.fill(0)
    else await volume.device.read(block * blockSize + (start - logical * blockSize), target)
  }
  return end - offset
}

/** Runs of the file's content up to its size; neighbours that continue each other are one. */
export async function* dataExtents(volume: XfsVolume, inode: Dinode): AsyncIterable<FileExtent> {
  const { blockSize } = volume.geometry
  const { di_size } = inode
  if (di_size === 0) return
  let held: FileExtent | undefined
  for await (const run of mapOf(volume, inode).runs(0, Math.ceil(di_size / blockSize))) {
    const offset = run.logical * blockSize
    const length = Math.min(di_size, offset + run.count * blockSize) - offset
    const next: FileExtent =
      run.block === undefined
        ? { offset, length, kind: 'hole' }
        : { offset, length, kind: run.unwritten ? 'unwritten' : 'data', deviceOffset: run.block * blockSize }
    if (held !== undefined && continues(held, next)) held = { ...held, length: held.length + length }
    else {
      if (held !== undefined) yield held
      held = next
    }
  }
  if (held !== undefined) yield held
}

function continues(held: FileExtent, next: FileExtent): boolean {
  if (held.kind !== next.kind) return false
  if (held.deviceOffset === undefined || next.deviceOffset === undefined) return held.kind === 'hole'
  return held.deviceOffset + held.length === next.deviceOffset
}
