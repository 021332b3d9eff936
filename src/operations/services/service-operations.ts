import { isUnitName, splitUnitName, unitName } from '../../config/unit-names.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { initSystem } from './init-system.ts'
import { disableOpenrc, enableOpenrc } from './openrc.ts'
import { firstBootAppliesPresets, presetOf } from './presets.ts'
import { type ServiceState, serviceState } from './service-state.ts'
import { disableUnit, enableUnit, maskUnit, unmaskUnit } from './systemd.ts'
import { disableSysv, enableSysv } from './sysv.ts'
import { findUnit } from './unit-files.ts'
import { disableUpstart, enableUpstart } from './upstart.ts'

/** Arguments of the operations on services: names of units or init scripts. */
export interface ServiceArguments {
  /** Units (`.service` may be left out), or init scripts and jobs on guests without systemd. */
  readonly units: readonly string[]
}

type Change = (guest: GuestFs, name: string, report: ReportBuilder) => Promise<void>

function operation(name: string, summary: string, change: Change): Operation<ServiceArguments> {
  return {
    name,
    summary,
    async run(guest, { units }) {
      const report = new ReportBuilder(name)
      for (const unit of units) await change(guest, unit, report)
      return report.build()
    },
  }
}

export const enableService = operation('enable-service', 'Have services start at boot', enable)
export const disableService = operation('disable-service', 'Keep services from starting at boot', disable)
export const maskService = operation('mask-service', 'Keep units from starting at all', mask)
export const unmaskService = operation('unmask-service', 'Take the mask off units', unmask)

/** What a unit's state is called in a report, with what pulls a static one in. */
function show(state: ServiceState): string {
  if (state.state === 'static' && state.startsAtBoot) return 'static, started at boot'
  return state.state
}

function told(
  report: ReportBuilder,
  before: ServiceState,
  after: ServiceState,
  links: readonly string[],
  what: string,
): void {
  const setting = `service ${after.name}`
  const file = after.decidedBy || before.decidedBy
  if (links.length === 0) report.keep(setting, show(after), file)
  else report.always(setting, show(before), show(after), file, { note: `${what}: ${links.join(', ')}` })
}

/** The unit itself where systemd has one; else a script in init.d, of which systemd makes a unit at boot. */
async function systemdUnit(guest: GuestFs, name: string): Promise<string | undefined> {
  if ((await initSystem(guest)) !== 'systemd') return undefined
  const unit = unitName(name)
  const scripted = !(await findUnit(guest, unit)) && (await serviceState(guest, name)).state !== 'absent'
  return scripted ? undefined : unit
}

async function enable(guest: GuestFs, name: string, report: ReportBuilder): Promise<void> {
  const before = await serviceState(guest, name)
  const unit = await systemdUnit(guest, name)
  if (unit === undefined) {
    const links = await switchScript(guest, name, true)
    return told(report, before, await effective(guest, name, 'enabled'), links, 'made or changed')
  }
  const { unit: found, made, missing } = await enableUnit(guest, unit)
  for (const other of missing)
    report.warn(`${found.path} also enables ${other}, which this guest does not have`)
  const after = await serviceState(guest, unit)
  if (after.state === 'static' || (after.state === 'indirect' && made.length === 0)) {
    report.keep(`service ${after.name}`, show(after), after.decidedBy)
    report.warn(
      `${after.name} is static: ${found.path} has no [Install] section that enables it, ${after.startsAtBoot ? `but ${after.decidedBy} starts it at boot` : 'so another unit, a socket, udev or D-Bus has to start it'}`,
    )
    return
  }
  told(report, before, after, made, 'made')
  if (after.state !== 'enabled' && after.state !== 'indirect')
    throw new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${after.name} still is ${after.state} by ${after.decidedBy}`,
      {
        path: after.decidedBy,
      },
    )
  await warnOfPreset(guest, after.name, true, report)
}

async function disable(guest: GuestFs, name: string, report: ReportBuilder): Promise<void> {
  const before = await serviceState(guest, name)
  if (before.state === 'absent') {
    report.keep(`service ${before.name}`, 'absent', '')
    report.warn(`this guest has no service ${name}: there is nothing to disable`)
    return
  }
  const unit = await systemdUnit(guest, name)
  if (unit === undefined) {
    const links = await switchScript(guest, name, false)
    return told(report, before, await effective(guest, name, 'disabled'), links, 'made or changed')
  }
  const { removed } = await disableUnit(guest, unit)
  const after = await serviceState(guest, before.name)
  told(report, before, after, removed, 'removed')
  if (after.startsAtBoot)
    throw new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${after.name} is still started at boot by ${after.decidedBy}, which belongs to its package; mask-service keeps it from starting`,
      { path: after.decidedBy },
    )
  if (after.state === 'static')
    report.warn(
      `${after.name} is static: nothing enables it, and what starts it still can; mask-service keeps it from starting`,
    )
  for (const trigger of await triggers(guest, after.name))
    report.warn(`${trigger} is enabled and still starts ${after.name} when it is asked for; disable it too`)
  await warnOfPreset(guest, after.name, false, report)
}

