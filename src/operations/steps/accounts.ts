import type { CryptMethod } from '../../config/crypt.ts'
import type { HostAccess } from './host-access.ts'
import { passwordSelector, SELECTOR_HELP, sshKeys } from './secrets.ts'
import { library, planned, type Step, split } from './step.ts'

/**
 * What `password-crypto` said, for every password of the same run (a command line, a recipe's file) wherever it stands there, as
 * virt-customize has it: all steps are planned before the first is run.
 */
const chosenMethods = new WeakMap<HostAccess, CryptMethod>()

function methodOf(host: HostAccess): { method?: CryptMethod } {
  const method = chosenMethods.get(host)
  return method ? { method } : {}
}

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
      return guest => operations.password.run(guest, { user, selector, ...methodOf(host) })
    },
  },
  {
    name: 'password-crypto',
    value: 'METHOD',
    help: 'how the passwords given are hashed: sha512 (the default), sha256, md5 or yescrypt',
    async plan(value, host) {
      const { operations, parseCryptMethod } = await library()
      const method = parseCryptMethod(value)
      chosenMethods.set(host, method)
      return planned(operations['password-crypto'], { method })
    },
  },
  {
    name: 'root-password',
    value: 'SELECTOR',
    help: "set root's password; SELECTOR as for --password",
    async plan(value, host) {
      const selector = await passwordSelector(value, host)
      const { operations } = await library()
      return guest => operations['root-password'].run(guest, { selector, ...methodOf(host) })
    },
  },
  {
    name: 'ssh-inject',
    value: 'USER:SELECTOR',
    help: 'add an SSH key for a user; SELECTOR: string:KEY, file:NAME, env:VARIABLE, stdin; USER alone: the newest ~/.ssh/id*.pub',
    async plan(value, host) {
      const keys = await sshKeys(value, host)
      const { operations } = await library()
      return planned(operations['ssh-inject'], keys)
    },
  },
]
