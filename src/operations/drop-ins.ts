import type { GuestFs } from '../guest/guest-fs.ts'
import { compareBytes, listFolder, readConfig } from './guest-files.ts'

/** A configuration file that is in force. */
export interface ConfigFile {
  readonly path: string
  readonly text: string
}

/**
 * The files of several folders in the order in which systemd, kmod and procps read them: by name, whatever the folder; of files
 * of one name that in the folder named first counts, also when it is empty or a link to /dev/null (systemd.unit(5), sysctl.d(5),
 * modprobe.d(5)).
 */
export async function dropIns(
  guest: GuestFs,
  folders: readonly string[],
  pattern = /\.conf$/,
): Promise<ConfigFile[]> {
  const byName = new Map<string, string>()
  for (const folder of folders)
    for (const path of await listFolder(guest, folder, pattern)) {
      const name = path.slice(path.lastIndexOf('/') + 1)
      if (!byName.has(name)) byName.set(name, path)
    }
  const files: ConfigFile[] = []
  for (const [, path] of [...byName].sort((a, b) => compareBytes(a[0], b[0])))
    files.push({ path, text: (await readConfig(guest, path))?.text ?? '' })
  return files
}
