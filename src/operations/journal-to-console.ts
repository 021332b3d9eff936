import { setIniValue } from '../config/ini.ts'
import { parseUnit } from '../config/systemd-unit.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { dropIns } from './drop-ins.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** journald.conf(5): the main file of the first folder that has one, then drop-ins by name; the last value wins. */
const ROOTS = ['/etc/systemd', '/run/systemd', '/usr/local/lib/systemd', '/usr/lib/systemd']
const FOLDER = '/etc/systemd/journald.conf.d'
const DROP_IN = `${FOLDER}/99-zz-drydisk.conf`

export const journalToConsole: Operation<Readonly<Record<string, never>>> = {
  name: 'journal-to-console',
  summary: "Send systemd's journal to the console too, where a cloud shows it",
  async run(guest) {
    const report = new ReportBuilder('journal-to-console')
    if (!(await hasJournald(guest))) {
      report.warn('this guest has no systemd-journald, so nothing sends a journal to the console')
      return report.build()
    }
    const before = await forwardToConsole(guest)
    if (!isYes(before?.value)) {
      const config = await readConfig(guest, DROP_IN)
      if (!config) await guest.mkdir(FOLDER, { recursive: true })
      await writeConfig(
        guest,
        DROP_IN,
        config,
        setIniValue(config?.text ?? '', 'Journal', 'ForwardToConsole', 'yes'),
      )
    }
    const after = await forwardToConsole(guest)
    if (!after || !isYes(after.value))
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `ForwardToConsole still is ${after?.value} by ${after?.file}:${after?.line}; change it there`,
        { path: after?.file, line: after?.line },
      )
    report.change('ForwardToConsole', before?.value ?? null, after.value, after.file, { line: after.line })
    return report.build()
  },
}

function isYes(value: string | undefined): boolean {
  return /^(1|yes|y|true|t|on)$/i.test(value ?? '')
}

async function hasJournald(guest: GuestFs): Promise<boolean> {
  for (const path of [
    '/usr/lib/systemd/systemd-journald',
    '/lib/systemd/systemd-journald',
    '/usr/lib/systemd/system/systemd-journald.service',
    '/lib/systemd/system/systemd-journald.service',
    '/etc/systemd/journald.conf',
  ])
    if (await guest.exists(path)) return true
  return false
}

async function forwardToConsole(guest: GuestFs) {
  let found: { value: string; file: string; line: number } | undefined
  const read = (file: string, text: string) => {
    for (const { section, key, value, line } of parseUnit(text))
      if (section === 'Journal' && key === 'ForwardToConsole') found = { value, file, line }
  }
  for (const root of ROOTS) {
    const main = await readConfig(guest, `${root}/journald.conf`)
    if (!main) continue
    read(`${root}/journald.conf`, main.text)
    break
  }
  for (const { path, text } of await dropIns(
    guest,
    ROOTS.map(root => `${root}/journald.conf.d`),
  ))
    read(path, text)
  return found
}
