import type { Command } from 'commander'
import { UsageError } from '../errors.ts'
import { print, printJson } from '../output.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

export function configure(command: Command): void {
  command
    .argument('<shell>', 'bash, zsh or fish')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Prints a script that completes commands, options, their values and names of images. It is made of the commands of this version, and does
not run drydisk: make it again after an update.
With --json: {"shell", "script"}.

Examples:
  drydisk completion bash > ~/.local/share/bash-completion/completions/drydisk
  eval "$(drydisk completion bash)"
  drydisk completion zsh > "\${fpath[1]}/_drydisk"
  drydisk completion fish > ~/.config/fish/completions/drydisk.fish`,
    )
    .action(async (name: string, options: { readonly json?: boolean }) => {
      const shell = SHELLS.find(known => known === name)
      if (shell === undefined) throw new UsageError(`the shell is ${name}; expected ${SHELLS.join(', ')}`)
      const script = await scriptFor(shell)
      if (options.json) await printJson({ shell, script })
      else await print(script)
    })
}

async function scriptFor(shell: (typeof SHELLS)[number]): Promise<string> {
  const { describeCommands } = await import('../completion/describe.ts')
  const commands = await describeCommands()
  if (shell === 'bash') return (await import('../completion/bash.ts')).bashScript(commands)
  if (shell === 'zsh') return (await import('../completion/zsh.ts')).zshScript(commands)
  return (await import('../completion/fish.ts')).fishScript(commands)
}
