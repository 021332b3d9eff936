import { setAccountField } from '../../config/accounts.ts'
import { DrydiskError } from '../../errors.ts'
import { requireUser } from '../accounts-of-guest.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import type { AccountFiles } from './account-files.ts'
import { today } from './account-files.ts'
import { setAge, showDay } from './password-age.ts'

/** 1970-01-02, which usermod(8) advises: day 0 means "never" to some programs. */
const LONG_AGO = '1'

/**
 * Locks the password with `!` and lets the account expire: a locked password alone still lets keys in. What `user-unlock` takes
 * back.
 */
export const userLock: Operation<{ readonly user: string }> = {
  name: 'user-lock',
  summary: 'Lock an account: no login, neither by password nor by key',
  async run(guest, { user }) {
    const report = new ReportBuilder('user-lock')
    const entry = await requireUser(guest, user)
    if (entry.uid === 0)
      report.warn(`${user} has uid 0: with its account expired, cron and su as ${user} stop working too`)
    const files = await setAge(guest, user, { expire: LONG_AGO }, report, (_, day) => showDay(day))
    const field = files.field('shadow', user, 1) ?? ''
    setPassword(files, user, field.startsWith('!') ? field : `!${field}`, report)
    await files.save()
    return report.build()
  },
}

/** Takes `!` off the password and, where the account has expired, its expiry. */
export const userUnlock: Operation<{ readonly user: string }> = {
  name: 'user-unlock',
  summary: 'Unlock an account that was locked or has expired',
  async run(guest, { user }) {
    const report = new ReportBuilder('user-unlock')
    const entry = await requireUser(guest, user)
    const probe = await setAge(guest, user, {}, new ReportBuilder('user-unlock'))
    const expire = probe.field('shadow', user, 7) ?? ''
    const expired = /^\d+$/.test(expire) && Number(expire) <= today()
    const files = await setAge(guest, user, expired ? { expire: '' } : {}, report, (_, day) => showDay(day))
    const field = files.field('shadow', user, 1) ?? ''
    const bare = field.replace(/^!+/, '')
    if (field !== '' && bare === '') {
      if (!expired && entry.uid === 0)
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          `${user} has no password: unlocking would let anyone in without one; set a password first`,
        )
      report.warn(`${user} has no password and gets none: keys alone let it log in; "password" sets one`)
    } else setPassword(files, user, bare, report)
    await files.save()
    return report.build()
  },
}

function setPassword(files: AccountFiles, user: string, value: string, report: ReportBuilder): void {
  const before = files.field('shadow', user, 1) ?? ''
  if (before !== value) files.edit('shadow', text => setAccountField(text, 'shadow', user, 'password', value))
  const state = (field: string) =>
    field.startsWith('!') ? 'locked' : field === '' ? 'empty' : field.startsWith('*') ? 'disabled' : 'usable'
  report.change(`password of ${user}`, state(before), state(value), '/etc/shadow', {
    line: files.line('shadow', user),
  })
}
