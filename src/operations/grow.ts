import type { BlockDevice } from '../device/block-device.ts'
import { SliceDevice } from '../device/slice-device.ts'
import { DrydiskError } from '../errors.ts'
import { type GrownXfs, growXfs } from '../filesystem/xfs/grow.ts'
import { findVolume, type GuestVolume, probeVolumes, whyNot } from '../guest/volume-spec.ts'
import { growPartition, type PartitionGrowth } from '../volume/grow-partition.ts'
import { readVolumes } from '../volume/read-volumes.ts'
import type { VolumeList } from '../volume/volume.ts'

/** What `grow` takes. */
export interface GrowOptions {
  /** As an fstab names it: `/dev/sda3`, `/dev/vg/root`, `UUID=…`. What can grow, where only one filesystem can, when left out. */
  readonly volume?: string
  /** The partition keeps its size, and its filesystem grows to the end of it. */
  readonly keepPartition?: boolean
}

/** What `grow` did. */
export interface Grown {
  /** `/dev/sda3` */
  readonly volume: string
  readonly type: 'xfs'
  /** Where it lies in a partition that was to grow. */
  readonly partition?: PartitionGrowth
  readonly filesystem: GrownXfs
  /** What is odd about the disk, as whole sentences. */
  readonly warnings: readonly string[]
}

/**
 * Makes a filesystem on a disk, and the partition that it lies in, as large as there is room behind them.
 *
 * `ERR_UNSUPPORTED` for a filesystem that is no XFS; `ERR_INVALID_ARGUMENT` for a volume that is not there, and where it has to be said
 * which is meant; else as `growXfs` and `growPartition`.
 */
export async function grow(disk: BlockDevice, options: GrowOptions = {}): Promise<Grown> {
  const list = await readVolumes(disk)
  const volumes = await probeVolumes(list.volumes)
  const chosen = options.volume === undefined ? onlyXfs(volumes) : named(volumes, options.volume)
  const partition =
    chosen.kind === 'partition' && chosen.number !== undefined && !options.keepPartition
      ? await growAround(disk, list, chosen, chosen.number)
      : undefined
  const device =
    partition === undefined || chosen.offset === undefined
      ? chosen.device
      : new SliceDevice(disk, chosen.offset, partition.after)
  const filesystem = await growXfs(device)
  // What was odd before, such as a backup of the table that is not at the end, may be mended.
  const { warnings } = await readVolumes(disk)
  return {
    volume: chosen.name,
    type: 'xfs',
    ...(partition === undefined ? {} : { partition }),
    filesystem,
    warnings,
  }
}

/** A filesystem that is longer than its partition was cut off: that is for growXfs to say, before anything is written. */
async function growAround(
  disk: BlockDevice,
  list: VolumeList,
  chosen: GuestVolume,
  number: number,
): Promise<PartitionGrowth> {
  if (list.table !== 'mbr' || number <= 4) return growPartition(disk, list, number)
  return { before: chosen.length, after: chosen.length, limit: 'a logical partition of an MBR does' }
}

function named(volumes: readonly GuestVolume[], spec: string): GuestVolume {
  const found = findVolume(volumes, spec)
  if (found === undefined)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `there is no volume ${JSON.stringify(spec)} on this disk: it has ${volumes.map(({ name }) => name).join(', ') || 'none'}`,
      { volume: spec },
    )
  if (found.unreadable !== undefined || found.readOnly !== undefined)
    throw new DrydiskError('ERR_UNSUPPORTED', `${found.name} ${found.unreadable ?? found.readOnly}`)
  if (found.found?.type !== 'xfs')
    throw new DrydiskError('ERR_UNSUPPORTED', `${found.name} ${whyNotGrown(found)}`, {
      volume: found.name,
      type: found.found?.type,
    })
  return found
}

function whyNotGrown(volume: GuestVolume): string {
  const { found } = volume
  if (found?.usage !== 'filesystem') return whyNot(volume)
  if (/^ext[234]$/.test(found.type))
    return `holds ${found.type}, and drydisk makes XFS larger, not ${found.type}: in the guest, growpart and resize2fs do it`
  return `holds ${found.type}, and drydisk makes XFS larger, not ${found.type}`
}

/** Where there are several, the one with room behind it is meant: the last one of the disk. */
function onlyXfs(volumes: readonly GuestVolume[]): GuestVolume {
  const growable = volumes.filter(
    ({ found, unreadable, readOnly }) =>
      found?.type === 'xfs' && unreadable === undefined && readOnly === undefined,
  )
  const [first, ...more] = growable
  if (first === undefined) {
    const held = volumes.map(volume => `${volume.name} ${whyNotGrown(volume)}`)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `there is no XFS filesystem on this disk to make larger${held.length > 0 ? `: ${held.join('; ')}` : ''}`,
    )
  }
  if (more.length === 0) return first
  const last = growable.reduce((a, b) => ((b.offset ?? 0) > (a.offset ?? 0) ? b : a))
  const logical = growable.filter(({ offset }) => offset === undefined)
  if (logical.length > 0)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `which filesystem is to become larger? There are ${growable.map(({ name }) => name).join(', ')}: name one of them`,
    )
  return last
}