async function mask(guest: GuestFs, name: string, report: ReportBuilder): Promise<void> {
  await requireSystemd(guest, 'mask-service')
  const unit = unitName(name)
  const before = await serviceState(guest, unit)
  if (before.state === 'absent') report.warn(`this guest has no unit ${unit}; it is masked should it come`)
  // A mask of an alias leaves the unit itself as it was.
  const target = before.state === 'absent' ? unit : before.name
  const made = await maskUnit(guest, isUnitName(target) ? target : unit)
  told(
    report,
    before,
    await effective(guest, isUnitName(target) ? target : unit, 'masked'),
    made ? [target] : [],
    'masked',
  )
}

async function unmask(guest: GuestFs, name: string, report: ReportBuilder): Promise<void> {
  await requireSystemd(guest, 'unmask-service')
  const unit = unitName(name)
  const before = await serviceState(guest, unit)
  // A mask on an alias itself comes first; else that of the unit which it stands for.
  const target = before.state === 'masked' && before.name !== unit ? before.name : unit
  const removed = await unmaskUnit(guest, target)
  told(report, before, await serviceState(guest, unit), removed ? [target] : [], 'unmasked')
}

async function requireSystemd(guest: GuestFs, operationName: string): Promise<void> {
  const init = await initSystem(guest)
  if (init === 'systemd') return
  throw new DrydiskError(
    'ERR_UNSUPPORTED',
    `${operationName} needs systemd, and this guest boots with ${init}, which has no masks; disable-service keeps a service from starting`,
    { init },
  )
}

async function effective(
  guest: GuestFs,
  name: string,
  wanted: 'enabled' | 'disabled' | 'masked',
): Promise<ServiceState> {
  const after = await serviceState(guest, name)
  if (after.state === wanted) return after
  throw new DrydiskError('ERR_NOT_EFFECTIVE', `${after.name} still is ${after.state} by ${after.decidedBy}`, {
    path: after.decidedBy,
  })
}

async function switchScript(guest: GuestFs, name: string, on: boolean): Promise<string[]> {
  const bare = name.replace(/\.service$/, '')
  const init = await initSystem(guest)
  if (init === 'openrc') return on ? enableOpenrc(guest, bare) : disableOpenrc(guest, bare)
  if (init === 'upstart') {
    const changed = on ? await enableUpstart(guest, bare) : await disableUpstart(guest, bare)
    if (changed) return changed
  }
  return on ? enableSysv(guest, bare) : disableSysv(guest, bare)
}

/** Enabled units of the same name that start this one: `Unit=` of another name is not looked for. */
async function triggers(guest: GuestFs, unit: string): Promise<string[]> {
  const { prefix, type } = splitUnitName(unit)
  if (type !== '.service') return []
  const found: string[] = []
  for (const other of ['.socket', '.timer', '.path']) {
    const state = await serviceState(guest, `${prefix}${other}`)
    if (state.startsAtBoot) found.push(state.name)
  }
  return found
}

/** At a first boot systemd applies the presets (those that enable), whatever was done before. */
async function warnOfPreset(
  guest: GuestFs,
  unit: string,
  enabled: boolean,
  report: ReportBuilder,
): Promise<void> {
  if (enabled || !(await firstBootAppliesPresets(guest))) return
  const preset = await presetOf(guest, unit)
  if (preset?.enable)
    report.warn(
      `/etc/machine-id says that the next boot is the first, at which ${preset.file}:${preset.line} enables ${unit} again; an empty machine-id keeps presets from being applied`,
    )
}
