import { getIniValue, setIniValue } from '../config/ini.ts'
import {
  changeCommands,
  changeOptions,
  filterOption,
  filtersOfOptions,
  isAllowed,
  type RpcFilter,
  splitCommands,
} from '../config/qemu-ga.ts'
import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { unitList, unitWords } from '../config/systemd-unit.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import { readUnit, type Unit } from './systemd-units.ts'

const CONFIG_FILE = '/etc/qemu/qemu-ga.conf'
const SYSCONFIG = '/etc/sysconfig/qemu-ga'
const UNITS = ['qemu-guest-agent.service', 'qemu-ga.service']
const INIT_SCRIPTS = ['/etc/init.d/qemu-ga', '/etc/init.d/qemu-guest-agent']

/** A list of commands that qemu-ga is given, and where it stands. */
export interface RpcList extends RpcFilter {
  readonly file: string
  readonly line: number | undefined
  /** Puts commands on the list or takes them off, as its kind demands; the file is read again. */
  change(wanted: ReadonlyMap<string, boolean>): Promise<void>
}

/** The guest agent of a guest, and what decides which commands it serves. */
export interface QemuGaState {
  /** The file of the unit, or of the init script. */
  readonly unit: string
  readonly lists: readonly RpcList[]
  /** The agent's own configuration file, which may not exist. */
  readonly configFile: string
  /** Adds to the block list of the agent's own file. */
  block(commands: readonly string[]): Promise<void>
}

/**
 * Reads every list in force, or `undefined` where the guest has no agent. The configuration file is read before the command line,
 * and lists for the same key add up (qemu-ga(8), Description).
 */
export async function readQemuGa(guest: GuestFs): Promise<QemuGaState | undefined> {
  for (const name of UNITS) {
    const unit = await readUnit(guest, name)
    if (!unit) continue
    const [command = ''] = unitList(unit.entries, 'Service', 'ExecStart')
    const file = unit.entries.findLast(entry => entry.key === 'ExecStart')?.file ?? unit.path
    const environment = new UnitEnvironment(guest, unit)
    const configFile =
      /\s(?:--config[=\s]+|-c[=\s]*)(\S+)/.exec(command)?.[1] ??
      (await environment.value('QGA_CONF'))?.text ??
      CONFIG_FILE
    const own = await listsOfConfigFile(guest, configFile)
    return {
      unit: unit.path,
      configFile,
      lists: [...own, ...(await listsOfCommand(environment, command, file))],
      block: commands => blockInConfigFile(guest, configFile, commands),
    }
  }
  for (const script of INIT_SCRIPTS) {
    if (!(await guest.exists(script))) continue
    const lists = await listsOfConfigFile(guest, CONFIG_FILE)
    // EL6's script hands BLACKLIST_RPC to --blacklist.
    for (const name of ['BLACKLIST_RPC', 'BLOCK_RPCS']) {
      const value = getShellValue((await readConfig(guest, SYSCONFIG))?.text ?? '', name)
      if (!value) continue
      lists.push({
        kind: 'block',
        commands: splitCommands(value.text),
        file: SYSCONFIG,
        line: value.line,
        change: wanted =>
          changeVariable(guest, SYSCONFIG, name, value.text, text => changeList('block', text, wanted)),
      })
    }
    return {
      unit: script,
      configFile: CONFIG_FILE,
      lists,
      block: commands => blockInConfigFile(guest, CONFIG_FILE, commands),
    }
  }
  return undefined
}

/** Whether a command is served, and the place that decides: a block list comes after the allow lists. */
export function rpcDecision(
  state: QemuGaState,
  command: string,
): { allowed: boolean; file: string; line: number | undefined } {
  const allowing = state.lists.filter(list => list.kind === 'allow' && list.commands.length > 0)
  const [first] = allowing
  const place = (list: RpcList | undefined, allowed: boolean) => ({
    allowed,
    file: list?.file ?? state.configFile,
    line: list?.line,
  })
  const listed = allowing.find(list => list.commands.includes(command))
  if (first && !listed) return place(first, false)
  const blocking = state.lists.find(list => list.kind === 'block' && !isAllowed(list, command))
  if (blocking) return place(blocking, false)
  return place(listed ?? state.lists.at(-1), true)
}

function changeList(kind: RpcFilter['kind'], text: string, wanted: ReadonlyMap<string, boolean>): string {
  return changeCommands({ kind, commands: splitCommands(text) }, wanted).join(',')
}

interface VariableValue {
  readonly text: string
  readonly file: string
  readonly line: number | undefined
}

/** The variables of a unit: `EnvironmentFile=`, the last one first, over `Environment=` (systemd.exec(5)). */
class UnitEnvironment {
  readonly guest: GuestFs
  readonly #unit: Unit
  readonly files: readonly string[]

  constructor(guest: GuestFs, unit: Unit) {
    this.guest = guest
    this.#unit = unit
    this.files = unitList(unit.entries, 'Service', 'EnvironmentFile').map(file => file.replace(/^-/, ''))
  }

  async value(name: string): Promise<VariableValue | undefined> {
    for (const file of this.files.toReversed()) {
      const value = getShellValue((await readConfig(this.guest, file))?.text ?? '', name)
      if (value) return { text: value.text, file, line: value.line }
    }
    for (const entry of this.#unit.entries.toReversed()) {
      if (entry.section !== 'Service' || entry.key !== 'Environment') continue
      const word = unitWords(entry.value).findLast(word => word.startsWith(`${name}=`))
      if (word !== undefined) return { text: word.slice(name.length + 1), file: entry.file, line: entry.line }
    }
    return undefined
  }

