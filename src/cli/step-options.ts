import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import { hostAccess } from '../library/host-access.ts'
import { refuseLarge, unreadable } from '../library/host-text.ts'
import { type HostAccess, type Planned, type Step, steps } from '../operations/steps/index.ts'
import { describe, UsageError } from './errors.ts'
import { virtToolsOptions } from './virt-tools-options.ts'

/**
 * Gives a command every edit as an option, but those that it does itself. What comes back plans those that were given, in the order of the
 * command line.
 */
export function stepOptions(command: Command, own: readonly string[] = []): () => Promise<Planned[]> {
  const wanted: [Step, string][] = []
  for (const option of steps) {
    if (own.includes(option.name)) continue
    const value =
      option.value === undefined ? '' : option.optional ? ` [${option.value}]` : ` <${option.value}>`
    command.addOption(new Option(`--${option.name}${value}`, option.help))
    command.on(`option:${option.name}`, (given: string | null | undefined) =>
      wanted.push([option, given ?? '']),
    )
  }
  virtToolsOptions(command)
  command.addOption(
    new Option('--commands-from-file <file>', 'options from a file, one per line without dashes: NAME VALUE'),
  )
  command.on('option:commands-from-file', (file: string) => wanted.push(...commandsOf(file)))
  return async () => {
    const host = hostAccess()
    const planned: Planned[] = []
    for (const [option, value] of wanted) {
      const edit = await plan(option, value, host)
      planned.push(fs => edit(fs).catch((error: unknown) => Promise.reject(named(error, option.name))))
    }
    return planned
  }
}

/** What is wrong with an option's value is wrong with the command line. */
async function plan(option: Step, value: string, host: HostAccess): Promise<Planned> {
  try {
    return await option.plan(value, host)
  } catch (error) {
    if (isDrydiskError(error, 'ERR_INVALID_ARGUMENT', 'ERR_UNSUPPORTED'))
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
    refuseLarge(file)
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(unreadable(`the commands in ${file}`, error))
  }
}
