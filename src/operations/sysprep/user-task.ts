import { accountEntries } from '../../config/accounts.ts'
import { idRange } from '../../config/login-defs.ts'
import { readLoginDefs } from '../accounts/account-defaults.ts'
import { userDel } from '../accounts/user-del.ts'
import { textAt } from './lenient.ts'
import type { SysprepTask } from './task.ts'

/** Accounts of people: their uids are between UID_MIN and UID_MAX of login.defs(5). root and those of services stay. */
export const userTask: SysprepTask = {
  name: 'user-account',
  byDefault: false,
  summary: 'remove user accounts and their homes (--keep-user-accounts, --remove-user-accounts)',
  async run({ guest, report, tree, settings: { keepUserAccounts, removeUserAccounts } }) {
    const { min, max } = idRange(await readLoginDefs(guest), 'UID', false)
    const passwd = (await textAt(guest, '/etc/passwd'))?.text ?? ''
    const removed = new Set<string>()
    for (const { fields } of accountEntries(passwd, 'passwd')) {
      const [name = '', , digits = ''] = fields
      const uid = Number(digits)
      if (!/^\d{1,10}$/.test(digits) || uid < min || uid > max || removed.has(name)) continue
      if (keepUserAccounts.includes(name)) continue
      if (removeUserAccounts.length > 0 && !removeUserAccounts.includes(name)) continue
      removed.add(name)
      report.include(await userDel.run(guest, { user: name, removeHome: true }))
    }
    if (removed.size > 0) tree.forget()
    for (const name of removeUserAccounts)
      if (
        !removed.has(name) &&
        !keepUserAccounts.includes(name) &&
        passwd.split('\n').some(line => line.startsWith(`${name}:`))
      )
        report.warn(
          `${name} was left: its uid is not between ${min} and ${max}, so it is no account of a person`,
        )
  },
}
