import { passwordSelector, SELECTOR_HELP, sshKeys } from './secrets.ts'
import { library, type Step, split } from './step.ts'

/** Users, their passwords and keys. */
export const accountSteps: readonly Step[] = [
  {
    name: 'password',
    value: 'USER:SELECTOR',
    help: `set a user's password; SELECTOR: ${SELECTOR_HELP}`,
    async plan(value, host) {
      // What has no colon may be a secret: it is not repeated.
      const [user, text] = split(value.includes(':') ? value : '', 'USER:SELECTOR')
      const selector = await passwordSelector(text, host)
      const { operations } = await library()
      return guest => operations.password.run(guest, { user, selector })
    },
  },
  {
    name: 'root-password',
    value: 'SELECTOR',
    help: "set root's password; SELECTOR as for --password",
    async plan(value, host) {
      const selector = await passwordSelector(value, host)
      const { operations } = await library()
      return guest => operations['root-password'].run(guest, { selector })
    },
  },
  {
    name: 'ssh-inject',
    value: 'USER:SELECTOR',
    help: 'add an SSH key for a user; SELECTOR: string:KEY, file:NAME, env:VARIABLE, stdin; USER alone: the newest ~/.ssh/id*.pub',
    async plan(value, host) {
      const keys = await sshKeys(value, host)
      const { operations } = await library()
      return guest => operations['ssh-inject'].run(guest, keys)
    },
  },
]
