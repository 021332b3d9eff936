import { printable } from '../bytes/names.ts'
import { isDrydiskError } from '../errors.ts'
import type { SubvolumeName } from '../filesystem/btrfs/filesystem.ts'
import { subvolumeOptions } from '../filesystem/btrfs/mount-options.ts'
import type { FileSystem } from '../filesystem/filesystem.ts'
import type { GuestVolume } from './volume-spec.ts'

/** A volume, and which subvolume where it is btrfs. */
export interface MountSource {
  readonly volume: GuestVolume
  readonly subvolume?: SubvolumeName | undefined
}

/** As findmnt(8) prints the source of a mount: `/dev/sda3`, `/dev/sda3[/root]`. */
export function sourceText({ volume, subvolume }: MountSource): string {
  return subvolume === undefined || subvolume.path === '/'
    ? volume.name
    : `${volume.name}[${printable(subvolume.path)}]`
}

/** Mount options that choose the subvolume. */
export function mountOptionsOf({ subvolume }: MountSource): string[] {
  return subvolume === undefined ? [] : [`subvolid=${subvolume.id}`]
}

/** `NAME[SUBVOLUME]`, as findmnt(8) prints it, in its two parts. */
export function splitSource(text: string): { spec: string; subvolume: string | undefined } {
  const match = /^(.*?)\[(.*)\]$/s.exec(text)
  return { spec: match?.[1] ?? text, subvolume: match?.[2] }
}

/** Which subvolume a filesystem shows, where it has such. */
export function subvolumeOf(fs: FileSystem): SubvolumeName | undefined {
  return (fs as { subvolume?: SubvolumeName }).subvolume
}

/** Whether mount options leave that subvolume open, or choose it. */
export function asksFor(options: readonly string[], subvolume: SubvolumeName | undefined): boolean {
  if (subvolume === undefined) return true
  const { subvol, subvolid } = subvolumeOptions(options)
  const names = (path: string) =>
    path
      .split('/')
      .filter(name => name !== '')
      .join('/')
  return (
    (subvolid === undefined || subvolid === BigInt(subvolume.id)) &&
    (subvol === undefined || names(subvol) === names(subvolume.path))
  )
}

/** Where installers put the root: Fedora; Ubuntu and Arch; Debian. */
const USUAL_ROOTS = ['/root', '/@', '/@rootfs']
/** Others that are looked into: a host of containers may have thousands. */
const MOST_OTHERS = 256

/** Subvolumes where the system probably is: the default one, then those that installers use, where they are there. */
export async function likelyRoots(volume: GuestVolume): Promise<SubvolumeName[]> {
  const { openBtrfs } = await import('../filesystem/btrfs/open.ts')
  const likely = [(await openBtrfs(volume.device)).subvolume]
  for (const path of USUAL_ROOTS)
    try {
      const { subvolume } = await openBtrfs(volume.device, { mountOptions: [`subvol=${path}`] })
      if (!likely.some(other => other.id === subvolume.id)) likely.push(subvolume)
    } catch (error) {
      if (!isDrydiskError(error, 'ENOENT')) throw error
    }
  return likely
}

/** All other subvolumes, the top level first. */
export async function otherSubvolumes(
  volume: GuestVolume,
  known: readonly SubvolumeName[],
): Promise<SubvolumeName[]> {
  const { openBtrfs } = await import('../filesystem/btrfs/open.ts')
  const fs = await openBtrfs(volume.device)
  const others: SubvolumeName[] = []
  const add = (one: SubvolumeName) => {
    if (!known.some(other => other.id === one.id)) others.push(one)
  }
  add({ id: 5, path: '/' })
  for await (const one of fs.subvolumes()) {
    if (others.length >= MOST_OTHERS) break
    add(one)
  }
  return others
}
