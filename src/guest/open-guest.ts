import { printable } from '../bytes/names.ts'
import { isDrydiskError } from '../errors.ts'
import { subvolumeOptions } from '../filesystem/btrfs/mount-options.ts'
import type { FileSystem } from '../filesystem/filesystem.ts'
import { isSupported, isWritable, openFileSystem } from '../filesystem/open.ts'
import type { Volume } from '../volume/volume.ts'
import { findRoot } from './find-root.ts'
import { type FstabEntry, isMountedAtBoot, parseFstab } from './fstab.ts'
import { type GuestIdentity, readIdentity } from './identity.ts'
import { type Mount, MountTable } from './mount-table.ts'
import { MountedGuest } from './mounted-guest.ts'
import { mountOptionsOf, sourceText, subvolumeOf } from './subvolumes.ts'
import { findVolume, type GuestVolume, probeVolumes, whyNot } from './volume-spec.ts'
import { walk } from './walk.ts'

/** What `openGuest` takes. */
export interface OpenGuestOptions {
  /** Default false. The volumes' devices have to be writable then. */
  readonly writable?: boolean
  /** Name of the volume with the root filesystem, `/dev/sda2` or `/dev/sda2[/subvolume]`, where it is not to be found by itself. */
  readonly root?: string
}

/** The installed system on a disk, with what its fstab mounts. */
export interface Guest {
  readonly fs: MountedGuest
  /** Name of the volume of the root filesystem. Its mount's source also says which subvolume of btrfs: `/dev/sda3[/root]`. */
  readonly rootVolume: string
  readonly mounts: readonly Mount[]
  /** Every volume of the disk, with what is on it. */
  readonly volumes: readonly GuestVolume[]
  /** What could not be mounted, and why; what is odd about a filesystem. */
  readonly warnings: readonly string[]
  identity(): Promise<GuestIdentity>
  /** Writes what the filesystems hold in memory to their volumes. */
  sync(): Promise<void>
  /** Work on the volumes themselves that `close` does, in order, when no filesystem is open any more. */
  afterClose(work: () => Promise<void>): void
  /** Lets go of the filesystems; their volumes stay open. */
  close(): Promise<void>
}

/**
 * Finds the root filesystem among the volumes of a disk and mounts what its fstab names. What fstab names and drydisk cannot read
 * is mounted too: every access below it is `ERR_UNSUPPORTED` with its name, never the directory that it would cover.
 */
export async function openGuest(disk: readonly Volume[], options: OpenGuestOptions = {}): Promise<Guest> {
  const volumes = await probeVolumes(disk)
  const writable = options.writable ?? false
  const { volume, subvolume, fs } = await findRoot(volumes, { ...options, writable })
  const table = new MountTable({ fs, source: sourceText({ volume, subvolume }) })
  const guest = new MountedGuest(table)
  const warnings = [...warningsOf(fs, volume.name)]
  const opened = new Map<string, FileSystem>([[openedKey(volume, mountOptionsOf({ volume, subvolume })), fs]])
  try {
    for (const entry of await fstabOf(guest, warnings)) {
      const found = findVolume(volumes, entry.spec)
      const place = await mountPoint(table, entry, warnings)
      if (!place || (found === undefined && entry.options.includes('nofail'))) continue
      const mount = await openMount(entry, found, opened, writable)
      if (mount.fs && found) {
        const added = warningsOf(mount.fs, found.name)
        if (writable && !mount.fs.writable)
          added.push(
            `${found.name} ${found.readOnly ?? `is ${mount.type}, which drydisk does not write`}: ${printable(entry.file)} is read-only here`,
          )
        // Two subvolumes of one filesystem say the same.
        warnings.push(...added.filter(warning => !warnings.includes(warning)))
      }
      table.add({ path: entry.file, ...mount, covers: place })
    }
  } catch (error) {
    for (const one of opened.values()) await one.close().catch(() => undefined)
    throw error
  }
  let identity: Promise<GuestIdentity> | undefined
  const later: (() => Promise<void>)[] = []
  return {
    fs: guest,
    rootVolume: volume.name,
    mounts: table.mounts,
    volumes,
    warnings,
    identity: () => {
      identity ??= readIdentity(guest)
      return identity
    },
    sync: async () => {
      for (const one of opened.values()) if (one.writable) await one.sync()
    },
    afterClose: work => {
      later.push(work)
    },
    close: async () => {
      for (const one of opened.values()) await one.close()
      for (const work of later.splice(0)) await work()
    },
  }
}

