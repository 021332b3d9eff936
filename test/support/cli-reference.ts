import { Command } from 'commander'
import { commands } from '../../src/cli/commands.ts'
import { describeCommands } from '../../src/cli/completion/describe.ts'
import { steps } from '../../src/operations/steps/index.ts'

const HEAD = `# Reference of the command line

Made from the commands by \`npm run docs\`: do not edit. What the commands do and how they differ from the tools that they take the place of
is told in [The command line](cli.md). \`drydisk COMMAND --help\` prints the same. \`drydisk --version\` and \`drydisk help COMMAND\` need no
image.
`

/** docs/cli-reference.md, of all commands as they are now. */
export async function cliReference(): Promise<string> {
  const described = await describeCommands()
  const edits = new Set(steps.map(({ name }) => `--${name}`))
  const sections = [HEAD]
  sections.push(
    `| command | |\n|---|---|\n${described.map(({ name, summary }) => `| [\`${name}\`](#${name}) | ${cell(summary)} |`).join('\n')}\n`,
  )
  for (const { name, summary, options } of described) {
    const { usage, rows, after } = await helpOf(name)
    // Of the edits, which two commands have, one list is enough.
    const shown = name === 'sysprep' ? options.filter(({ long }) => !edits.has(long ?? '')) : options
    const parts = [
      `## ${name}`,
      sentence(summary),
      `\`\`\`\n${usage}\n\`\`\``,
      ...(rows.length > 0 ? [`| argument | |\n|---|---|\n${rows.join('\n')}`] : []),
      `| option | |\n|---|---|\n${shown.map(option => `| ${optionForm(option)} | ${cell(option.help)} |`).join('\n')}`,
      ...(name === 'sysprep' ? ['And every edit of [customize](#customize), but for `--sysprep`.'] : []),
      ...after,
    ]
    sections.push(`${parts.join('\n\n')}\n`)
  }
  return sections.join('\n')
}

async function helpOf(
  name: string,
): Promise<{ readonly usage: string; readonly rows: string[]; readonly after: string[] }> {
  const entry = commands.find(command => command.name === name)
  const printed: string[] = []
  const command = new Command('drydisk')
    .command(name)
    .configureOutput({ writeOut: text => printed.push(text), getOutHelpWidth: () => 1000 })
  const module = await entry?.load()
  module?.configure(command)
  command.outputHelp()
  const [help = '', ...rest] = printed
  const [prose = '', examples] = rest.join('').split(/^Examples:\n/m)
  const fence = (kind: string, text: string) => `\`\`\`${kind}\n${text}\n\`\`\``
  return {
    usage: /^Usage: (.*)$/m.exec(help)?.[1] ?? '',
    rows: command.registeredArguments.map(
      argument => `| \`${argument.name()}\`${argument.variadic ? '…' : ''} | ${cell(argument.description)} |`,
    ),
    after: [
      ...(prose.trim() === '' ? [] : [fence('text', prose.trim())]),
      ...(examples === undefined
        ? []
        : [
            fence(
              'sh',
              examples
                .trimEnd()
                .split('\n')
                .map(line => line.replace(/^ {2}/, ''))
                .join('\n'),
            ),
          ]),
    ],
  }
}

type Option = Awaited<ReturnType<typeof describeCommands>>[number]['options'][number]

function optionForm({ short, long, value }: Option): string {
  const words = [short, long].filter(word => word !== undefined).map(word => `\`${word}\``)
  const form =
    value === undefined ? '' : value.optional ? ` \`[${cell(value.name)}]\`` : ` \`<${cell(value.name)}>\``
  return words.join(', ') + form
}

/** A cell of a table has no bar of its own. */
const cell = (text: string): string => text.replaceAll('|', '\\|')

const sentence = (text: string): string => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`
