import { printable } from '../bytes/names.ts'
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

/** Subvolumes where the system may be, the likeliest first: those that installers use, then all others. */
export async function rootSubvolumes(
  volume: GuestVolume,
): Promise<{ likely: SubvolumeName[]; others: SubvolumeName[] }> {
  const { openBtrfs } = await import('../filesystem/btrfs/open.ts')
  const fs = await openBtrfs(volume.device)
  try {
    const all: SubvolumeName[] = [{ id: 5, path: '/' }]
    for await (const one of fs.subvolumes()) all.push(one)
    const usual = USUAL_ROOTS.flatMap(path => all.find(one => one.path === path) ?? [])
    const likely = [fs.subvolume, ...usual.filter(one => one.id !== fs.subvolume.id)]
    const others = all.filter(one => !likely.some(other => other.id === one.id))
    return { likely, others: others.slice(0, MOST_OTHERS) }
  } finally {
    await fs.close()
  }
}
