import { appendLine, splitLines } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { dropIns } from './drop-ins.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `modprobe-blacklist`. */
export interface ModprobeBlacklistArguments {
  /** Names of kernel modules. */
  readonly modules: readonly string[]
}

/** modprobe.d(5). */
const FOLDERS = [
  '/etc/modprobe.d',
  '/run/modprobe.d',
  '/usr/local/lib/modprobe.d',
  '/usr/lib/modprobe.d',
  '/lib/modprobe.d',
]
const FILE = '/etc/modprobe.d/drydisk-blacklist.conf'

function checkModules({ modules }: ModprobeBlacklistArguments): void {
  for (const module of modules)
    if (!/^[A-Za-z0-9_-]+$/.test(module))
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `${JSON.stringify(module)} is no name of a kernel module`,
      )
}

export const modprobeBlacklist: Operation<ModprobeBlacklistArguments> = {
  name: 'modprobe-blacklist',
  summary: 'Keep kernel modules from being loaded for the devices that they match',
  check: checkModules,
  async run(guest, { modules }) {
    const report = new ReportBuilder('modprobe-blacklist')
    checkModules({ modules })
    for (const module of modules) {
      const present = await placeOf(guest, module)
      if (present) {
        report.keep(`module ${module}`, 'blacklisted', present.file, present.line)
        continue
      }
      const config = await readConfig(guest, FILE)
      if (!config) await guest.mkdir('/etc/modprobe.d', { recursive: true })
      await writeConfig(guest, FILE, config, appendLine(config?.text ?? '', `blacklist ${module}`))
      report.change(`module ${module}`, null, 'blacklisted', FILE, {
        line: (await placeOf(guest, module))?.line,
      })
    }
    if (report.changed)
      report.warn(
        'what the initramfs loads is not changed by this: kernel-arg +modprobe.blacklist=MODULE keeps a module from there too',
      )
    return report.build()
  },
}

/** Where a module is blacklisted; kmod takes - and _ as the same. */
async function placeOf(guest: GuestFs, module: string): Promise<{ file: string; line: number } | undefined> {
  const name = (text: string) => text.replaceAll('-', '_')
  for (const { path, text } of await dropIns(guest, FOLDERS)) {
    const at = splitLines(text).findIndex(line => {
      const word = /^\s*blacklist\s+(\S+)\s*$/.exec(line.text)?.[1]
      return word !== undefined && name(word) === name(module)
    })
    if (at >= 0) return { file: path, line: at + 1 }
  }
  return undefined
}
