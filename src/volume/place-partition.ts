import type { Range } from '../bytes/range-set.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { SliceDevice } from '../device/slice-device.ts'
import { DISK_NAME, type Volume } from './volume.ts'

/** A volume that is one piece of the disk. */
type PlacedVolume = Volume & { readonly offset: number }

/** A partition as its table has it: not yet compared with the disk. */
export interface TableEntry {
  readonly number: number
  readonly type: string
  readonly typeName: string
  readonly label: string
  readonly uuid: string
  /** Bytes; may be anything. */
  readonly offset: number
  /** Bytes; may be anything. */
  readonly length: number
}

/**
 * Compares entries with the disk as the kernel does (blk_add_partition in block/partitions/core.c): one that begins past
 * the end is left out, one that ends past it is cut. Overlapping partitions stay, with a warning.
 */
export function placePartitions(
  disk: BlockDevice,
  entries: readonly TableEntry[],
  warnings: string[],
): Volume[] {
  const volumes: PlacedVolume[] = []
  for (const entry of entries) {
    const name = `${DISK_NAME}${entry.number}`
    if (!(entry.length > 0)) {
      warnings.push(`${name} ends before it begins and is left out.`)
      continue
    }
    if (!(entry.offset < disk.size)) {
      warnings.push(`${name} begins past the end of the disk and is left out.`)
      continue
    }
    const length = Math.min(entry.length, disk.size - entry.offset)
    if (length < entry.length)
      warnings.push(
        `${name} ends ${entry.length - length} bytes past the end of the disk (was the image cut?); it is taken as shorter.`,
      )
    volumes.push(volumeAt(disk, { ...entry, kind: 'partition', name, length }))
  }
  warnAboutOverlaps(volumes, warnings)
  return volumes
}

export function volumeAt(disk: BlockDevice, place: TableEntry & Pick<Volume, 'kind' | 'name'>): PlacedVolume {
  const { offset, length } = place
  return {
    ...place,
    aliases: [],
    device: new SliceDevice(disk, offset, length),
    *places(from: number, size: number): Iterable<Range> {
      yield { start: offset + from, end: offset + from + size }
    },
  }
}

function warnAboutOverlaps(volumes: readonly PlacedVolume[], warnings: string[]): void {
  const ordered = [...volumes].sort((a, b) => a.offset - b.offset)
  let reaching: PlacedVolume | undefined
  for (const volume of ordered) {
    if (reaching !== undefined && volume.offset < reaching.offset + reaching.length)
      warnings.push(`${volume.name} overlaps ${reaching.name}: writing to one changes the other.`)
    if (reaching === undefined || volume.offset + volume.length > reaching.offset + reaching.length)
      reaching = volume
  }
}
