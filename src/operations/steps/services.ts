import { invalid, library, type Step } from './step.ts'

/** Programs that run in the guest, and what is theirs. */
export const serviceSteps: readonly Step[] = [
  {
    name: 'cloud-init',
    value: 'KEY=VALUE',
    help: 'set a value of cloud.cfg: KEY=VALUE, KEY+=ITEM, KEY-=ITEM',
    async plan(setting) {
      const { operations } = await library()
      return guest => operations['cloud-init'].run(guest, { setting })
    },
  },
  {
    name: 'qemu-ga',
    help: 'let the guest agent do what OpenStack asks of it, such as setting passwords',
    async plan() {
      const { operations } = await library()
      return guest => operations['qemu-ga'].run(guest, {})
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
      return guest => operations.sshd.run(guest, { keyword, value })
    },
  },
]