function warningsOf(fs: FileSystem, name: string): string[] {
  const { warnings } = fs as { warnings?: readonly string[] }
  return (warnings ?? []).map(warning => `${name}: ${warning}`)
}

/** What is to be mounted, outer mount points first whatever their order in the file, as systemd does. */
async function fstabOf(guest: MountedGuest, warnings: string[]): Promise<FstabEntry[]> {
  let text: string
  try {
    text = await guest.readText('/etc/fstab')
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    if (error.code !== 'ENOENT') warnings.push(`/etc/fstab is not read: ${error.message}`)
    return []
  }
  const depth = (entry: FstabEntry) => entry.file.split('/').filter(name => name !== '').length
  return parseFstab(text)
    .filter(entry => isMountedAtBoot(entry) && depth(entry) > 0)
    .sort((a, b) => depth(a) - depth(b))
}

async function mountPoint(table: MountTable, entry: FstabEntry, warnings: string[]) {
  try {
    const { place, type } = await walk(table, entry.file, true)
    if (place && type === 'directory') return place
    warnings.push(
      `/etc/fstab:${entry.line}: ${printable(entry.file)} is no directory, so nothing is mounted there`,
    )
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    warnings.push(
      `/etc/fstab:${entry.line}: ${printable(entry.file)}: ${error.message}; nothing is mounted there`,
    )
  }
  return undefined
}

/** A volume is opened once; btrfs for each subvolume that is mounted. */
function openedKey(volume: GuestVolume, options: readonly string[]): string {
  if (volume.found?.type !== 'btrfs') return volume.name
  const { subvol = '', subvolid = '' } = subvolumeOptions(options)
  return `${volume.name} ${subvolid} ${subvol}`
}

async function openMount(
  entry: FstabEntry,
  volume: GuestVolume | undefined,
  opened: Map<string, FileSystem>,
  writable: boolean,
): Promise<Pick<Mount, 'source' | 'type' | 'fs' | 'reason'>> {
  const source = volume?.name ?? entry.spec
  const type = volume?.found?.type ?? entry.type
  const unread = (reason: string) => ({ source, type, fs: undefined, reason })
  if (!volume) {
    if (entry.options.some(option => option === 'bind' || option === 'rbind'))
      return unread('a bind mount, which drydisk does not follow; use the path that it shows')
    if (
      /^(nfs|cifs|smb|ceph|9p|virtiofs|glusterfs|fuse)/.test(entry.type) ||
      /^[^/]+:|^\/\//.test(entry.spec)
    )
      return unread('it is not on this disk')
    if (/^\/dev\/(mapper|md|dm-)|^\/dev\/[^/]+\/[^/]+$/.test(entry.spec))
      return unread(
        'a mapped device that is not on this disk, or one of RAID or encryption, which drydisk does not open',
      )
    return unread('no volume of this disk is named so')
  }
  const mounted = (fs: FileSystem) => ({
    source: sourceText({ volume, subvolume: subvolumeOf(fs) }),
    type: fs.type,
    fs,
    reason: undefined,
  })
  const key = openedKey(volume, entry.options)
  const present = opened.get(key)
  if (present) return mounted(present)
  if (!volume.found || !isSupported(volume.found.type)) return unread(`it ${whyNot(volume)}`)
  try {
    const fs = await openFileSystem(volume.device, {
      writable: writable && volume.readOnly === undefined && isWritable(type),
      found: volume.found,
      mountOptions: entry.options,
    })
    opened.set(key, fs)
    return mounted(fs)
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return unread(error.message)
  }
}
