import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { DrydiskError } from '../errors.ts'
import { displayPath, lstatOrUndefined, readConfig, statOrUndefined, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

export interface TimezoneArguments {
  /** A name of the tz database: `Europe/Berlin`. */
  readonly timezone: string
}

const ZONEINFO = '/usr/share/zoneinfo'
const LOCALTIME = '/etc/localtime'

export const timezone: Operation<TimezoneArguments> = {
  name: 'timezone',
  summary: 'Set the time zone',
  async run(guest, { timezone: zone }) {
    const report = new ReportBuilder('timezone')
    if (!/^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/.test(zone))
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `${JSON.stringify(zone)} is not a time zone; expected a name such as Europe/Berlin`,
      )
    const file = `${ZONEINFO}/${zone}`
    if (!(await statOrUndefined(guest, file))?.isFile())
      throw new DrydiskError(
        'ENOENT',
        (await guest.exists(ZONEINFO))
          ? `this guest has no time zone ${zone} in ${ZONEINFO}`
          : `this guest has no ${ZONEINFO}: its tzdata package is not installed`,
        { path: file },
      )

    const present = await lstatOrUndefined(guest, LOCALTIME)
    const old = present?.isSymbolicLink() ? displayPath(await guest.readlink(LOCALTIME)) : undefined
    // systemd makes a relative link, Debian's tzdata an absolute one; keep to what is there.
    const target = old?.startsWith('..') ? `..${file}` : file
    if (old !== target) {
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
    const variable = clock && getShellValue(clock.text, 'ZONE')
    if (clock && variable) {
      const text = setShellValue(clock.text, 'ZONE', zone)
      await writeConfig(guest, '/etc/sysconfig/clock', clock, text)
      report.change('ZONE', variable.text, zone, '/etc/sysconfig/clock', {
        line: getShellValue(text, 'ZONE')?.line,
      })
    }
    return report.build()
  },
}
