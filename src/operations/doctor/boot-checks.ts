import { kernelArguments } from '../../config/kernel-arguments.ts'
import { bootEntries } from '../boot-listing.ts'
import { kernelImage } from '../guest-facts.ts'
import { serialConsole } from '../serial-console.ts'
import type { Check } from './check.ts'
import { initramfsCheck } from './initramfs.ts'

const SERIAL = /^console=(tty(?:S|AMA)\d+|hvc\d+|sclp\w*)/
const COMMAND = 'drydisk customize IMAGE --serial-console'

/** Menus that are longer are none that somebody looks through. */
const MAX_ENTRIES = 100

const menu: Check = {
  name: 'boot-menu',
  summary: 'there are boot entries, and each has a kernel',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ guest, facts, disk, findings }) {
    const { bootEntries: entries, bootloader } = facts
    const [first] = entries
    if (first === undefined) findings.fail('no boot entry was found: what starts this guest is not known')
    else
      findings.ok(`${entries.length} boot ${entries.length === 1 ? 'entry' : 'entries'} (${bootloader})`, {
        file: first.file,
      })
    for (const warning of facts.warnings) findings.warn(warning)
    // A /boot that is not here holds what cannot be looked for.
    if (disk?.mounts.some(({ path, fs }) => fs === undefined && /^\/(?:boot|efi)/.test(path))) return
    for (const entry of entries.slice(0, MAX_ENTRIES)) {
      if (entry.foreign || entry.kernel === '' || /[$]/.test(entry.kernel)) continue
      if ((await kernelImage(guest, entry.kernel)) !== undefined) continue
      const message = `"${entry.title}" starts ${entry.kernel}, which is not there`
      if (entry.default) findings.fail(message, { file: entry.file, line: entry.line })
      else findings.warn(message, { file: entry.file, line: entry.line })
    }
  },
}

const console_: Check = {
  name: 'serial-console',
  summary: 'the kernel of every boot entry writes to the serial console',
  profiles: ['openstack', 'kvm'],
  async run({ guest, facts, findings, mend }) {
    const quiet = (entry: { readonly arguments: string }) =>
      !kernelArguments(entry.arguments).some(({ text }) => SERIAL.test(text))
    const missing = facts.bootEntries.filter(quiet)
    if (missing.length === 0) {
      const [first] = facts.bootEntries
      if (first !== undefined)
        findings.ok('every boot entry writes to a serial console', { file: first.file, line: first.line })
      return
    }
    const mended = await mend(inner => serialConsole.run(inner, {}))
    const left = mended ? (await bootEntries(guest)).filter(quiet).map(({ title }) => title) : []
    for (const { title, file, line } of missing)
      findings.fail(`"${title}" has no serial console: what it says at boot shows in no console log`, {
        file,
        line,
        command: COMMAND,
        mended: mended && !left.includes(title),
      })
  },
}

const root: Check = {
  name: 'root-device',
  summary: 'boot entries name the root filesystem by what it carries, not by the order of the disks',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ facts, disk, findings }) {
    const uuid = disk?.volumes.find(({ name }) => name === disk.rootVolume)?.found?.uuid
    let fine: string | undefined
    for (const { title, arguments: text, file, line } of facts.bootEntries) {
      const device = kernelArguments(text).findLast(one => one.text.startsWith('root='))?.text
      if (device === undefined) continue
      if (/^root=\/dev\/(?:[shv]d[a-z]|xvd[a-z]|nvme\d)/.test(device))
        findings.warn(`"${title}" has ${device}, which another disk or bus may rename`, {
          file,
          line,
          ...(uuid ? { command: `drydisk customize IMAGE --kernel-arg root=UUID=${uuid}` } : {}),
        })
      else fine ??= device
    }
    if (fine !== undefined && findings.list.length === 0) findings.ok(fine)
  },
}

export const bootChecks: readonly Check[] = [menu, console_, root, initramfsCheck]
