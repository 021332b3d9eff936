import type { KernelArgumentChange } from '../config/kernel-arguments.ts'
import { joinLines, splitLines } from '../config/text.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { parseSelinuxConfig } from '../guest/selinux/config.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import { changeKernelCommandLines } from './kernel-command-line.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** As `SELINUX=` in /etc/selinux/config. */
export type SelinuxMode = 'enforcing' | 'permissive' | 'disabled'

/** Arguments of the operation `selinux-mode`. */
export interface SelinuxModeArguments {
  readonly mode: SelinuxMode
}

const CONFIG = '/etc/selinux/config'

/** Kernel arguments that win over the file (kernel-parameters.txt: `selinux=`, `enforcing=`), for each mode that they contradict. */
const CONTRARY: Readonly<Record<SelinuxMode, readonly string[]>> = {
  enforcing: ['selinux=0', 'enforcing=0'],
  permissive: ['selinux=0', 'enforcing=1'],
  disabled: [],
}

export const selinuxMode: Operation<SelinuxModeArguments> = {
  name: 'selinux-mode',
  summary: 'Set the mode of SELinux: enforcing, permissive or disabled',
  async run(guest, { mode }) {
    const report = new ReportBuilder('selinux-mode')
    const config = await readConfig(guest, CONFIG)
    if (!config) {
      if (mode !== 'disabled')
        throw new DrydiskError('ENOENT', `this guest has no ${CONFIG}: SELinux is not installed`, {
          path: CONFIG,
        })
      report.warn('SELinux is not installed in this guest')
      return report.build()
    }
    const before = parseSelinuxConfig(config.text).mode
    const text = setMode(config.text, mode)
    await writeConfig(guest, CONFIG, config, text)
    const line = splitLines(text).findIndex(one => /^SELINUX=/.test(one.text)) + 1
    report.change('SELinux', before, mode, CONFIG, { line })
    await removeContrary(guest, mode, report)
    if (before === 'disabled' && mode !== 'disabled')
      report.warn(
        'files that were made while SELinux was disabled have no labels: selinux-relabel gives them theirs',
      )
    return report.build()
  },
}

/** libselinux takes the first line that has a meaning. */
function setMode(text: string, mode: SelinuxMode): string {
  if (parseSelinuxConfig(text).mode === mode && /^SELINUX=/m.test(text)) return text
  const lines = splitLines(text)
  const present = lines.find(line => /^SELINUX=\s*(enforcing|permissive|disabled)/i.test(line.text))
  if (!present) return `SELINUX=${mode}\n${text}`
  present.text = present.text.replace(/^(SELINUX=\s*)\w+/i, `$1${mode}`)
  return joinLines(lines)
}

async function removeContrary(guest: GuestFs, mode: SelinuxMode, report: ReportBuilder): Promise<void> {
  const changes = CONTRARY[mode].map((argument): KernelArgumentChange => ({ action: 'remove', argument }))
  if (changes.length === 0) return
  try {
    const kernel = new ReportBuilder('selinux-mode')
    await changeKernelCommandLines(guest, changes, kernel)
    const { changes: made } = kernel.build()
    if (made.length > 0) report.include({ operation: 'selinux-mode', changes: made, warnings: [] })
  } catch (error) {
    // A guest without a boot configuration (a container, a folder) has no kernel arguments either.
    if (!isDrydiskError(error, 'ENOENT')) throw error
  }
}
