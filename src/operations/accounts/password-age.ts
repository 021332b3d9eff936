import { addAccountLine, findAccount, setAccountField } from '../../config/accounts.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { requireUser } from '../accounts-of-guest.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { AccountFiles, today } from './account-files.ts'

/** Fields of shadow(5), by what people call them. */
const FIELDS = {
  lastchg: { index: 2, setting: 'day of the last password change' },
  min: { index: 3, setting: 'least age of a password' },
  max: { index: 4, setting: 'greatest age of a password' },
  warn: { index: 5, setting: 'days of warning before a password expires' },
  inactive: { index: 6, setting: 'days an expired password is still taken' },
  expire: { index: 7, setting: 'day the account expires' },
} as const

type AgeField = keyof typeof FIELDS

/** Sets fields of a user's shadow line, which is made where it is missing. An empty value switches the feature off. */
export async function setAge(
  guest: GuestFs,
  user: string,
  fields: Partial<Record<AgeField, string>>,
  report: ReportBuilder,
  show: (field: AgeField, value: string) => string = (_, value) => value || 'none',
): Promise<AccountFiles> {
  const entry = await requireUser(guest, user)
  const files = await AccountFiles.load(guest)
  if (!files.has('shadow'))
    throw new DrydiskError(
      'ENOENT',
      'this guest has no /etc/shadow, which is where the age of passwords and accounts is kept',
      { path: '/etc/shadow' },
    )
  if (!findAccount(files.text('shadow'), user)) {
    files.edit('shadow', text =>
      addAccountLine(text, [
        user,
        entry.password === 'x' ? '!' : entry.password,
        String(today()),
        '',
        '',
        '',
        '',
        '',
        '',
      ]),
    )
    if (entry.password !== 'x')
      files.edit('passwd', text => setAccountField(text, 'passwd', user, 'password', 'x'))
  }
  for (const [field, value] of Object.entries(fields) as [AgeField, string][]) {
    const { index, setting } = FIELDS[field]
    const before = files.field('shadow', user, index) ?? ''
    if (before !== value) files.edit('shadow', text => padded(text, user, field, value))
    report.change(`${setting} (${user})`, show(field, before), show(field, value), '/etc/shadow', {
      line: files.line('shadow', user),
    })
  }
  return files
}

/** The C library takes no shadow line of fewer than nine fields but the shortest of all: it is filled up. */
function padded(text: string, user: string, field: AgeField, value: string): string {
  const present = findAccount(text, user)?.fields[8]
  const whole = present === undefined ? setAccountField(text, 'shadow', user, 'flag', '') : text
  return setAccountField(whole, 'shadow', user, field, value)
}

const DAY_MS = 86_400_000

/** A day as shadow counts them, shown as a date. */
export function showDay(day: string): string {
  if (!/^\d{1,7}$/.test(day)) return day === '' ? 'never' : day
  return new Date(Number(day) * DAY_MS).toISOString().slice(0, 10)
}

/** `2027-01-31`, a number of days since 1970, or `never` (the empty field). */
function parseDay(text: string): string {
  if (text === 'never') return ''
  if (/^\d{1,7}$/.test(text)) return String(Number(text))
  const time = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN
  if (!Number.isNaN(time) && time >= 0 && new Date(time).toISOString().startsWith(text))
    return String(time / DAY_MS)
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `${JSON.stringify(text)} is not a day: YYYY-MM-DD, a number of days since 1970-01-01, or never`,
  )
}

/** `chage -d 0`: the user must choose a new password at the next login. */
export const passwordExpire: Operation<{ readonly user: string }> = {
  name: 'password-expire',
  summary: 'Have a user choose a new password at the next login',
  async run(guest, { user }) {
    const report = new ReportBuilder('password-expire')
    const files = await setAge(guest, user, { lastchg: '0' }, report, (_, day) =>
      day === '0' ? 'none: a new password is demanded' : showDay(day),
    )
    await files.save()
    if (/^[!*]/.test(files.field('shadow', user, 1) ?? ''))
      report.warn(
        `${user} has no password that could be changed: with PAM, a login with a key asks for the old one first and fails`,
      )
    return report.build()
  },
}

/** Arguments of the operation `account-expire`. */
export interface AccountExpireArguments {
  readonly user: string
  /** The first day on which nobody can log in: `YYYY-MM-DD`, days since 1970, or `never`. */
  readonly date: string
}

export const accountExpire: Operation<AccountExpireArguments> = {
  name: 'account-expire',
  summary: 'Set the day on which an account expires',
  check({ date }) {
    parseDay(date)
  },
  async run(guest, { user, date }) {
    const report = new ReportBuilder('account-expire')
    const files = await setAge(guest, user, { expire: parseDay(date) }, report, (_, day) => showDay(day))
    await files.save()
    return report.build()
  },
}

/** Arguments of the operation `password-age`. */
export interface PasswordAgeArguments {
  readonly user: string
  /** Days; -1 switches the limit off. */
  readonly min?: number
  readonly max?: number
  readonly warn?: number
  readonly inactive?: number
}

/** The fields of shadow(5). */
function ageFields(limits: Omit<PasswordAgeArguments, 'user'>): Partial<Record<AgeField, string>> {
  const fields: Partial<Record<AgeField, string>> = {}
  for (const name of ['min', 'max', 'warn', 'inactive'] as const) {
    const days = limits[name]
    if (days === undefined) continue
    if (!Number.isInteger(days) || days < -1 || days > 9_999_999)
      throw new DrydiskError('ERR_INVALID_ARGUMENT', `${name} is ${days}; a number of days, or -1 for none`)
    fields[name] = days < 0 ? '' : String(days)
  }
  return fields
}

/** As chage(1) sets them. */
export const passwordAge: Operation<PasswordAgeArguments> = {
  name: 'password-age',
  summary: 'Set the limits of the age of a password',
  check(limits) {
    ageFields(limits)
  },
  async run(guest, { user, ...limits }) {
    const report = new ReportBuilder('password-age')
    const files = await setAge(guest, user, ageFields(limits), report)
    await files.save()
    return report.build()
  },
}
