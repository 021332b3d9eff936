import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { OperationReport } from '../../operations/operation.ts'
import { type HostAccess, type Planned, type Step, steps } from '../../operations/steps/index.ts'
import { reportEdit } from '../edit-report.ts'
import { describe, UsageError } from '../errors.ts'
import { hostAccess } from '../host-access.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { editGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

export function configure(command: Command): void {
  /** What was asked for, in the order of the command line. */
  const wanted: [Step, string][] = []
  writeOptions(command).argument('[image]', 'the image')
  for (const option of steps) {
    const value =
      option.value === undefined ? '' : option.optional ? ` [${option.value}]` : ` <${option.value}>`
    command.addOption(new Option(`--${option.name}${value}`, option.help))
    command.on(`option:${option.name}`, (given: string | null | undefined) =>
      wanted.push([option, given ?? '']),
    )
  }
  command.addOption(
    new Option('--commands-from-file <file>', 'options from a file, one per line without dashes: NAME VALUE'),
  )
  command.on('option:commands-from-file', (file: string) => wanted.push(...commandsOf(file)))
  command
    .addHelpText(
      'after',
      `
Edits are made in the order given, and all in one commit: an error leaves the image as it was. Each says what it changed,
and the file and line that decide. --dry-run shows a unified diff and writes nothing.
With --json: {"image", "dryRun", "operations": [{"operation", "changes": [{"setting", "before", "after", "file", "line"?,
"note"?}], "unchanged"?: [{"setting", "value", "file", "line"?}], "warnings"}], "files": [{"path", "kind", "type", "aspects", "summary", "diff"?}] (of a dry run)}.

Examples:
  drydisk customize disk.qcow2 --serial-console --sshd PermitRootLogin=yes --root-password file:secret
  drydisk customize -a disk.qcow2 --ssh-inject root:file:id_ed25519.pub --hostname web1 --dry-run
  pass show vm | drydisk customize disk.qcow2 --password admin:stdin`,
    )
    .action(async (_image: string, options: WriteOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length > 0) throw new UsageError(`one image at a time: what is "${paths[0]}"?`)
      if (wanted.length === 0)
        throw new UsageError('nothing to do: name at least one edit (drydisk customize --help)')
      const host = hostAccess()
      // Everything that can be wrong with the arguments is found before the image is opened.
      const planned: { name: string; step: Planned }[] = []
      for (const [option, value] of wanted)
        planned.push({ name: option.name, step: await plan(option, value, host) })
      await editGuest(
        image,
        options,
        async fs => {
          const reports: OperationReport[] = []
          for (const { name, step } of planned)
            reports.push(await step(fs).catch((error: unknown) => Promise.reject(named(error, name))))
          return reports
        },
        (reports, recorder) => reportEdit(image, options, reports, recorder),
      )
    })
}

/** What is wrong with an option's value is wrong with the command line. */
async function plan(option: Step, value: string, host: HostAccess): Promise<Planned> {
  try {
    return await option.plan(value, host)
  } catch (error) {
    if (isDrydiskError(error) && error.code === 'ERR_INVALID_ARGUMENT')
      throw new UsageError(`--${option.name}: ${error.message}`)
    throw error
  }
}

/** An error with the edit that it came from, of the many that one command line may hold. */
function named(error: unknown, operation: string): unknown {
  if (isDrydiskError(error))
    return new DrydiskError(
      error.code,
      `${operation}: ${error.message}`,
      { operation, ...error.context },
      error,
    )
  const { code, message } = describe(error)
  if (code === 'ERR_INTERNAL' || error instanceof UsageError) return error
  return Object.assign(new Error(`${operation}: ${message}`, { cause: error }), { code })
}

/**
 * The lines of a file of commands, by virt-customize's rules: empty lines and those that begin with # are passed over, and a
 * backslash at the end goes on with the next line.
 */
function commandsOf(file: string): [Step, string][] {
  const out: [Step, string][] = []
  let begun = ''
  for (const [index, raw] of commandText(file).split('\n').entries()) {
    const line = begun + raw.trimStart()
    begun = line.endsWith('\\') && !line.startsWith('#') ? line.slice(0, -1) : ''
    if (begun !== '') continue
    if (line === '' || line.startsWith('#')) continue
    const [, name, value] = /^(?:--)?([\w-]+)(?:[ \t=]+(.*))?$/s.exec(line) ?? []
    const option = steps.find(one => one.name === name)
    if (!option) throw new UsageError(`${file}:${index + 1}: "${name ?? line}" is no command of customize`)
    if (option.value !== undefined && !option.optional && value === undefined)
      throw new UsageError(`${file}:${index + 1}: ${option.name} needs ${option.value}`)
    out.push([option, value ?? ''])
  }
  if (begun !== '') throw new UsageError(`${file} ends in the middle of a command: "${begun}"`)
  return out
}

function commandText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`the commands in ${file} cannot be read: ${describe(error).message}`)
  }
}
