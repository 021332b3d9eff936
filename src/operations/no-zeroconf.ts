import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { readConfig, statOrUndefined, writeConfig } from './guest-files.ts'
import { readNetworkStacks } from './network/stack.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

const NETWORK = '/etc/sysconfig/network'

/** The route to 169.254.0.0/16 of EL's network scripts, in the way of the metadata service on old clouds. */
export const noZeroconf: Operation<Readonly<Record<string, never>>> = {
  name: 'no-zeroconf',
  summary: 'Keep the link-local route out: NOZEROCONF=yes for the network scripts of EL6 and EL7',
  async run(guest) {
    const report = new ReportBuilder('no-zeroconf')
    const isEnterpriseLinux =
      (await guest.exists('/etc/redhat-release')) ||
      (await guest.exists('/etc/sysconfig/network-scripts')) ||
      /^ID(_LIKE)?=.*\b(rhel|centos|fedora)\b/m.test((await readConfig(guest, '/etc/os-release'))?.text ?? '')
    const stats = await statOrUndefined(guest, NETWORK)
    if (!isEnterpriseLinux || stats?.isDirectory()) {
      report.warn(
        'NOZEROCONF does nothing in this guest: only the network scripts of EL6 and EL7 read it, and nothing here adds a link-local route',
      )
      return report.build()
    }
    const before = await readConfig(guest, NETWORK)
    const old = getShellValue(before?.text ?? '', 'NOZEROCONF')
    const text = setShellValue(before?.text ?? '', 'NOZEROCONF', 'yes')
    await writeConfig(guest, NETWORK, before, text)
    report.change('NOZEROCONF', old?.text ?? null, 'yes', NETWORK, {
      line: getShellValue(text, 'NOZEROCONF')?.line,
    })
    const [stack] = await readNetworkStacks(guest)
    if (stack && stack.kind !== 'network-scripts')
      report.warn(
        `nothing reads NOZEROCONF in this guest: its network is not configured by network scripts (${stack.because} says so), and nothing else adds a link-local route of itself`,
      )
    return report.build()
  },
}
