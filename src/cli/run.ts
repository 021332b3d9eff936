import { Command, CommanderError, type OutputConfiguration } from 'commander'
import { drydiskVersion } from '../library/version.ts'
import { commands } from './commands.ts'
import { reportError, STATUS, UsageError } from './errors.ts'
import { tellFetched } from './fetched.ts'

const EXAMPLES = `
Examples:
  drydisk info disk.qcow2
  drydisk cat disk.qcow2 /etc/os-release
  drydisk cp ./motd disk.qcow2:/etc/motd
  drydisk customize disk.qcow2 --root-password file:secret --serial-console --dry-run

Nothing in an image changes before everything is done; then all of it does at once.
Exit status: 0 done, 1 error, 2 wrong usage, 128+N stopped by signal N.`

/** Runs one command line (without node and the script); the exit status. */
export async function run(words: readonly string[]): Promise<number> {
  const json = words.includes('--json')
  // With --json what is wrong is told there, and not on standard error.
  const output: OutputConfiguration = json
    ? { writeErr: () => undefined }
    : { outputError: (text, write) => write(`drydisk: ${text.replace(/^error: /, '')}`) }
  const program = new Command('drydisk')
    .description('Edit virtual-machine disk images while they are not running.')
    .version(drydiskVersion(), '-V, --version')
    .addHelpText('after', EXAMPLES)
    .showHelpAfterError('(drydisk --help tells more)')
    .enablePositionalOptions()
    .exitOverride()
  const wanted = words.find(arg => !arg.startsWith('-'))
  const statuses = commands.find(({ name }) => name === wanted)?.statuses ?? {}
  const optional = new Set<string | undefined>()
  for (const { name, summary, load } of commands) {
    const command = program.command(name).summary(summary).description(summary)
    command.exitOverride().configureOutput(output).showHelpAfterError(`(drydisk ${name} --help tells more)`)
    // Only the command that runs is loaded.
    const helped = words[0] === 'help' && words[1] === name
    if (name !== wanted && !helped) continue
    const module = await load()
    module.configure(command)
    // commander takes any [ in an option's form for the mark of a value that may be left out.
    for (const option of command.options) if (option.optional && !option.required) optional.add(option.long)
  }
  // Without a value of its own, an option whose value may be left out would take the word behind it for one.
  const args = words.map(word => (optional.has(word) ? `${word}=` : word))
  program.configureOutput(output)
  try {
    await program.parseAsync(args, { from: 'user' })
    return STATUS.ok
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(error, json, statuses)
    if (error.exitCode === 0) return STATUS.ok
    return json
      ? reportError(new UsageError(error.message.replace(/^error: /, '')), json, statuses)
      : (statuses.usage ?? STATUS.usage)
  } finally {
    tellFetched()
  }
}
