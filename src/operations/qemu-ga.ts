import { getIniValue, setIniValue } from '../config/ini.ts'
import {
  changeCommands,
  changeOptions,
  filterOfOptions,
  isAllowed,
  type RpcFilter,
  splitCommands,
} from '../config/qemu-ga.ts'
import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { unitList, unitWords } from '../config/systemd-unit.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'
import { readUnit } from './systemd-units.ts'

export interface QemuGaArguments {
  /** Commands to allow; when nothing at all is given, those that OpenStack Nova calls. */
  readonly allow?: readonly string[]
  /** Commands to block. */
  readonly block?: readonly string[]
}

/** Setting a password, and freezing filesystems for a snapshot. */
const NOVA_COMMANDS = [
  'guest-set-user-password',
  'guest-fsfreeze-status',
  'guest-fsfreeze-freeze',
  'guest-fsfreeze-thaw',
]

const CONFIG_FILE = '/etc/qemu/qemu-ga.conf'
const SYSCONFIG = '/etc/sysconfig/qemu-ga'
const UNITS = ['qemu-guest-agent.service', 'qemu-ga.service']
const INIT_SCRIPTS = ['/etc/init.d/qemu-ga', '/etc/init.d/qemu-guest-agent']

/** Where the filter in force stands, and how to change it. */
interface FilterPlace {
  readonly filter: RpcFilter | undefined
  readonly file: string
  readonly line: number | undefined
  change(wanted: ReadonlyMap<string, boolean>): Promise<void>
}

export const qemuGa: Operation<QemuGaArguments> = {
  name: 'qemu-ga',
  summary:
    'Allow (or block) commands of the QEMU guest agent: those of Nova, guest-set-user-password among them, if none is named',
  async run(guest, { allow, block = [] }) {
    const report = new ReportBuilder('qemu-ga')
    const wanted = new Map<string, boolean>()
    for (const command of allow ?? (block.length > 0 ? [] : NOVA_COMMANDS))
      wanted.set(checkCommand(command), true)
    for (const command of block) wanted.set(checkCommand(command), false)

    const place = await findFilter(guest)
    if (!place) {
      report.warn(
        'the QEMU guest agent is not installed in this guest: no unit or init script of it was found',
      )
      return report.build()
    }
    const wrong = [...wanted].filter(([command, allowed]) => isAllowed(place.filter, command) !== allowed)
    const word = (yes: boolean) => (yes ? 'allowed' : 'blocked')
    for (const [command, allowed] of wanted)
      if (isAllowed(place.filter, command) === allowed)
        report.keep(`qemu-ga ${command}`, word(allowed), place.file, place.line)
    if (wrong.length === 0) return report.build()
    await place.change(new Map(wrong))
    const after = await findFilter(guest)
    for (const [command, allowed] of wrong) {
      if (!after || isAllowed(after.filter, command) !== allowed)
        throw new DrydiskError(
          'ERR_NOT_EFFECTIVE',
          `${command} still is ${allowed ? 'blocked' : 'allowed'} by ${after?.file ?? place.file}; edit that file by hand`,
          { path: after?.file ?? place.file },
        )
      report.change(`qemu-ga ${command}`, word(!allowed), word(allowed), after.file, { line: after.line })
    }
    return report.build()
  },
}

