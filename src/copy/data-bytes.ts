import type { RangeSet } from '../bytes/range-set.ts'
import type { BlockDevice } from '../device/block-device.ts'

/** Bytes that a disk holds data for, by its tables alone: of `only`, or everywhere without it. */
export async function dataBytes(disk: BlockDevice, only?: RangeSet): Promise<number> {
  let total = 0
  for await (const { kind, offset, length } of disk.extents(0, disk.size)) {
    if (kind !== 'data') continue
    if (only === undefined) total += length
    else for (const { start, end } of only.ranges(offset, offset + length)) total += end - start
  }
  return total
}
