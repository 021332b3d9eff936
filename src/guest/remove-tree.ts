import { DrydiskError } from '../errors.ts'
import { fileSystemOf, type MountTable, type Place } from './mount-table.ts'

/** Removes a directory and all below it. Nothing is removed when a filesystem is mounted somewhere in it (`EBUSY`). */
export async function removeTree(table: MountTable, directory: Place, name: Uint8Array): Promise<void> {
  const fs = fileSystemOf(directory.mount)
  const top = await fs.lookup(directory.ino, name)
  if (coversMount(table, directory.mount.dev)) await checkNoMount(table, { mount: directory.mount, ino: top })
  const above = new Set<number>()

  const empty = async (ino: number): Promise<void> => {
    if (above.has(ino))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `directory inode ${ino} contains itself: check the filesystem first`,
        {
          inode: ino,
        },
      )
    above.add(ino)
    const entries: Uint8Array[] = []
    for await (const entry of fs.readdir(ino)) entries.push(entry.name)
    for (const entry of entries) {
      const child = await fs.lookup(ino, entry)
      if ((await fs.stat(child)).type === 'directory') {
        await empty(child)
        await fs.rmdir(ino, entry)
      } else await fs.unlink(ino, entry)
    }
    above.delete(ino)
  }
  await empty(top)
  await fs.rmdir(directory.ino, name)
}

function coversMount(table: MountTable, dev: number): boolean {
  return table.mounts.some(mount => mount.covers?.mount.dev === dev)
}

/** Whether one of the covered directories lies in the tree: told by walking up from it. */
async function checkNoMount(table: MountTable, top: Place): Promise<void> {
  const dotDot = new Uint8Array([0x2e, 0x2e])
  for (const mount of table.mounts) {
    if (mount.covers?.mount !== top.mount) continue
    const fs = fileSystemOf(top.mount)
    const seen = new Set<number>()
    let ino = mount.covers.ino
    while (!seen.has(ino)) {
      if (ino === top.ino) throw new DrydiskError('EBUSY', `${mount.path} is mounted below it`)
      seen.add(ino)
      ino = await fs.lookup(ino, dotDot)
    }
  }
}
