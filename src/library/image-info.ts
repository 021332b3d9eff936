import type { DiskImage } from '../device/block-device.ts'
import { isDrydiskError } from '../errors.ts'
import type { FileSystemUsage } from '../filesystem/filesystem.ts'
import { isSupported, openFileSystem } from '../filesystem/open.ts'
import type { GuestIdentity } from '../guest/identity.ts'
import { openGuest } from '../guest/open-guest.ts'
import { type GuestVolume, probeVolumes } from '../guest/volume-spec.ts'
import { type GuestFacts, readGuestFacts } from '../operations/guest-facts.ts'
import { readVolumes } from '../volume/read-volumes.ts'
import type { PhysicalVolume, Volume, VolumeGroup } from '../volume/volume.ts'
import { formatFacts } from './format-facts.ts'

/** What is on a volume, as blkid(8) and statfs(2) tell. */
export interface FileSystemInfo {
  readonly type: string
  readonly uuid: string
  readonly label: string
  /** Its journal has to be replayed. */
  readonly needsRecovery: boolean
  /** Bytes. Left out where drydisk does not read the filesystem. */
  readonly size?: number
  /** Bytes. */
  readonly free?: number
}

/** A volume of a disk, without its device. Offset and length are in bytes. */
export type VolumeInfo = Pick<
  Volume,
  'kind' | 'name' | 'aliases' | 'type' | 'typeName' | 'label' | 'uuid' | 'length' | 'unreadable' | 'readOnly'
> & {
  /** None of a logical volume. */
  readonly offset?: number
  readonly filesystem?: FileSystemInfo
}

/** A volume group of LVM, without its devices. Sizes are in bytes. */
export type VolumeGroupInfo = Omit<VolumeGroup, 'physicalVolumes'> & {
  readonly physicalVolumes: readonly (Omit<PhysicalVolume, 'free' | 'name'> & { readonly name?: string })[]
}

/** What system is on an image, and how it boots and mounts. */
export type GuestInfo = GuestIdentity &
  Omit<GuestFacts, 'warnings'> & {
    /** Name of the volume with the root filesystem. */
    readonly root: string
    readonly mounts: readonly { readonly path: string; readonly source: string; readonly type: string }[]
  }

/** All that can be told of an image without being asked for more: what `drydisk info --json` prints. */
export interface ImageInfo {
  /** As it was opened. */
  readonly image: string
  readonly format: string
  /** Bytes of the disk. */
  readonly virtualSize: number
  /** What only some formats have: of qcow2, the fields that "qemu-img info" gives the same name. */
  readonly formatSpecific?: Readonly<Record<string, unknown>>
  readonly backingFile?: string
  readonly snapshots: readonly { readonly id: string; readonly name: string }[]
  readonly table: 'gpt' | 'mbr' | 'none'
  readonly sectorSize: number
  readonly volumes: readonly VolumeInfo[]
  readonly groups: readonly VolumeGroupInfo[]
  /** Left out where no guest was found. */
  readonly guest?: GuestInfo
  /** Whole sentences. */
  readonly warnings: readonly string[]
}

/** Looks at a disk from its format to its guest. @param root as in `openGuest`. */
export async function readImageInfo(name: string, disk: DiskImage, root?: string): Promise<ImageInfo> {
  const { table, sectorSize, volumes, groups, warnings: tableWarnings } = await readVolumes(disk)
  const warnings = [...tableWarnings]
  const listed: VolumeInfo[] = []
  for (const volume of await probeVolumes(volumes)) {
    const { kind, name, aliases, type, typeName, label, uuid, offset, length, unreadable, readOnly } = volume
    const filesystem = await filesystemInfo(volume, warnings)
    listed.push({
      ...{ kind, name, aliases, type, typeName, label, uuid },
      ...(offset === undefined ? {} : { offset }),
      length,
      ...(unreadable === undefined ? {} : { unreadable }),
      ...(readOnly === undefined ? {} : { readOnly }),
      ...(filesystem ? { filesystem } : {}),
    })
  }
  const guest = await guestInfo(volumes, root, warnings)
  return {
    image: name,
    format: disk.format,
    virtualSize: disk.size,
    ...formatFacts(disk),
    table,
    sectorSize,
    volumes: listed,
    groups: groups.map(groupInfo),
    ...(guest ? { guest } : {}),
    warnings,
  }
}

async function guestInfo(
  volumes: readonly Volume[],
  root: string | undefined,
  warnings: string[],
): Promise<GuestInfo | undefined> {
  try {
    const opened = await openGuest(volumes, root === undefined ? {} : { root })
    try {
      const identity = await opened.identity()
      const mounts = opened.mounts.map(mount => ({
        path: mount.path,
        source: mount.source,
        type: mount.type,
      }))
      let guest: GuestInfo | undefined
      if (identity.id !== 'unknown' || identity.hostname !== '' || root !== undefined) {
        const { warnings: unread, ...facts } = await readGuestFacts(opened.fs)
        guest = { root: opened.fs.table.root.source, ...identity, mounts, ...facts }
        warnings.push(...unread)
      }
      warnings.push(...opened.warnings.filter(warning => !warnings.includes(warning)))
      return guest
    } finally {
      await opened.close()
    }
  } catch (error) {
    // An image need not hold a guest; why none was found is worth a word all the same.
    if (!isDrydiskError(error)) throw error
    warnings.push(error.message)
    return undefined
  }
}

function groupInfo({ physicalVolumes, ...group }: VolumeGroup): VolumeGroupInfo {
  return {
    ...group,
    physicalVolumes: physicalVolumes.map(({ uuid, name, extents, freeExtents }) => ({
      uuid,
      ...(name === undefined ? {} : { name }),
      extents,
      freeExtents,
    })),
  }
}

async function filesystemInfo(volume: GuestVolume, warnings: string[]): Promise<FileSystemInfo | undefined> {
  const { found } = volume
  if (!found) return undefined
  const { type, uuid, label, needsRecovery } = found
  const common = { type, uuid, label, needsRecovery }
  if (!isSupported(type)) return common
  try {
    const fs = await openFileSystem(volume.device, { writable: false, found })
    try {
      const usage: FileSystemUsage = await fs.statfs()
      return {
        ...common,
        type: fs.type,
        size: usage.blocks * usage.blockSize,
        free: usage.freeBlocks * usage.blockSize,
      }
    } finally {
      await fs.close()
    }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    warnings.push(`${volume.name}: ${error.message}`)
    return common
  }
}
