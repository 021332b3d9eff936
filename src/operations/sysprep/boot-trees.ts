import { openFileSystem } from '../../filesystem/open.ts'
import { MountTable } from '../../guest/mount-table.ts'
import { MountedGuest } from '../../guest/mounted-guest.ts'
import type { GuestVolume } from '../../guest/volume-spec.ts'
import type { ReportBuilder } from '../report.ts'
import { BootReferences, type Reference, type Renaming } from './boot-references.ts'
import type { GuestDisk, SysprepContext } from './task.ts'

/** Whatever the boot reads, of all trees, that holds one of some names. */
export interface FoundReferences {
  readonly all: readonly Reference[]
  /** Writes the new names. */
  write(report: ReportBuilder): Promise<void>
}

/** Has `work` look at the guest, and at the EFI system partitions of its disk that it does not mount, for what names something. */
export async function withReferences(
  { guest }: SysprepContext,
  disk: GuestDisk,
  renaming: Renaming,
  work: (found: FoundReferences) => Promise<void>,
): Promise<void> {
  const opened: { close(): Promise<void>; sync(): Promise<void> }[] = []
  const trees = [BootReferences.ofGuest(guest)]
  try {
    for (const volume of disk.volumes.filter(one => isUnmountedFat(one, disk))) {
      const fs = await openFileSystem(volume.device, { writable: true, found: volume.found })
      opened.push(fs)
      const esp = new MountedGuest(new MountTable({ fs, source: volume.name }))
      trees.unshift(BootReferences.ofEsp(esp, volume.name))
    }
    const found: { tree: BootReferences; references: Reference[] }[] = []
    for (const tree of trees) found.push({ tree, references: await tree.references(renaming) })
    await work({
      all: found.flatMap(({ references }) => references),
      write: async report => {
        for (const { tree, references } of found) await tree.write(references, renaming, report)
      },
    })
    for (const fs of opened) await fs.sync()
  } finally {
    for (const fs of opened) await fs.close()
  }
}

function isUnmountedFat(volume: GuestVolume, disk: GuestDisk): boolean {
  return (
    volume.found?.type === 'vfat' &&
    volume.unreadable === undefined &&
    !disk.mounts.some(mount => mount.source === volume.name)
  )
}
