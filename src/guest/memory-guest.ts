import { MemoryFileSystem, type MemoryFileSystemOptions } from '../filesystem/memory/memory-filesystem.ts'
import { MountTable } from './mount-table.ts'
import { MountedGuest } from './mounted-guest.ts'

/** A guest in memory: an empty root directory, or the given text files with the directories above them. */
export async function memoryGuest(
  files: Readonly<Record<string, string | Uint8Array>> = {},
  options: MemoryFileSystemOptions = {},
): Promise<MountedGuest> {
  const guest = new MountedGuest(new MountTable({ fs: new MemoryFileSystem(options), source: 'memory' }))
  for (const [path, data] of Object.entries(files)) {
    const slash = path.lastIndexOf('/')
    if (slash > 0) await guest.mkdir(path.slice(0, slash), { recursive: true })
    await guest.writeFile(path, data)
  }
  return guest
}
