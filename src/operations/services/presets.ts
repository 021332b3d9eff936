import { encodeText } from '../../config/text.ts'
import { templateOf } from '../../config/unit-names.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { matchesGlob } from '../glob.ts'
import { compareBytes, listFolder, readConfig } from '../guest-files.ts'
import { baseName } from './unit-files.ts'

const FOLDERS = [
  '/etc/systemd/system-preset',
  '/usr/local/lib/systemd/system-preset',
  '/usr/lib/systemd/system-preset',
  '/lib/systemd/system-preset',
]

export interface Preset {
  readonly enable: boolean
  readonly file: string
  readonly line: number
}

/** The first line of the presets that matches (systemd.preset(5)); a file of /etc hides one of its name elsewhere. */
export async function presetOf(guest: GuestFs, unit: string): Promise<Preset | undefined> {
  const files = new Map<string, string>()
  for (const folder of FOLDERS)
    for (const file of await listFolder(guest, folder, /\.preset$/))
      if (!files.has(baseName(file))) files.set(baseName(file), file)
  const names = [unit, templateOf(unit)].flatMap(name => (name === undefined ? [] : [encodeText(name)]))
  for (const [, file] of [...files].sort((a, b) => compareBytes(a[0], b[0]))) {
    const lines = (await readConfig(guest, file))?.text.split('\n') ?? []
    for (const [i, line] of lines.entries()) {
      const match = /^\s*(enable|disable)\s+(\S+)/.exec(line)
      const pattern = encodeText(match?.[2] ?? '')
      if (match && names.some(name => matchesGlob(pattern, name)))
        return { enable: match[1] === 'enable', file, line: i + 1 }
    }
  }
  return undefined
}

/** machine-id(5): presets apply at a boot that finds no machine-id, or `uninitialized`; not when it is empty. */
export async function firstBootAppliesPresets(guest: GuestFs): Promise<boolean> {
  const id = await readConfig(guest, '/etc/machine-id')
  return id === undefined || id.text.trim() === 'uninitialized'
}
