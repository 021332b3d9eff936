import {
  commentOutSshdLine,
  conditionalDirectives,
  decidingDirectives,
  includesFolder,
  replaceSshdLine,
  resolveSshdConfig,
  type SshdDirective,
  type SshdFiles,
  setInSshdFile,
} from '../config/sshd-config.ts'
import { accumulates, checkSshdSetting, parseSshdValue, sameSshdValue } from '../config/sshd-keywords.ts'
import type { DecodedText } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { hasCloudInit, setCloudConfig } from './cloud-config-of-guest.ts'
import { glob } from './glob.ts'
import { displayPath, readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

export interface SshdArguments {
  /** A keyword of sshd_config(5), in any case. */
  readonly keyword: string
  /** As it would stand in the file; several words for keywords that take several. */
  readonly value: string
}

const MAIN = '/etc/ssh/sshd_config'
/** SUSE keeps the vendor's file here; one in /etc stands in for it whole. */
const VENDOR_MAIN = '/usr/etc/ssh/sshd_config'
const FOLDER = '/etc/ssh/sshd_config.d'
/** Sorts before Anaconda's 01-permitrootlogin.conf, 50-redhat.conf and 50-cloud-init.conf: the first value wins. */
const DROP_IN = `${FOLDER}/00-drydisk.conf`
const DROP_IN_HEADER =
  '# Settings made by drydisk. sshd takes the first value it meets, so this name sorts first.\n'

export const sshd: Operation<SshdArguments> = {
  name: 'sshd',
  summary: 'Set a keyword of the SSH server, where it wins over every other file',
  async run(guest, { keyword, value }) {
    const report = new ReportBuilder('sshd')
    const name = checkSshdSetting(keyword, value)
    const main = (await guest.exists(MAIN)) ? MAIN : VENDOR_MAIN
    const config = new StagedFiles(guest)
    if ((await config.read(main)) === undefined)
      throw new DrydiskError(
        'ENOENT',
        (await guest.exists('/etc/cirros'))
          ? 'this guest (CirrOS) runs dropbear, which has no sshd_config'
          : `this guest has no ${MAIN}: OpenSSH's server is not installed`,
        { path: MAIN },
      )

    const before = decidingDirectives(await resolveSshdConfig(main, config), name)
    if (!isDecided(before, value)) await decide(config, main, name, value)
    const directives = await resolveSshdConfig(main, config)
    const after = decidingDirectives(directives, name)
    const place = after[0]
    if (!place || !isDecided(after, value))
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `${name} still is ${JSON.stringify(show(after))} by ${place?.file}:${place?.line}, wanted ${JSON.stringify(value)}; edit that place by hand`,
        { path: place?.file, line: place?.line },
      )
    await config.save()
    report.change(name, show(before), show(after), place.file, { line: place.line })
    for (const rival of conditionalDirectives(directives, name))
      if (!sameSshdValue(rival.args, parseSshdValue(value)))
        report.warn(
          `${rival.file}:${rival.line} sets ${name} to ${rival.args.join(' ')} for connections that match "${rival.match}"; left as it is`,
        )
    await keepCloudInitInStep(guest, name, value, report)
    return report.build()
  },
}

function show(directives: readonly SshdDirective[]): string | null {
  return directives.length === 0 ? null : directives.map(d => d.args.join(' ')).join(', ')
}

function isDecided(directives: readonly SshdDirective[], value: string): boolean {
  return (
    directives.length > 0 &&
    sameSshdValue(
      directives.flatMap(d => d.args),
      parseSshdValue(value),
    )
  )
}

/** Changes the staged files until the keyword has the value, from the tidiest way to the one that always works. */
async function decide(config: StagedFiles, main: string, name: string, value: string): Promise<void> {
  const wins = async () => isDecided(decidingDirectives(await resolveSshdConfig(main, config), name), value)
  if (accumulates(name))
    // What other files add would stay in force beside the new value.
    for (const other of decidingDirectives(await resolveSshdConfig(main, config), name).reverse())
      if (other.file !== DROP_IN)
        config.write(other.file, commentOutSshdLine((await config.read(other.file)) ?? '', other.line))

  if (includesFolder((await config.read(main)) ?? '', FOLDER)) {
    config.write(DROP_IN, setInSshdFile((await config.read(DROP_IN)) ?? DROP_IN_HEADER, name, value))
  } else if (main === VENDOR_MAIN)
    throw new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${main} belongs to the distribution's package and does not include ${FOLDER}; copy it to ${MAIN} first`,
      { path: main },
    )
  else config.write(main, setInSshdFile((await config.read(main)) ?? '', name, value))
  // An earlier file, a setting before the Include, or a `Match all` block may still win: change it where it stands.
  for (let tries = 0; tries < 100 && !(await wins()); tries++) {
    const rival = decidingDirectives(await resolveSshdConfig(main, config), name)[0]
    if (!rival || rival.file === VENDOR_MAIN) return
    config.write(rival.file, replaceSshdLine((await config.read(rival.file)) ?? '', rival.line, name, value))
  }
}

/**
 * cloud-init writes 50-cloud-init.conf from ssh_pwauth at each first boot of an instance, and with disable_root puts a
 * command before root's keys that refuses the login. What sshd is told is only effective if cloud-init is told the same.
 */
async function keepCloudInitInStep(
  guest: GuestFs,
  name: string,
  value: string,
  report: ReportBuilder,
): Promise<void> {
  if (!(await hasCloudInit(guest))) return
  const word = value.trim().toLowerCase()
  if (name === 'PasswordAuthentication') await setCloudConfig(guest, 'ssh_pwauth', word === 'yes', report)
  if (name === 'PermitRootLogin' && word !== 'no') await setCloudConfig(guest, 'disable_root', false, report)
}

/** Files as they will be, so that the effective value is known before anything is written. */
class StagedFiles implements SshdFiles {
  readonly #guest: GuestFs
  readonly #before = new Map<string, DecodedText | undefined>()
  readonly #texts = new Map<string, string | undefined>()

  constructor(guest: GuestFs) {
    this.#guest = guest
  }

  async read(path: string): Promise<string | undefined> {
    if (!this.#texts.has(path)) {
      const config = await readConfig(this.#guest, path)
      this.#before.set(path, config)
      this.#texts.set(path, config?.text)
    }
    return this.#texts.get(path)
  }

  write(path: string, text: string): void {
    this.#texts.set(path, text)
  }

  async glob(pattern: string): Promise<string[]> {
    const found = new Set((await glob(this.#guest, pattern)).map(displayPath))
    // A file that is still to be made is met where its name sorts.
    if (this.#texts.get(DROP_IN) !== undefined && [`${FOLDER}/*.conf`, `${FOLDER}/*`].includes(pattern))
      found.add(DROP_IN)
    return [...found].sort()
  }

  async save(): Promise<void> {
    for (const [path, text] of this.#texts) {
      if (text === undefined || text === this.#before.get(path)?.text) continue
      if (path === DROP_IN) await this.#guest.mkdir(FOLDER, { recursive: true })
      // sshd reads it as root; 0600 as the strictest distribution has its own.
      await writeConfig(this.#guest, path, this.#before.get(path), text, { mode: 0o600 })
    }
  }
}
