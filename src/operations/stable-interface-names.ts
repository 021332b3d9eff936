import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { displayPath, lstatOrUndefined, readConfig } from './guest-files.ts'
import { changeKernelCommandLines } from './kernel-command-line.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Rules that name interfaces, each hidden by an empty file or a link to /dev/null of the same name in /etc (udev(7), systemd.link(5)). */
const HIDDEN_RULES = [
  '/etc/udev/rules.d/80-net-name-slot.rules',
  '/etc/udev/rules.d/80-net-setup-link.rules',
  '/etc/udev/rules.d/71-biosdevname.rules',
  '/etc/systemd/network/99-default.link',
]

export const stableInterfaceNames: Operation<Readonly<Record<string, never>>> = {
  name: 'stable-interface-names',
  summary: 'Name network interfaces by where they are (ens3, em1), not by when they are found (eth0)',
  async run(guest) {
    const report = new ReportBuilder('stable-interface-names')
    for (const path of HIDDEN_RULES)
      if (await isHiding(guest, path)) {
        await guest.unlink(path)
        report.always('rules for interface names', 'hidden', 'in force', path)
      }
    try {
      const kernel = new ReportBuilder('stable-interface-names')
      await changeKernelCommandLines(
        guest,
        [
          { action: 'remove', argument: 'net.ifnames=0' },
          { action: 'remove', argument: 'biosdevname=0' },
        ],
        kernel,
      )
      report.include(kernel.build())
    } catch (error) {
      if (!isDrydiskError(error, 'ENOENT')) throw error
    }
    return report.build()
  },
}

async function isHiding(guest: GuestFs, path: string): Promise<boolean> {
  const stats = await lstatOrUndefined(guest, path)
  if (stats?.isSymbolicLink()) return displayPath(await guest.readlink(path)) === '/dev/null'
  return stats?.isFile() === true && ((await readConfig(guest, path))?.text ?? 'x').trim() === ''
}
