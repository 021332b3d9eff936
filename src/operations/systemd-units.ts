import { parseUnit, type UnitEntry } from '../config/systemd-unit.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { compareBytes, listFolder, readConfig } from './guest-files.ts'

/** Of folders that hold the same unit or drop-in, the first wins (systemd.unit(5), Unit File Load Path). */
const UNIT_PATH = [
  '/etc/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
]

export interface Unit {
  /** The unit's own file. */
  readonly path: string
  /** Of the unit, then of its drop-ins in their order. */
  readonly entries: readonly (UnitEntry & { readonly file: string })[]
}

/** A unit with its drop-ins, or `undefined` where the guest has no such unit. */
export async function readUnit(guest: GuestFs, name: string): Promise<Unit | undefined> {
  let path: string | undefined
  const entries: (UnitEntry & { file: string })[] = []
  for (const folder of UNIT_PATH) {
    const unit = await readConfig(guest, `${folder}/${name}`)
    if (!unit) continue
    path = `${folder}/${name}`
    for (const entry of parseUnit(unit.text)) entries.push({ ...entry, file: path })
    break
  }
  if (path === undefined) return undefined
  const dropIns = new Map<string, string>()
  for (const folder of UNIT_PATH)
    for (const file of await listFolder(guest, `${folder}/${name}.d`, /\.conf$/)) {
      const base = file.slice(file.lastIndexOf('/') + 1)
      if (!dropIns.has(base)) dropIns.set(base, file)
    }
  for (const [, file] of [...dropIns].sort((a, b) => compareBytes(a[0], b[0])))
    for (const entry of parseUnit((await readConfig(guest, file))?.text ?? ''))
      entries.push({ ...entry, file })
  return { path, entries }
}
