import { checkHostname, readHostname, renameHost, writeHostname } from '../config/hosts.ts'
import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { splitLines } from '../config/text.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { CloudConfig, setCloudConfig } from './cloud-config-of-guest.ts'
import { lstatOrUndefined, readConfig, statOrUndefined, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `hostname`. */
export interface HostnameArguments {
  readonly hostname: string
}

const NETWORK = '/etc/sysconfig/network'

export const hostname: Operation<HostnameArguments> = {
  name: 'hostname',
  summary: 'Set the hostname, and rename the host in /etc/hosts',
  check({ hostname }) {
    checkHostname(hostname)
  },
  async run(guest, { hostname: name }) {
    checkHostname(name)
    const report = new ReportBuilder('hostname')
    const old = await changeName(guest, name, report)
    const hosts = await readConfig(guest, '/etc/hosts')
    if (hosts && old !== undefined) {
      const text = renameHost(hosts.text, old, name)
      await writeConfig(guest, '/etc/hosts', hosts, text)
      const now = splitLines(text)
      splitLines(hosts.text).forEach((line, i) => {
        report.change('hosts entry', line.text, now[i]?.text ?? null, '/etc/hosts', { line: i + 1 })
      })
    }
    const cloud = await CloudConfig.load(guest)
    // A name in cloud.cfg itself would come back at each first boot.
    for (const key of ['hostname', 'fqdn'])
      if (typeof (await cloud?.effective([key])) === 'string')
        await setCloudConfig(guest, key, key === 'hostname' ? (name.split('.', 1)[0] ?? name) : name, report)
    const manages = await cloud?.effective(['manage_etc_hosts'])
    if (manages === true || manages === 'template' || manages === 'localhost')
      report.warn('cloud-init writes /etc/hosts at each boot, as its manage_etc_hosts says')
    if (cloud && (await cloud.effective(['preserve_hostname'])) !== true)
      report.warn(
        'cloud-init sets the hostname that its datasource gives at first boot; set cloud-init preserve_hostname=true to keep this one',
      )
    return report.build()
  },
}

/** Writes the name where this guest's boot takes it from; the name before. */
async function changeName(guest: GuestFs, name: string, report: ReportBuilder): Promise<string | undefined> {
  let old: string | undefined
  const file = await readConfig(guest, '/etc/hostname')
  // EL6 has no /etc/hostname; its network script takes HOSTNAME.
  const network = (await statOrUndefined(guest, NETWORK))?.isFile()
    ? await readConfig(guest, NETWORK)
    : undefined
  const variable = network && getShellValue(network.text, 'HOSTNAME')
  const byVariable = network && !file && (variable !== undefined || !(await guest.exists('/etc/os-release')))
  if (network && (variable || byVariable)) {
    const text = setShellValue(network.text, 'HOSTNAME', name)
    await writeConfig(guest, NETWORK, network, text)
    old = variable?.text
    report.change('HOSTNAME', variable?.text ?? null, name, NETWORK, {
      line: getShellValue(text, 'HOSTNAME')?.line,
    })
  }
  // SUSE before 12 has its own; since then it is a link to /etc/hostname.
  const suse = await lstatOrUndefined(guest, '/etc/HOSTNAME')
  const paths = [...(byVariable ? [] : ['/etc/hostname']), ...(suse?.isFile() ? ['/etc/HOSTNAME'] : [])]
  for (const path of paths) {
    const before = await readConfig(guest, path)
    const text = writeHostname(before?.text ?? '', name)
    await writeConfig(guest, path, before, text)
    const was = readHostname(before?.text ?? '')
    report.change('hostname', was ?? null, name, path, {
      line: splitLines(text).findIndex(l => l.text === name) + 1,
    })
    old ??= was
  }
  return old
}
