import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { equalBytes } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { CloudConfig, setCloudConfig } from './cloud-config-of-guest.ts'
import { displayPath, lstatOrUndefined, readConfig, statOrUndefined, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `timezone`. */
export interface TimezoneArguments {
  /** A name of the tz database: `Europe/Berlin`. */
  readonly timezone: string
}

const ZONEINFO = '/usr/share/zoneinfo'
const LOCALTIME = '/etc/localtime'

function checkZone({ timezone: zone }: TimezoneArguments): void {
  if (!/^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/.test(zone))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(zone)} is not a time zone; expected a name such as Europe/Berlin`,
    )
}

export const timezone: Operation<TimezoneArguments> = {
  name: 'timezone',
  summary: 'Set the time zone',
  check: checkZone,
  async run(guest, { timezone: zone }) {
    const report = new ReportBuilder('timezone')
    checkZone({ timezone: zone })
    const file = await zoneFile(guest, zone)
    if (file === undefined)
      throw new DrydiskError(
        'ENOENT',
        (await guest.exists(ZONEINFO))
          ? `this guest has no time zone ${zone} in ${ZONEINFO}`
          : `this guest has no ${ZONEINFO}: its tzdata package is not installed`,
        { path: `${ZONEINFO}/${zone}` },
      )

    const present = await lstatOrUndefined(guest, LOCALTIME)
    const old = present?.isSymbolicLink() ? displayPath(await guest.readlink(LOCALTIME)) : undefined
    // systemd makes a relative link, Debian's tzdata an absolute one; keep to what is there.
    const target = old?.startsWith('..') ? `..${file}` : file
    // Alpine and EL6 copy the zone's file: one that holds this zone is as good as a link to it.
    const copied =
      present?.isFile() && equalBytes(await guest.readFile(LOCALTIME), await guest.readFile(file))
    if (copied) report.keep('time zone', zone, LOCALTIME)
    else if (old !== undefined && (old === target || (await leadsTo(guest, file))))
      report.keep('time zone', zone, LOCALTIME)
    else {
      if (present) await guest.unlink(LOCALTIME)
      await guest.symlink(target, LOCALTIME)
      report.change(
        'time zone',
        old?.replace(/^.*\/zoneinfo\//, '') ?? (present ? 'a copied file' : null),
        zone,
        LOCALTIME,
      )
    }

    const named = await readConfig(guest, '/etc/timezone')
    if (named && named.text.trim() !== zone) {
      await writeConfig(guest, '/etc/timezone', named, `${zone}\n`)
      report.change('time zone name', named.text.trim(), zone, '/etc/timezone', { line: 1 })
    }
    // EL6: tzdata's update copies the zone that this file names over /etc/localtime.
    const clock = await readConfig(guest, '/etc/sysconfig/clock')
    // SUSE before 12 calls it TIMEZONE.
    let text = clock?.text ?? ''
    for (const name of ['ZONE', 'TIMEZONE']) {
      const variable = getShellValue(text, name)
      if (!variable) continue
      text = setShellValue(text, name, zone)
      report.change(name, variable.text, zone, '/etc/sysconfig/clock', {
        line: getShellValue(text, name)?.line,
      })
    }
    if (clock) await writeConfig(guest, '/etc/sysconfig/clock', clock, text)
    const config = await CloudConfig.load(guest)
    if (typeof (await config?.effective(['timezone'])) === 'string')
      await setCloudConfig(guest, 'timezone', zone, report)
    return report.build()
  },
}

/** Alpine's setup-timezone keeps the one zone that is used in /etc/zoneinfo, and may take tzdata away. */
async function zoneFile(guest: GuestFs, zone: string): Promise<string | undefined> {
  for (const folder of [ZONEINFO, '/etc/zoneinfo'])
    if ((await statOrUndefined(guest, `${folder}/${zone}`))?.isFile()) return `${folder}/${zone}`
  return undefined
}

async function leadsTo(guest: GuestFs, file: string): Promise<boolean> {
  if (!(await statOrUndefined(guest, LOCALTIME))?.isFile()) return false
  return displayPath(await guest.realpath(LOCALTIME)) === file
}
