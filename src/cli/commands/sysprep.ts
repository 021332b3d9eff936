import { type Command, Option } from 'commander'
import { isDrydiskError } from '../../errors.ts'
import type { SysprepArguments } from '../../operations/sysprep/run.ts'
import { reportEdit } from '../edit-report.ts'
import { UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { print, printJson } from '../output.ts'
import { editGuest } from '../session.ts'
import { stepOptions } from '../step-options.ts'
import { imageAndPaths } from '../target.ts'

interface SysprepOptions extends WriteOptions {
  readonly list?: boolean
  readonly listOperations?: boolean
  readonly enable?: string
  readonly keepUserAccounts?: readonly string[]
  readonly removeUserAccounts?: readonly string[]
}

const SCRIPTS =
  '--script is refused: it runs a program of the host inside a mount of the guest, and drydisk mounts nothing. Edit files with the options of drydisk customize, ' +
  'copy them with drydisk cp, or have the guest run a script at its first boot (--firstboot)'

export function configure(command: Command): void {
  /** In the order of the command line. */
  const lists: string[] = []
  const each = (value: string) => {
    lists.push(value)
    return value
  }
  const names = (value: string, before: readonly string[] = []) => [...before, ...accounts(value)]
  const refuse = () => {
    throw new UsageError(SCRIPTS)
  }
  writeOptions(command)
    .argument('[image]', 'the image')
    .option(
      '--list',
      'list the operations; * marks those that are done by default, + those that virt-sysprep does not have',
    )
    .addOption(new Option('--list-operations', 'the same').hideHelp())
    .option(
      '--operations <list>',
      'operations, with commas: NAME, -NAME to leave one out, defaults, all',
      each,
    )
    .addOption(new Option('--operation <list>', 'the same').hideHelp().argParser(each))
    .option('--enable <list>', 'only these operations')
    .option('--keep-user-accounts <users>', 'accounts that user-account keeps', names)
    .option('--remove-user-accounts <users>', 'accounts that user-account removes, in place of all', names)
    .addOption(new Option('--script <program>').hideHelp().argParser(refuse))
    .addOption(new Option('--scripts <program>').hideHelp().argParser(refuse))
    .addOption(new Option('--scriptdir <folder>').hideHelp().argParser(refuse))
  const plan = stepOptions(command, ['sysprep'])
  command
    .addHelpText(
      'after',
      `
Prepares a guest for cloning: first the operations remove what belongs to one machine, then the edits (as of drydisk customize)
are made in the order given, then the machine ID is emptied. All of it is one commit. A second run changes nothing, but for fs-uuids
and lvm-uuids, which give new UUIDs each time.
With --json: as drydisk customize; with --list: [{"name", "default", "ours", "summary"}].

Examples:
  drydisk sysprep disk.qcow2 --dry-run
  drydisk sysprep disk.qcow2 --operations defaults,-ssh-userdir --hostname template
  drydisk sysprep disk.qcow2 --operations defaults,user-account --keep-user-accounts admin --json
  drydisk sysprep --list`,
    )
    .action(async (_image: string, options: SysprepOptions) => {
      if (options.list || options.listOperations) return list(options.json ?? false)
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length > 0) throw new UsageError(`one image at a time: what is "${paths[0]}"?`)
      const { planSysprep, runSysprep } = await import('../../operations/sysprep/run.ts')
      const operations = operationLists(lists, options.enable)
      const args: SysprepArguments = {
        ...(operations ? { operations } : {}),
        keepUserAccounts: options.keepUserAccounts ?? [],
        removeUserAccounts: options.removeUserAccounts ?? [],
        customize: await plan(),
      }
      try {
        planSysprep(args)
      } catch (error) {
        throw isDrydiskError(error) ? new UsageError(error.message) : error
      }
      await editGuest(
        image,
        options,
        (fs, guest, device) => runSysprep(fs, { ...args, disk: { ...guest, device } }),
        (reports, recorder) => reportEdit(image, options, reports, recorder),
      )
    })
}

function accounts(list: string): string[] {
  const users = list.split(',')
  if (users.includes('')) throw new UsageError(`"${list}" holds an empty user name`)
  return users
}

function operationLists(lists: readonly string[], enable: string | undefined): readonly string[] | undefined {
  if (enable === undefined) return lists.length > 0 ? lists : undefined
  if (lists.length > 0) throw new UsageError('--enable and --operations exclude each other')
  if (/(?:^|,)(?:-|(?:all|defaults)(?:,|$))/.test(enable))
    throw new UsageError(
      '--enable takes names of operations only; --operations takes -NAME, defaults and all',
    )
  return [enable]
}

/** As virt-sysprep lists them: a name, a mark, what it does. */
async function list(json: boolean): Promise<void> {
  const { sysprepTasks } = await import('../../operations/sysprep/index.ts')
  if (json)
    return printJson(
      sysprepTasks.map(({ name, byDefault, ours = false, summary }) => ({
        name,
        default: byDefault,
        ours,
        summary,
      })),
    )
  const lines = sysprepTasks.map(({ name, byDefault, ours, summary }) => {
    const mark = byDefault ? '*' : ' '
    return `${name} ${mark} ${summary}${ours ? ' (+)' : ''}\n`
  })
  await print(lines.join(''))
}
