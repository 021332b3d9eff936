import { invalid, library, planned, type Step } from './step.ts'

/** Programs that run in the guest, and what is theirs. */
export const serviceSteps: readonly Step[] = [
  {
    name: 'qemu-ga',
    value: 'COMMANDS',
    optional: true,
    help: 'let the guest agent do what OpenStack asks of it, such as setting passwords, or allow COMMANDS (with - before: block them)',
    async plan(value) {
      const commands = value.split(',').flatMap(word => word.trim() || [])
      const block = commands.filter(word => word.startsWith('-')).map(word => word.slice(1))
      const allow = commands.filter(word => !word.startsWith('-'))
      const { operations } = await library()
      return planned(operations['qemu-ga'], commands.length === 0 ? {} : { allow, block })
    },
  },
  {
    name: 'sshd',
    value: 'KEY=VALUE',
    help: 'set a keyword of the SSH server where it wins',
    async plan(setting) {
      const match = /^\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$/s.exec(setting)
      const [, keyword, value] = match ?? []
      if (!keyword || !value) throw invalid(`"${setting}" is not of the form KEY=VALUE`)
      const { operations } = await library()
      return planned(operations.sshd, { keyword, value })
    },
  },
]