function checkCommand(command: string): string {
  if (!/^guest-[a-z0-9-]+$/.test(command))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(command)} is not a command of qemu-ga; they start with "guest-"`,
    )
  return command
}

async function findFilter(guest: GuestFs): Promise<FilterPlace | undefined> {
  for (const name of UNITS) {
    const unit = await readUnit(guest, name)
    if (!unit) continue
    const [command = ''] = unitList(unit.entries, 'Service', 'ExecStart')
    const environmentFiles = unitList(unit.entries, 'Service', 'EnvironmentFile').map(file =>
      file.replace(/^-/, ''),
    )
    const file = unit.entries.findLast(entry => entry.key === 'ExecStart')?.file ?? unit.path
    return (
      (await filterOfCommand(guest, command, environmentFiles, file)) ??
      (await filterOfConfigFile(guest, command))
    )
  }
  for (const script of INIT_SCRIPTS) {
    if (!(await guest.exists(script))) continue
    // EL6's script hands BLACKLIST_RPC to --blacklist.
    const [place] = await variablePlaces(guest, ['BLACKLIST_RPC', 'BLOCK_RPCS'], [SYSCONFIG], 'list')
    return place ?? (await filterOfConfigFile(guest, ''))
  }
  return undefined
}

/** The filter that the command line holds, itself or through a variable: it comes before that of the configuration file. */
async function filterOfCommand(
  guest: GuestFs,
  command: string,
  environmentFiles: readonly string[],
  unitFile: string,
): Promise<FilterPlace | undefined> {
  for (const word of unitWords(command)) {
    // `--blacklist=${BLACKLIST_RPC}`: the variable is the list. `$FILTER_RPC_ARGS`: it holds the whole option.
    const asList = /^(?:--block-rpcs|--blacklist|-b)=?\$\{?(\w+)\}?$/.exec(word)
    const asAllowed = /^(?:--allow-rpcs|-a)=?\$\{?(\w+)\}?$/.exec(word)
    const whole = /^\$\{?(\w+)\}?$/.exec(word)
    const name = asList?.[1] ?? asAllowed?.[1] ?? whole?.[1]
    if (name !== undefined) {
      const form = asList ? 'list' : asAllowed ? 'allow-list' : 'options'
      const [place] = await variablePlaces(guest, [name], environmentFiles, form)
      if (place?.filter) return place
    } else if (filterOfOptions(word)) {
      const filter = filterOfOptions(command)
      return {
        filter,
        file: unitFile,
        line: undefined,
        change() {
          throw new DrydiskError(
            'ERR_NOT_EFFECTIVE',
            `the command line in ${unitFile} decides what qemu-ga allows: ${command}; override ExecStart in a drop-in`,
            { path: unitFile },
          )
        },
      }
    }
  }
  return undefined
}

async function variablePlaces(
  guest: GuestFs,
  names: readonly string[],
  files: readonly string[],
  form: 'list' | 'allow-list' | 'options',
): Promise<FilterPlace[]> {
  const places: FilterPlace[] = []
  for (const name of names)
    for (const file of files.toReversed()) {
      const config = await readConfig(guest, file)
      const value = config && getShellValue(config.text, name)
      if (!config || !value) continue
      const filter: RpcFilter | undefined =
        form === 'options'
          ? filterOfOptions(value.text)
          : { kind: form === 'list' ? 'block' : 'allow', commands: splitCommands(value.text) }
      places.push({
        filter,
        file,
        line: value.line,
        async change(wanted) {
          const changed =
            form === 'options' || !filter
              ? changeOptions(value.text, wanted)
              : changeCommands(filter, wanted).join(',')
          // What belongs to a package under /usr is overridden by the unit's own file in /etc (openSUSE).
          const target = file.startsWith('/usr/') ? files.find(other => other.startsWith('/etc/')) : file
          if (target === undefined)
            throw new DrydiskError(
              'ERR_NOT_EFFECTIVE',
              `${file} decides and belongs to a package; its unit reads no file in /etc`,
              {
                path: file,
              },
            )
          const before = await readConfig(guest, target)
          await writeConfig(guest, target, before, setShellValue(before?.text ?? '', name, changed))
        },
      })
      break
    }
  return places
}

/** qemu-ga reads this file of itself; its first name for the key was `blacklist`. */
async function filterOfConfigFile(guest: GuestFs, command: string): Promise<FilterPlace> {
  const file = /(?:--config|-c)[=\s]+(\S+)/.exec(command)?.[1] ?? CONFIG_FILE
  const config = await readConfig(guest, file)
  const text = config?.text ?? ''
  for (const key of ['allow-rpcs', 'block-rpcs', 'blacklist']) {
    const value = getIniValue(text, 'general', key)
    if (!value) continue
    const filter: RpcFilter = {
      kind: key === 'allow-rpcs' ? 'allow' : 'block',
      commands: splitCommands(value.value),
    }
    return {
      filter,
      file,
      line: value.line,
      async change(wanted) {
        await writeConfig(
          guest,
          file,
          config,
          setIniValue(text, 'general', key, changeCommands(filter, wanted).join(',')),
        )
      },
    }
  }
  return {
    filter: undefined,
    file,
    line: undefined,
    async change(wanted) {
      await guest.mkdir(file.replace(/\/[^/]*$/, ''), { recursive: true })
      const list = changeCommands({ kind: 'block', commands: [] }, wanted).join(',')
      await writeConfig(guest, file, config, setIniValue(text, 'general', 'block-rpcs', list))
    },
  }
}
