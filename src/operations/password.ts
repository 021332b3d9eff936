import { addAccountLine, findAccount, setAccountField } from '../config/accounts.ts'
import {
  type CryptMethod,
  hashPassword,
  methodOfHash,
  randomPassword,
  verifyPassword,
} from '../config/crypt.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { checkCryptMethod, defaultCryptMethod } from './accounts/crypt-methods.ts'
import { requireUser } from './accounts-of-guest.ts'
import { CloudConfig } from './cloud-config-of-guest.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { HIDDEN, ReportBuilder } from './report.ts'

/**
 * What becomes of an account's password. `locked` prefixes the hash with `!` so that `unlocked` (or `passwd -u`) can give it
 * back; `disabled` puts `*`, which no password matches; `deleted` empties the field: no password is asked for.
 */
export type PasswordSelector =
  | { readonly kind: 'password'; readonly password: string; readonly locked?: boolean }
  | { readonly kind: 'hash'; readonly hash: string; readonly locked?: boolean }
  | { readonly kind: 'random'; readonly locked?: boolean }
  | { readonly kind: 'disabled'; readonly locked?: boolean }
  | { readonly kind: 'locked' }
  | { readonly kind: 'unlocked' }
  | { readonly kind: 'deleted' }

/** Arguments of the operation `password`. */
export interface PasswordArguments {
  readonly user: string
  readonly selector: PasswordSelector
  /** sha512 when left out; md5 on a guest (CirrOS) that has nothing newer. `ERR_UNSUPPORTED` where the guest cannot read it. */
  readonly method?: CryptMethod
}

/** `$id$…`, what locks or disables, or 13 characters of DES; never a colon, and never empty: that would let anyone in. */
const CRYPT_HASH = /^(?:[*!]|\$\w+\$)[!-9;-~]*$|^[./0-9A-Za-z]{13}$/

const DAY_MS = 86_400_000

/**
 * Reads a selector as virt-customize writes it, except `file:`, which the caller resolves into `password:` by reading
 * the file's first line. `ERR_INVALID_ARGUMENT` names the forms.
 */
export function parsePasswordSelector(text: string): PasswordSelector {
  const [kind, ...rest] = text.split(':')
  const value = rest.join(':')
  if (kind === 'password' && rest.length > 0) {
    if (value === '')
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        'the password is empty: to allow a login without one, use "deleted"',
      )
    return { kind, password: value }
  }
  if (kind === 'hash' && rest.length > 0) return { kind, hash: value }
  if (rest.length === 0)
    switch (kind) {
      case 'random':
      case 'disabled':
      case 'locked':
      case 'unlocked':
      case 'deleted':
        return { kind }
    }
  if (kind === 'locked' || (kind === 'disabled' && value !== '')) {
    const inner = parsePasswordSelector(value)
    if (
      inner.kind === 'password' ||
      inner.kind === 'hash' ||
      inner.kind === 'random' ||
      inner.kind === 'disabled'
    )
      return { ...inner, locked: true }
  }
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    'not a password selector; expected password:TEXT, file:NAME, env:VARIABLE, stdin, random, hash:CRYPT (each also behind locked:), disabled, locked, unlocked or deleted',
  )
}

export const password: Operation<PasswordArguments> = {
  name: 'password',
  summary: "Set, lock, unlock, disable or delete a user's password",
  run: (guest, args) => setPassword(guest, 'password', args),
}

export const rootPassword: Operation<Omit<PasswordArguments, 'user'>> = {
  name: 'root-password',
  summary: "Set, lock, unlock, disable or delete root's password",
  run: (guest, args) => setPassword(guest, 'root-password', { ...args, user: 'root' }),
}

