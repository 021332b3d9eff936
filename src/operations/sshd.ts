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
import { readSshdCommandLine } from './sshd-command-line.ts'

/** Arguments of the operation `sshd`. */
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
    const config = await StagedFiles.open(guest)
    if (!config) throw await notInstalled(guest)

    const before = config.deciding(await config.resolve(), name)
    if (!isDecided(before, value)) await decide(config, name, value)
    const directives = await config.resolve()
    const after = config.deciding(directives, name)
    const place = after[0]
    if (!place || !isDecided(after, value))
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `${name} still is ${JSON.stringify(show(after))} by ${place?.file}:${place?.line}${
          config.isCommandLine(place) ? ", which is on sshd's command line" : ''
        }, wanted ${JSON.stringify(value)}; edit that place by hand`,
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
    await warnOfListeners(guest, name, value, report)
    return report.build()
  },
}

/** What a keyword of sshd is set to, for whom. */
export interface SshdSetting {
  /** `null`: sshd's own default. */
  readonly value: string | null
  readonly file: string | undefined
  readonly line: number | undefined
  /** Match blocks that set it to something for some connections. */
  readonly exceptions: readonly SshdDirective[]
}

/** The effective value of a keyword; `undefined` where the guest has no configuration of OpenSSH's server. */
export async function readSshdSetting(guest: GuestFs, keyword: string): Promise<SshdSetting | undefined> {
  const config = await StagedFiles.open(guest)
  if (!config) return undefined
  const directives = await config.resolve()
  const deciding = config.deciding(directives, keyword)
  return {
    value: show(deciding),
    file: deciding[0]?.file,
    line: deciding[0]?.line,
    exceptions: conditionalDirectives(directives, keyword),
  }
}

async function notInstalled(guest: GuestFs): Promise<DrydiskError> {
  for (const path of ['/etc/cirros', '/etc/dropbear', '/usr/sbin/dropbear', '/etc/conf.d/dropbear'])
    if (await guest.exists(path))
      return new DrydiskError(
        'ENOENT',
        `this guest${path === '/etc/cirros' ? ' (CirrOS)' : ''} runs dropbear, which has no sshd_config`,
        { path: MAIN },
      )
  return new DrydiskError('ENOENT', `this guest has no ${MAIN}: OpenSSH's server is not installed`, {
    path: MAIN,
  })
}

const LISTENING = new Set(['Port', 'ListenAddress', 'AddressFamily'])

/** Where sshd listens is not only sshd's to say. */
async function warnOfListeners(
  guest: GuestFs,
  name: string,
  value: string,
  report: ReportBuilder,
): Promise<void> {
  if (!LISTENING.has(name)) return
  const socket = (await glob(guest, '/etc/systemd/system/*.wants/ssh*.socket'))
    .map(displayPath)
    .find(path => /\/sshd?\.socket$/.test(path))
  const generators = ['/usr/lib', '/lib'].map(
    root => `${root}/systemd/system-generators/sshd-socket-generator`,
  )
  const generated = (await Promise.all(generators.map(path => guest.exists(path)))).includes(true)
  if (socket && !generated)
    report.warn(
      `${socket} starts sshd, so systemd listens where ssh.socket's ListenStream= says, not where sshd's configuration does`,
    )
  const selinux = (await readConfig(guest, '/etc/selinux/config'))?.text ?? ''
  if (name === 'Port' && value.trim() !== '22' && /^SELINUX=(enforcing)\s*$/m.test(selinux))
    report.warn(
      `SELinux lets sshd listen on port 22 alone until the guest runs \`semanage port -a -t ssh_port_t -p tcp ${value.trim()}\``,
    )
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
async function decide(config: StagedFiles, name: string, value: string): Promise<void> {
  const { main } = config
  const deciding = async () => config.deciding(await config.resolve(), name)
  const wins = async () => isDecided(await deciding(), value)
  if (accumulates(name))
    // What other files add would stay in force beside the new value.
    for (const other of (await deciding()).reverse())
      if (other.file !== DROP_IN && !config.isCommandLine(other))
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
    const [rival] = await deciding()
    if (!rival || rival.file === VENDOR_MAIN || config.isCommandLine(rival)) return
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
  readonly #commandLine: readonly SshdDirective[]
  readonly main: string

  private constructor(guest: GuestFs, main: string, commandLine: readonly SshdDirective[]) {
    this.#guest = guest
    this.main = main
    this.#commandLine = commandLine
  }

  /** `undefined` where OpenSSH's server has no configuration. */
  static async open(guest: GuestFs): Promise<StagedFiles | undefined> {
    const { directives, configFile } = await readSshdCommandLine(guest)
    const main = configFile ?? ((await guest.exists(MAIN)) ? MAIN : VENDOR_MAIN)
    const config = new StagedFiles(guest, main, directives)
    return (await config.read(main)) === undefined ? undefined : config
  }

  /** Every directive in the order in which sshd takes them in, those of its command line first. */
  async resolve(): Promise<SshdDirective[]> {
    return [...this.#commandLine, ...(await resolveSshdConfig(this.main, this))]
  }

  /** As `decidingDirectives`; a port on the command line stands in for all in files (sshd(8), -p). */
  deciding(directives: readonly SshdDirective[], keyword: string): SshdDirective[] {
    const deciding = decidingDirectives(directives, keyword)
    const given = keyword.toLowerCase() === 'port' ? deciding.filter(d => this.isCommandLine(d)) : []
    return given.length > 0 ? given : deciding
  }

  isCommandLine(directive: SshdDirective | undefined): boolean {
    return directive !== undefined && this.#commandLine.includes(directive)
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
