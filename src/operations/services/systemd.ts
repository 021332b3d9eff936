import { encodeText } from '../../config/text.ts'
import { expandSpecifiers, isUnitName, splitUnitName } from '../../config/unit-names.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { lstatOrUndefined } from '../guest-files.ts'
import type { ServiceState } from './service-state.ts'
import {
  baseName,
  CONFIG_FOLDER,
  findUnit,
  linkTarget,
  pullerFolders,
  type UnitFile,
  unitFolders,
  unitLinks,
} from './unit-files.ts'

/** `Also=` may name units that name further ones; more than this is a loop of a hostile image. */
const MAX_UNITS = 200

/** A link that [Install] asks for. */
interface WantedLink {
  readonly path: string
  readonly target: string
  /** An alias stands for one unit alone; for a link in a folder only its name counts. */
  readonly alias: boolean
}

/** The state of a unit at the next boot, or `undefined` where systemd has no unit of that name. */
export async function unitState(guest: GuestFs, name: string): Promise<ServiceState | undefined> {
  const unit = await findUnit(guest, name)
  if (!unit) return undefined
  const common = { name: unit.name, init: 'systemd' as const }
  if (unit.kind === 'masked') return { ...common, state: 'masked', decidedBy: unit.path, startsAtBoot: false }
  const { install } = unit
  let pulled: string | undefined
  for (const folder of await unitFolders(guest)) {
    const link = await linkThatStarts(guest, folder, unit)
    if (link === undefined) continue
    if (folder === CONFIG_FOLDER) return { ...common, state: 'enabled', decidedBy: link, startsAtBoot: true }
    // An alias that a package brings is a name; a link in a folder starts the unit.
    if (link.slice(folder.length + 1).includes('/')) pulled ??= link
  }
  const hasRules =
    install.wantedBy.length + install.requiredBy.length + install.upheldBy.length + install.aliases.length > 0
  const state = hasRules ? 'disabled' : install.also.length > 0 ? 'indirect' : 'static'
  return { ...common, state, decidedBy: pulled ?? unit.path, startsAtBoot: pulled !== undefined }
}

/** A link of one folder of the search path by which a unit is enabled: by what its [Install] knows of, as systemctl has it. */
async function linkThatStarts(guest: GuestFs, folder: string, unit: UnitFile): Promise<string | undefined> {
  const { install } = unit
  const { prefix, instance, type } = splitUnitName(unit.name)
  if (instance === '') {
    // Of a template every instance counts, so its links have to be looked through.
    const link = (await unitLinks(guest, folder)).find(
      ({ puller, name, target }) =>
        puller !== undefined &&
        (baseName(target) === unit.name ||
          (install.defaultInstance !== undefined && name === `${prefix}@${install.defaultInstance}${type}`)),
    )
    if (link) return link.path
  }
  for (const puller of await pullerFolders(guest, folder))
    for (const name of [unit.name, ...install.aliases]) {
      const path = `${folder}/${puller}/${name}`
      if (isUnitName(name) && (await lstatOrUndefined(guest, path))?.isSymbolicLink()) return path
    }
  for (const alias of install.aliases) {
    const path = `${folder}/${alias}`
    if (alias === unit.name || !isUnitName(alias)) continue
    if (!(await lstatOrUndefined(guest, path))?.isSymbolicLink()) continue
    if (baseName(await linkTarget(guest, path)) === baseName(unit.path)) return path
  }
  return undefined
}

/** Makes the links that [Install] asks for, those of `Also=` too; the paths that were made. */
export async function enableUnit(
  guest: GuestFs,
  name: string,
): Promise<{ unit: UnitFile; made: string[]; missing: string[] }> {
  const unit = await findUnit(guest, name)
  if (!unit) throw noUnit(name)
  refuseMasked(unit)
  const { instance, type, prefix } = splitUnitName(unit.name)
  if (instance === '' && !unit.install.defaultInstance)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${unit.name} is a template: name an instance, such as ${prefix}@NAME${type}`,
      { path: unit.path },
    )
  const units = new Map([[unit.name, unit]])
  const missing: string[] = []
  for (const one of units.values())
    for (const also of one.install.also) {
      const other = expandSpecifiers(also, one.name)
      if (other === undefined || !isUnitName(other) || units.has(other) || units.size >= MAX_UNITS) continue
      const found = await findUnit(guest, other)
      if (!found || found.kind === 'masked') missing.push(other)
      else if (!units.has(found.name)) units.set(found.name, found)
    }
  const wanted = [...units.values()].flatMap(wantedLinks)
  // Everything is looked at before anything is made.
  const fresh: WantedLink[] = []
  for (const link of wanted) if (!(await isThere(guest, link))) fresh.push(link)
  for (const { path, target } of fresh) {
    await guest.mkdir(path.slice(0, path.lastIndexOf('/')), { recursive: true })
    await guest.symlink(target, path)
  }
  return { unit, made: fresh.map(link => link.path), missing }
}

function noUnit(name: string): DrydiskError {
  return new DrydiskError('ENOENT', `this guest has no unit ${name}; is the package installed?`, {
    unit: name,
  })
}

function refuseMasked(unit: UnitFile): void {
  if (unit.kind === 'masked')
    throw new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${unit.name} is masked by ${unit.path}: it cannot start whatever enables it; unmask-service takes the mask off`,
      { path: unit.path },
    )
}