async function setPassword(guest: GuestFs, operation: string, args: PasswordArguments) {
  const { user, selector } = args
  const report = new ReportBuilder(operation)
  const entry = await requireUser(guest, user)
  const shadow = await readConfig(guest, '/etc/shadow')
  const shadowEntry = shadow && findAccount(shadow.text, user)
  // pwconv's convention: `x` in passwd says that shadow decides. Without shadow, passwd holds the hash itself.
  const inShadow = shadow !== undefined && (shadowEntry !== undefined || entry.password === 'x')
  const old = inShadow ? (shadowEntry?.fields[1] ?? '') : entry.password
  const asked = selector.kind === 'hash' ? methodOfHash(selector.hash.replace(/^!+/, '')) : args.method
  if (asked) await checkCryptMethod(guest, asked)
  const decided = await decide(
    selector,
    old,
    args.method ?? (await defaultCryptMethod(guest)),
    args.method !== undefined,
  )

  if (entry.shell.endsWith('/nologin') || entry.shell.endsWith('/false'))
    report.warn(`the login shell of ${user} is ${entry.shell}: no password lets it log in`)
  if (expired(shadowEntry?.fields[7]))
    report.warn(
      `the account ${user} has expired (eighth field of its line in /etc/shadow): no password lets it log in`,
    )
  if (decided.renewed && !decided.field.startsWith('!')) await warnOfCloudInit(guest, user, report)
  const file = inShadow ? '/etc/shadow' : '/etc/passwd'
  if (decided.field === old && (!inShadow || shadowEntry)) {
    report.keep(`password of ${user}`, describe(old), file, inShadow ? shadowEntry?.line : entry.line)
    return report.build()
  }
  let line: number
  if (inShadow) {
    // Field 3 is the day of the last change, in days since 1970; 0 would demand a new password at the first login.
    const today = String(Math.floor(Date.now() / DAY_MS))
    let text = shadow.text
    if (shadowEntry) {
      text = setAccountField(text, 'shadow', user, 'password', decided.field)
      if (decided.renewed && shadowEntry.fields.length > 2)
        text = setAccountField(text, 'shadow', user, 'lastchg', today)
    } else text = addAccountLine(text, [user, decided.field, today, '0', '99999', '7', '', '', ''])
    await writeConfig(guest, '/etc/shadow', shadow, text)
    line = findAccount(text, user)?.line ?? 0
    const passwd = await readConfig(guest, '/etc/passwd')
    if (passwd && entry.password !== 'x')
      await writeConfig(
        guest,
        '/etc/passwd',
        passwd,
        setAccountField(passwd.text, 'passwd', user, 'password', 'x'),
      )
  } else {
    const passwd = await readConfig(guest, '/etc/passwd')
    if (!passwd) throw new DrydiskError('ENOENT', '/etc/passwd vanished while it was edited')
    await writeConfig(
      guest,
      '/etc/passwd',
      passwd,
      setAccountField(passwd.text, 'passwd', user, 'password', decided.field),
    )
    line = entry.line
  }
  report.always(`password of ${user}`, describe(old), describe(decided.field, decided.shown), file, {
    line,
    note: decided.shown === undefined ? undefined : 'this random password is shown here and nowhere else',
    newSecret: decided.shown !== undefined,
  })
  return report.build()
}

/** cloud-init locks the password of its default user at the first boot of an instance, also of a user that is there already. */
async function warnOfCloudInit(guest: GuestFs, user: string, report: ReportBuilder): Promise<void> {
  if (user === 'root') return
  const cloud = await CloudConfig.load(guest)
  const place = ['system_info', 'default_user']
  if (!cloud || (await cloud.effective([...place, 'name'])) !== user) return
  if ((await cloud.effective([...place, 'lock_passwd'])) === false) return
  const decides = await cloud.place([...place, 'lock_passwd'])
  report.warn(
    `cloud-init locks the password of ${user}, its default user, at the first boot${decides ? ` (lock_passwd in ${decides.file}${decides.line === undefined ? '' : `:${decides.line}`})` : ''}; cloud-init system_info.default_user.lock_passwd=false keeps it usable`,
  )
}

interface Decision {
  readonly field: string
  /** There is a new password, so its age starts anew. */
  readonly renewed: boolean
  readonly shown?: string
}

/** `methodAsked`: a hash of the same password by another method than `method` is to be replaced. */
async function decide(
  selector: PasswordSelector,
  old: string,
  method: CryptMethod,
  methodAsked: boolean,
): Promise<Decision> {
  const bare = old.replace(/^!+/, '')
  switch (selector.kind) {
    case 'locked':
      return { field: old.startsWith('!') ? old : `!${old}`, renewed: false }
    case 'unlocked':
      if (bare === '' && old !== '')
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          'the account has no password: unlocking would let anyone in without one; set a password, or ask for "deleted"',
        )
      return { field: bare, renewed: false }
    case 'deleted':
      return { field: '', renewed: false }
    case 'disabled': {
      const field = selector.locked ? '!*' : '*'
      return { field, renewed: false }
    }
    case 'hash': {
      if (!CRYPT_HASH.test(selector.hash))
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          'not a hash of crypt(5), such as $6$salt$…, that /etc/shadow can hold; "password:" takes the password itself',
        )
      return { field: `${selector.locked ? '!' : ''}${selector.hash}`, renewed: true }
    }
    case 'password': {
      const lock = selector.locked ? '!' : ''
      const sameMethod = !methodAsked || methodOfHash(bare) === method
      if (
        sameMethod &&
        old.startsWith('!') === (lock !== '') &&
        (await verifyPassword(selector.password, bare))
      )
        return { field: old, renewed: false }
      return { field: `${lock}${await hashPassword(selector.password, { method })}`, renewed: true }
    }
    case 'random': {
      const shown = randomPassword()
      return {
        field: `${selector.locked ? '!' : ''}${await hashPassword(shown, { method })}`,
        renewed: true,
        shown,
      }
    }
  }
}

/** What a shadow field means, without its hash. */
function describe(field: string, shown?: string): string {
  if (shown !== undefined) return field.startsWith('!') ? `${shown} (locked)` : shown
  const bare = field.replace(/^!+/, '')
  const locked = field.startsWith('!')
  if (bare === '') return locked ? 'locked, no password' : 'empty: no password is asked for'
  if (bare === '*') return locked ? 'locked, disabled' : 'disabled'
  const method = /^\$(\w+)\$/.exec(bare)?.[1]
  return `${locked ? 'locked, ' : ''}${method ? `$${method}$ ` : ''}${HIDDEN}`
}

function expired(day: string | undefined): boolean {
  return day !== undefined && /^\d+$/.test(day) && Number(day) * DAY_MS < Date.now()
}