  /** Sets a variable where it stands; what belongs to a package under /usr is overridden by the unit's own file in /etc (openSUSE). */
  async change(value: VariableValue, name: string, edit: (text: string) => string): Promise<void> {
    const inFile = this.files.includes(value.file)
    const target = value.file.startsWith('/usr/')
      ? this.files.slice(this.files.indexOf(value.file) + 1).find(file => file.startsWith('/etc/'))
      : value.file
    if (!inFile || target === undefined)
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        inFile
          ? `${value.file} decides and belongs to a package; its unit reads no file in /etc after it`
          : `${name} is set by Environment= in ${value.file}; override it in a drop-in`,
        { path: value.file },
      )
    const now = (await this.value(name))?.text ?? value.text
    await changeVariable(this.guest, target, name, now, edit)
  }
}

async function changeVariable(
  guest: GuestFs,
  file: string,
  name: string,
  old: string,
  edit: (text: string) => string,
): Promise<void> {
  const before = await readConfig(guest, file)
  const now = getShellValue(before?.text ?? '', name)?.text ?? old
  if (!before) await guest.mkdir(file.replace(/\/[^/]*$/, ''), { recursive: true })
  await writeConfig(guest, file, before, setShellValue(before?.text ?? '', name, edit(now)))
}

/** The lists that the command line holds, itself or through variables. */
async function listsOfCommand(
  environment: UnitEnvironment,
  command: string,
  unitFile: string,
): Promise<RpcList[]> {
  const lists: RpcList[] = []
  let pending: RpcFilter['kind'] | undefined
  for (const word of unitWords(command)) {
    const option: { kind: RpcFilter['kind'] | undefined; value: string } =
      pending === undefined ? filterOption(word) : { kind: pending, value: word }
    pending = undefined
    const { kind } = option
    if (kind && option.value === '') {
      pending = kind
      continue
    }
    const name = /^\$(?:(\w+)|\{(\w+)\})$/
      .exec(option.value)
      ?.slice(1)
      .find(found => found !== undefined)
    if (name !== undefined) {
      const value = await environment.value(name)
      if (!value) continue
      const { file, line } = value
      if (kind)
        lists.push({
          kind,
          commands: splitCommands(value.text),
          file,
          line,
          change: wanted => environment.change(value, name, text => changeList(kind, text, wanted)),
        })
      // The variable holds whole options, as FILTER_RPC_ARGS of EL 9.4 does.
      else
        for (const filter of filtersOfOptions(value.text))
          lists.push({
            ...filter,
            file,
            line,
            change: wanted =>
              environment.change(value, name, text => changeOptions(text, filter.kind, wanted)),
          })
    } else if (kind)
      lists.push({
        kind,
        commands: splitCommands(option.value),
        file: unitFile,
        line: undefined,
        change() {
          throw new DrydiskError(
            'ERR_NOT_EFFECTIVE',
            `the command line in ${unitFile} decides what qemu-ga allows: ${command}; override ExecStart in a drop-in`,
            { path: unitFile },
          )
        },
      })
  }
  return lists
}

/** qemu-ga reads this file of itself; its first name for the key was `blacklist`. */
async function listsOfConfigFile(guest: GuestFs, file: string): Promise<RpcList[]> {
  const text = (await readConfig(guest, file))?.text ?? ''
  const lists: RpcList[] = []
  for (const key of ['allow-rpcs', 'block-rpcs', 'blacklist']) {
    const value = getIniValue(text, 'general', key)
    if (!value) continue
    const kind = key === 'allow-rpcs' ? 'allow' : 'block'
    lists.push({
      kind,
      commands: splitCommands(value.value),
      file,
      line: value.line,
      async change(wanted) {
        const config = await readConfig(guest, file)
        const now = config?.text ?? ''
        const list = changeList(kind, getIniValue(now, 'general', key)?.value ?? '', wanted)
        await writeConfig(guest, file, config, setIniValue(now, 'general', key, list))
      },
    })
  }
  return lists
}

async function blockInConfigFile(guest: GuestFs, file: string, commands: readonly string[]): Promise<void> {
  const config = await readConfig(guest, file)
  const text = config?.text ?? ''
  const key = (await knowsBlockRpcs(guest)) ? 'block-rpcs' : 'blacklist'
  const wanted = new Map(commands.map(command => [command, false]))
  const list = changeList('block', getIniValue(text, 'general', key)?.value ?? '', wanted)
  await guest.mkdir(file.replace(/\/[^/]*$/, ''), { recursive: true })
  await writeConfig(guest, file, config, setIniValue(text, 'general', key, list))
}

/** Before QEMU 7.2 the key was `blacklist`: Debian 11 and Ubuntu 22.04 know no other. */
async function knowsBlockRpcs(guest: GuestFs): Promise<boolean> {
  const status = await readConfig(guest, '/var/lib/dpkg/status')
  const version = /^Package: qemu-guest-agent\n(?:[^\n]+\n)*?Version: (?:\d+:)?(\d+)\.(\d+)/m.exec(
    status?.text ?? '',
  )
  return !version || Number(version[1]) > 7 || (Number(version[1]) === 7 && Number(version[2]) >= 2)
}
