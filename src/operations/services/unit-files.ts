import { parseUnit, type UnitEntry, unitList, unitWords } from '../../config/systemd-unit.ts'
import { decodeText } from '../../config/text.ts'
import { dropInFolders, isUnitName, templateOf } from '../../config/unit-names.ts'
import { isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { compareBytes, listFolder, lstatOrUndefined, readConfig, statOrUndefined } from '../guest-files.ts'

export const CONFIG_FOLDER = '/etc/systemd/system'

/** systemd.unit(5), without those below /run: they are gone at the next boot. */
const UNIT_FOLDERS = [
  CONFIG_FOLDER,
  '/etc/systemd/system.attached',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
]

/** Aliases of aliases beyond this are a loop. */
const MAX_ALIASES = 10

export interface InstallRules {
  readonly wantedBy: readonly string[]
  readonly requiredBy: readonly string[]
  readonly upheldBy: readonly string[]
  readonly aliases: readonly string[]
  readonly also: readonly string[]
  readonly defaultInstance: string | undefined
}

export interface UnitFile {
  /** The unit's own name: of an alias, that of the unit it stands for. */
  readonly name: string
  /** The file, or for a masked unit the link (or empty file) that masks it. */
  readonly path: string
  readonly kind: 'regular' | 'linked' | 'masked'
  /** The link in /etc by which a file outside of the search path was found, or an alias. */
  readonly link: string | undefined
  readonly install: InstallRules
  /** Of the file, then of its drop-ins in their order. */
  readonly entries: readonly (UnitEntry & { readonly file: string })[]
}

const NO_RULES: InstallRules = {
  wantedBy: [],
  requiredBy: [],
  upheldBy: [],
  aliases: [],
  also: [],
  defaultInstance: undefined,
}

/** The folders of the search path that are there, each once: /lib is a link to /usr/lib on most guests. */
export async function unitFolders(guest: GuestFs): Promise<string[]> {
  const folders: string[] = []
  const seen = new Set<string>()
  for (const folder of UNIT_FOLDERS) {
    if (!(await statOrUndefined(guest, folder))?.isDirectory()) continue
    const real = decodeText(await guest.realpath(folder)).text
    if (!seen.has(real)) folders.push(folder)
    seen.add(real)
  }
  return folders
}

/** Target of a link as a path of the guest; `..` and a relative target count from the link's folder. */
export async function linkTarget(guest: GuestFs, link: string): Promise<string> {
  const target = decodeText(await guest.readlink(link)).text
  const whole = target.startsWith('/') ? target : `${link.slice(0, link.lastIndexOf('/'))}/${target}`
  const names: string[] = []
  for (const name of whole.split('/'))
    if (name === '..') names.pop()
    else if (name !== '' && name !== '.') names.push(name)
  return `/${names.join('/')}`
}

/** Finds a unit as systemd loads it, aliases followed, or `undefined` where the guest has none of that name. */
export async function findUnit(guest: GuestFs, name: string): Promise<UnitFile | undefined> {
  const folders = await unitFolders(guest)
  let wanted = name
  let alias: string | undefined
  for (let follow = 0; follow < MAX_ALIASES; follow++) {
    const found = await lookUp(guest, folders, wanted)
    if (!found) return undefined
    if (found.kind !== 'alias') {
      const link = found.link ?? alias
      if (found.kind === 'masked') return { ...found, name: wanted, link, install: NO_RULES, entries: [] }
      const entries = await readEntries(guest, folders, found.path, wanted)
      return { ...found, kind: found.kind, name: wanted, link, install: installRules(entries), entries }
    }
    alias = found.path
    wanted = found.name
  }
  return undefined
}

type Found =
  | { readonly kind: 'regular' | 'linked' | 'masked'; readonly path: string; readonly link?: string }
  | { readonly kind: 'alias'; readonly path: string; readonly name: string }

async function lookUp(guest: GuestFs, folders: readonly string[], name: string): Promise<Found | undefined> {
  const template = templateOf(name)
  for (const candidate of template ? [name, template] : [name])
    for (const folder of folders) {
      const path = `${folder}/${candidate}`
      const stats = await lstatOrUndefined(guest, path)
      if (stats?.isFile()) return { kind: stats.size === 0 ? 'masked' : 'regular', path }
      if (!stats?.isSymbolicLink()) continue
      const target = await linkTarget(guest, path)
      if (target === '/dev/null') return { kind: 'masked', path }
      const slash = target.lastIndexOf('/')
      const base = target.slice(slash + 1)
      if (!(await isUnitFolder(guest, folders, target.slice(0, slash) || '/'))) {
        const there = await statOrUndefined(guest, path)
        if (there?.isFile()) return { kind: there.size === 0 ? 'masked' : 'linked', path: target, link: path }
        continue
      }
      if (base === candidate || base === template) {
        if ((await statOrUndefined(guest, target))?.isFile())
          return { kind: 'regular', path: target, link: path }
        continue
      }
      if (isUnitName(base)) return { kind: 'alias', path, name: instanceAlias(name, base) }
    }
  return undefined
}

/** An alias to a template stands for the instance that was asked for. */
function instanceAlias(name: string, target: string): string {
  const instance = templateOf(name) && /@(.*)\.[a-z]+$/.exec(name)?.[1]
  return instance ? target.replace('@.', `@${instance}.`) : target
}

async function isUnitFolder(guest: GuestFs, folders: readonly string[], folder: string): Promise<boolean> {
  if (folders.includes(folder) || UNIT_FOLDERS.includes(folder)) return true
  try {
    const real = decodeText(await guest.realpath(folder)).text
    for (const one of folders) if (decodeText(await guest.realpath(one)).text === real) return true
    return false
  } catch (error) {
    if (isDrydiskError(error)) return false
    throw error
  }
}

async function readEntries(guest: GuestFs, folders: readonly string[], path: string, name: string) {
  const entries: (UnitEntry & { file: string })[] = []
  const read = async (file: string) => {
    for (const entry of parseUnit((await readConfig(guest, file))?.text ?? ''))
      entries.push({ ...entry, file })
  }
  await read(path)
  const dropIns = new Map<string, string>()
  for (const dropIn of dropInFolders(name))
    for (const folder of folders)
      for (const file of await listFolder(guest, `${folder}/${dropIn}`, /\.conf$/)) {
        const base = file.slice(file.lastIndexOf('/') + 1)
        if (!dropIns.has(base)) dropIns.set(base, file)
      }
  for (const [, file] of [...dropIns].sort((a, b) => compareBytes(a[0], b[0]))) {
    // A drop-in is masked as a unit is.
    const stats = await lstatOrUndefined(guest, file)
    if (stats?.isSymbolicLink() && (await linkTarget(guest, file)) === '/dev/null') continue
    await read(file)
  }
  return entries
}

function installRules(entries: readonly UnitEntry[]): InstallRules {
  const names = (key: string) => unitList(entries, 'Install', key).flatMap(unitWords)
  return {
    wantedBy: names('WantedBy'),
    requiredBy: names('RequiredBy'),
    upheldBy: names('UpheldBy'),
    aliases: names('Alias'),
    also: names('Also'),
    defaultInstance: unitList(entries, 'Install', 'DefaultInstance').at(-1),
  }
}

/** A link by which a unit is pulled in or named. */
export interface UnitLink {
  readonly path: string
  /** The last component. */
  readonly name: string
  /** `multi-user.target` of a link in multi-user.target.wants; `undefined` for an alias in the folder itself. */
  readonly puller: string | undefined
  readonly target: string
}

/** Every unit link of one folder of the search path: in it, and in its .wants, .requires and .upholds. */
export async function unitLinks(guest: GuestFs, folder: string): Promise<UnitLink[]> {
  const links: UnitLink[] = []
  const collect = async (at: string, puller: string | undefined) => {
    for (const path of await listFolder(guest, at, /./)) {
      const name = path.slice(path.lastIndexOf('/') + 1)
      if (!isUnitName(name) || !(await lstatOrUndefined(guest, path))?.isSymbolicLink()) continue
      links.push({ path, name, puller, target: await linkTarget(guest, path) })
    }
  }
  await collect(folder, undefined)
  for (const name of await pullerFolders(guest, folder))
    await collect(`${folder}/${name}`, name.slice(0, name.lastIndexOf('.')))
  return links
}

/** The names of the .wants, .requires and .upholds below a folder of the search path, by byte order. */
export async function pullerFolders(guest: GuestFs, folder: string): Promise<string[]> {
  try {
    const names: string[] = []
    for (const entry of await guest.readdir(folder)) {
      const { text, encoding } = decodeText(entry.name)
      if (encoding === 'utf-8' && entry.type === 'directory' && /.\.(wants|requires|upholds)$/.test(text))
        names.push(text)
    }
    return names.sort(compareBytes)
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
