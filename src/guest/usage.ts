import { isDrydiskError } from '../errors.ts'
import type { FileSystem, FileSystemUsage } from '../filesystem/filesystem.ts'
import { isSupported, openFileSystem } from '../filesystem/open.ts'
import type { Volume } from '../volume/volume.ts'
import type { Guest } from './open-guest.ts'
import { splitSource } from './subvolumes.ts'
import { type GuestVolume, probeVolumes, whyNot } from './volume-spec.ts'

/** How full a filesystem is. */
export interface VolumeUsage {
  /** As the guest names it: `/dev/sda1`. */
  readonly volume: string
  readonly type: string
  /** Where the guest mounts it, where it does. */
  readonly mounted: readonly string[]
  /** `undefined` where it cannot be told. */
  readonly usage: FileSystemUsage | undefined
  /** Why it cannot be told, in words that follow the name. */
  readonly problem?: string
}

/**
 * Every filesystem of a disk, mounted by its guest or not, in the order of the volumes. Swap space, members of volume groups
 * and volumes without a signature are none.
 * @param guest of the same disk, for the places where it mounts them.
 */
export async function diskUsage(disk: readonly Volume[], guest?: Guest): Promise<VolumeUsage[]> {
  const usages: VolumeUsage[] = []
  for (const volume of await probeVolumes(disk)) {
    const { found } = volume
    if (found === undefined || (found.usage !== 'filesystem' && found.usage !== 'encrypted')) continue
    const mounts = guest?.mounts.filter(({ source }) => splitSource(source).spec === volume.name) ?? []
    usages.push({
      volume: volume.name,
      type: found.type,
      mounted: mounts.map(mount => mount.path),
      ...(await usageOf(volume, mounts.find(mount => mount.fs !== undefined)?.fs)),
    })
  }
  return usages
}

async function usageOf(
  volume: GuestVolume,
  open: FileSystem | undefined,
): Promise<Pick<VolumeUsage, 'usage' | 'problem'>> {
  if (open !== undefined) return { usage: await open.statfs() }
  if (volume.unreadable !== undefined || !isSupported(volume.found?.type ?? ''))
    return { usage: undefined, problem: whyNot(volume) }
  try {
    const fs = await openFileSystem(volume.device, { writable: false, found: volume.found })
    try {
      return { usage: await fs.statfs() }
    } finally {
      await fs.close()
    }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return { usage: undefined, problem: `cannot be opened: ${error.message}` }
  }
}
