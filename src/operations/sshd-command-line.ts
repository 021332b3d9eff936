import { getShellValue } from '../config/shell-assignments.ts'
import { parseSshdLine, type SshdDirective } from '../config/sshd-config.ts'
import { unitList, unitWords } from '../config/systemd-unit.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { readConfig } from './guest-files.ts'
import { readUnit } from './systemd-units.ts'

export interface SshdCommandLine {
  /** What `-o` and `-p` set: sshd reads it before any file, so it wins. */
  readonly directives: readonly SshdDirective[]
  /** The file that `-f` names. */
  readonly configFile: string | undefined
}

/** What init scripts without a unit hand over: /etc/sysconfig/sshd of EL6 and SUSE 11, /etc/default/ssh of Debian. */
const SCRIPT_VARIABLES = [
  ['/etc/sysconfig/sshd', 'OPTIONS'],
  ['/etc/sysconfig/ssh', 'SSHD_OPTS'],
  ['/etc/default/ssh', 'SSHD_OPTS'],
] as const

/**
 * Reads the command line of sshd's unit with its variables. EL8 hands the ciphers of the crypto policy over so
 * (`CRYPTO_POLICY` of /etc/crypto-policies/back-ends/opensshserver.config).
 */
export async function readSshdCommandLine(guest: GuestFs): Promise<SshdCommandLine> {
  for (const name of ['sshd.service', 'ssh.service']) {
    const unit = await readUnit(guest, name)
    if (!unit) continue
    const [command = ''] = unitList(unit.entries, 'Service', 'ExecStart')
    const file = unit.entries.findLast(entry => entry.key === 'ExecStart')?.file ?? unit.path
    const line = unit.entries.findLast(entry => entry.key === 'ExecStart')?.line ?? 1
    const files = unitList(unit.entries, 'Service', 'EnvironmentFile').map(path => path.replace(/^-/, ''))
    const words: PlacedWord[] = []
    for (const word of unitWords(command).slice(1)) {
      const variable = /^\$(?:(\w+)|\{(\w+)\})$/.exec(word)
      if (variable) words.push(...(await wordsOfVariable(guest, files, variable[1] ?? variable[2] ?? '')))
      else words.push({ text: word, file, line })
    }
    return parseWords(words)
  }
  for (const [file, name] of SCRIPT_VARIABLES) {
    const words = await wordsOfVariable(guest, [file], name)
    if (words.length > 0) return parseWords(words)
  }
  return { directives: [], configFile: undefined }
}

interface PlacedWord {
  readonly text: string
  readonly file: string
  readonly line: number
}

async function wordsOfVariable(
  guest: GuestFs,
  files: readonly string[],
  name: string,
): Promise<PlacedWord[]> {
  for (const file of files.toReversed()) {
    const value = getShellValue((await readConfig(guest, file))?.text ?? '', name)
    if (value) return unitWords(value.text).map(text => ({ text, file, line: value.line }))
  }
  return []
}

/** Options of sshd(8) that take a value. */
const WITH_VALUE = /^-[CcEfghkopub]$/

function parseWords(words: readonly PlacedWord[]): SshdCommandLine {
  const directives: SshdDirective[] = []
  let configFile: string | undefined
  for (let i = 0; i < words.length; i++) {
    const word = words[i]
    if (!word?.text.startsWith('-')) continue
    const flag = word.text.slice(0, 2)
    let value = word.text.slice(2)
    if (WITH_VALUE.test(flag) && value === '') value = words[++i]?.text ?? ''
    const place = { file: word.file, line: word.line, match: undefined }
    const parsed = flag === '-o' ? parseSshdLine(value) : undefined
    if (parsed) directives.push({ ...parsed, ...place })
    if (flag === '-p' && value !== '') directives.push({ keyword: 'Port', args: [value], ...place })
    if (flag === '-f' && value.startsWith('/')) configFile = value
  }
  return { directives, configFile }
}