function wantedLinks(unit: UnitFile): WantedLink[] {
  const { install } = unit
  const { prefix, instance, type } = splitUnitName(unit.name)
  const name =
    instance === '' && install.defaultInstance ? `${prefix}@${install.defaultInstance}${type}` : unit.name
  const links: WantedLink[] = []
  for (const [suffix, pullers] of [
    ['wants', install.wantedBy],
    ['requires', install.requiredBy],
    ['upholds', install.upheldBy],
  ] as const)
    for (const puller of pullers) {
      const target = expandSpecifiers(puller, name)
      if (target !== undefined && isUnitName(target))
        links.push({ path: `${CONFIG_FOLDER}/${target}.${suffix}/${name}`, target: unit.path, alias: false })
    }
  for (const alias of install.aliases) {
    const expanded = expandSpecifiers(alias, name)
    if (expanded === undefined || expanded === unit.name) continue
    const inFolder = /^([^/]+)\.(wants|requires|upholds)\/([^/]+)$/.exec(expanded)
    if (inFolder ? inFolder[3] !== unit.name : !isAliasOf(expanded, unit.name)) continue
    const whole = inFolder || !instance ? expanded : expanded.replace('@.', `@${instance}.`)
    links.push({ path: `${CONFIG_FOLDER}/${whole}`, target: unit.path, alias: !inFolder })
  }
  return links
}

/** An alias has the unit's type, and is a template or an instance where the unit is one. */
function isAliasOf(alias: string, name: string): boolean {
  const [a, b] = [splitUnitName(alias), splitUnitName(name)]
  if (!isUnitName(alias) || a.type !== b.type) return false
  return b.instance === undefined ? a.instance === undefined : a.instance === '' || a.instance === b.instance
}

async function isThere(guest: GuestFs, { path, target, alias }: WantedLink): Promise<boolean> {
  const stats = await lstatOrUndefined(guest, path)
  if (!stats) return false
  // For a link in .wants only the name counts (systemd.unit(5)).
  if (stats.isSymbolicLink() && (!alias || baseName(await linkTarget(guest, path)) === baseName(target)))
    return true
  throw new DrydiskError(
    'EEXIST',
    `${path} is there already and is no link to ${target}: remove it, or disable the unit that it belongs to`,
    { path },
  )
}

/** Removes every link by which a unit, and what `Also=` names, is enabled; masks stay. The paths that were removed. */
export async function disableUnit(
  guest: GuestFs,
  name: string,
): Promise<{ unit: UnitFile; removed: string[] }> {
  const unit = await findUnit(guest, name)
  if (!unit) throw noUnit(name)
  // As systemctl: what a masked unit's [Install] says is hidden by the mask, so its links stay for the day it is taken off.
  if (unit.kind === 'masked') return { unit, removed: [] }
  const names = new Set<string>()
  const queue = [unit.name]
  for (const next of queue) {
    if (names.has(next) || names.size >= MAX_UNITS) continue
    names.add(next)
    for (const also of (next === unit.name ? unit : await findUnit(guest, next))?.install.also ?? []) {
      const other = expandSpecifiers(also, next)
      if (other !== undefined && isUnitName(other)) queue.push(other)
    }
  }
  const removed: string[] = []
  let links = await unitLinks(guest, CONFIG_FOLDER)
  for (let again = true; again; ) {
    const doomed = links.filter(
      link => link.target !== '/dev/null' && (names.has(link.name) || names.has(baseName(link.target))),
    )
    again = doomed.length > 0
    links = links.filter(link => !doomed.includes(link))
    for (const link of doomed) {
      await guest.unlink(link.path)
      removed.push(link.path)
      // A link to a link that is gone goes too.
      if (link.puller === undefined) names.add(link.name)
      else await removeEmpty(guest, link.path.slice(0, link.path.lastIndexOf('/')))
    }
  }
  return { unit, removed }
}

async function removeEmpty(guest: GuestFs, folder: string): Promise<void> {
  try {
    await guest.rmdir(folder)
  } catch (error) {
    if (!isDrydiskError(error, 'ENOTEMPTY', 'EEXIST')) throw error
  }
}

/** Links the unit's name to /dev/null. `false` when it is masked already. */
export async function maskUnit(guest: GuestFs, name: string): Promise<boolean> {
  const path = `${CONFIG_FOLDER}/${name}`
  const stats = await lstatOrUndefined(guest, path)
  if (stats?.isSymbolicLink() && (await linkTarget(guest, path)) === '/dev/null') return false
  if (stats?.isFile() && stats.size === 0) return false
  if (stats)
    throw new DrydiskError(
      'EEXIST',
      stats.isSymbolicLink()
        ? `${path} is an alias or a linked unit: mask the unit that it stands for, ${baseName(await linkTarget(guest, path))}`
        : `${path} is a unit file of the administrator's own, which a mask would replace; remove it first`,
      { path },
    )
  await guest.mkdir(CONFIG_FOLDER, { recursive: true })
  await guest.symlink(encodeText('/dev/null'), path)
  return true
}

/** Takes the mask off. `false` when there is none; `ERR_NOT_EFFECTIVE` when the distribution's own files mask the unit. */
export async function unmaskUnit(guest: GuestFs, name: string): Promise<boolean> {
  const path = `${CONFIG_FOLDER}/${name}`
  const stats = await lstatOrUndefined(guest, path)
  const masked = stats?.isSymbolicLink()
    ? (await linkTarget(guest, path)) === '/dev/null'
    : stats?.isFile() === true && stats.size === 0
  if (masked) await guest.unlink(path)
  const after = await findUnit(guest, name)
  if (after?.kind === 'masked')
    throw new DrydiskError('ERR_NOT_EFFECTIVE', `${name} is still masked by ${after.path}`, {
      path: after.path,
    })
  return masked
}
