import type { BlockDevice } from '../../device/block-device.ts'
import type { BlockNumber } from './context.ts'

/** Bytes of one write when neighbouring blocks are replayed. */
const WRITE_BYTES = 1 << 20

/**
 * Writes the journalled blocks to where they belong, in the order of the volume, and flushes.
 * @param recovered reads as the volume after replay: the overlay.
 */
export async function writeHome(
  device: BlockDevice,
  recovered: BlockDevice,
  blocks: ReadonlyMap<BlockNumber, unknown>,
  blockSize: number,
): Promise<void> {
  const order = [...blocks.keys()].sort((a, b) => a - b)
  const most = Math.max(1, Math.floor(WRITE_BYTES / blockSize))
  for (let at = 0; at < order.length; ) {
    const first = order[at] ?? 0
    let count = 1
    while (count < most && order[at + count] === first + count) count++
    const bytes = new Uint8Array(count * blockSize)
    await recovered.read(first * blockSize, bytes)
    await device.write(first * blockSize, bytes)
    at += count
  }
  await device.flush()
}
