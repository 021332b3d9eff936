import { setSysctl, sysctlKey, sysctlLines } from '../config/sysctl-conf.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { type ConfigFile, dropIns } from './drop-ins.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `sysctl`. */
export interface SysctlArguments {
  /** `net.ipv4.ip_forward`, or with slashes. */
  readonly key: string
  readonly value: string
}

/** sysctl.d(5); procps has the same but for the last. */
const FOLDERS = [
  '/etc/sysctl.d',
  '/run/sysctl.d',
  '/usr/local/lib/sysctl.d',
  '/usr/lib/sysctl.d',
  '/lib/sysctl.d',
]
const MAIN = '/etc/sysctl.conf'
/** After Debian's and EL's 99-sysctl.conf, which is a link to /etc/sysctl.conf: the last one wins. */
const DROP_IN = '/etc/sysctl.d/99-zz-drydisk.conf'

interface Winner {
  readonly file: string
  readonly value: string
  readonly line: number
}

function checkParameter({ key: given, value }: SysctlArguments): void {
  const key = sysctlKey(given)
  if (!/^[\w-]+[./][\w:@/.-]*[\w:@/-]$/.test(key) || /[\n\0]/.test(value) || value.trim() === '')
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(`${given}=${value}`)} is no kernel parameter; expected KEY=VALUE such as net.ipv4.ip_forward=1`,
    )
}

export const sysctl: Operation<SysctlArguments> = {
  name: 'sysctl',
  summary: 'Set a kernel parameter (sysctl) at every boot',
  check: checkParameter,
  async run(guest, { key: given, value }) {
    const report = new ReportBuilder('sysctl')
    const key = sysctlKey(given)
    checkParameter({ key: given, value })
    const wanted = value.trim()
    const before = winner(await filesOf(guest), key)
    if (!before || !same(before.value, wanted)) {
      const withDropIns = (await guest.exists('/etc/sysctl.d')) || (await guest.exists('/usr/lib/sysctl.d'))
      await setIn(guest, withDropIns ? DROP_IN : MAIN, key, wanted)
      // What sorts behind it, or /etc/sysctl.conf where it is read last, may still win: change the value where it stands.
      for (let tries = 0; tries < 20; tries++) {
        const now = winner(await filesOf(guest), key)
        if (!now || same(now.value, wanted) || !now.file.startsWith('/etc/')) break
        await setIn(guest, now.file, key, wanted)
      }
    }
    const after = winner(await filesOf(guest), key)
    if (!after || !same(after.value, wanted))
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `${key} still is ${after?.value ?? 'unset'} by ${after?.file}:${after?.line}; hide that file by one of the same name in /etc/sysctl.d`,
        { path: after?.file, line: after?.line },
      )
    report.change(key, before?.value ?? null, after.value, after.file, { line: after.line })
    return report.build()
  },
}

/** Every file that is read at boot, the strongest last. */
async function filesOf(guest: GuestFs): Promise<ConfigFile[]> {
  const files = await dropIns(guest, FOLDERS)
  // The init scripts of EL6, OpenRC and Debian's procps read it behind all others; systemd only where a link in sysctl.d leads to it.
  const linked = files.some(one => one.path.endsWith('/99-sysctl.conf'))
  const main = linked ? undefined : await readConfig(guest, MAIN)
  return main ? [...files, { path: MAIN, text: main.text }] : files
}

function winner(files: readonly ConfigFile[], key: string): Winner | undefined {
  for (const { path, text } of files.toReversed()) {
    const line = sysctlLines(text).findLast(one => one.key === key)
    if (line) return { file: path, value: line.value, line: line.line }
  }
  return undefined
}

/** Several numbers are separated by any white space. */
function same(a: string, b: string): boolean {
  return a.split(/\s+/).join(' ') === b.split(/\s+/).join(' ')
}

async function setIn(guest: GuestFs, path: string, key: string, value: string): Promise<void> {
  const config = await readConfig(guest, path)
  if (!config) await guest.mkdir(path.slice(0, path.lastIndexOf('/')), { recursive: true })
  await writeConfig(guest, path, config, setSysctl(config?.text ?? '', key, value))
}
