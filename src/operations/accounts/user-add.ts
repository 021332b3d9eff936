import { addAccountLine, findPasswd, removeAccount } from '../../config/accounts.ts'
import { chooseSubordinate, idRange, loginNumber, parseSubordinate } from '../../config/login-defs.ts'
import { appendLine } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readConfig } from '../guest-files.ts'
import type { Operation } from '../operation.ts'
import { octal, ReportBuilder } from '../report.ts'
import { type AccountDefaults, newId, readAccountDefaults } from './account-defaults.ts'
import { AccountFiles, checkAccountName, today } from './account-files.ts'
import { addGroup, changeMember, groupsOf, requireGroup } from './groups.ts'
import { checkHome, mailSpoolOf, makeHome } from './home.ts'

/** Arguments of the operation `user-add`. */
export interface UserAddArguments {
  readonly user: string
  readonly uid?: number
  /** The primary group, by name or number; left out: a group of the user's own, or what the guest's useradd takes. */
  readonly group?: string
  /** Further groups, by name. */
  readonly groups?: readonly string[]
  /** The GECOS field: a person's name. */
  readonly comment?: string
  readonly home?: string
  /** Whether the home is made from /etc/skel; left out: for people yes, for system accounts no. */
  readonly makeHome?: boolean
  readonly shell?: string
  /** A service's account: ids of the system range, no password ageing, no login shell. */
  readonly system?: boolean
}

/**
 * Adds a user without a password (`!`), as the guest's own useradd would: `password` and `ssh-inject` open it. A user that is there
 * already and has all that is asked for is left as it is; `EEXIST` names what differs.
 */
export const userAdd: Operation<UserAddArguments> = {
  name: 'user-add',
  summary: 'Add a user, with a group and a home',
  check: checkUser,
  async run(guest, args) {
    const report = new ReportBuilder('user-add')
    const { user, system = false } = args
    checkUser(args)
    const files = await AccountFiles.load(guest)
    if (findPasswd(files.text('passwd'), user)) {
      checkSame(files, args)
      report.keep(`user ${user}`, 'there', '/etc/passwd', files.line('passwd', user))
      return report.build()
    }

    const defaults = await readAccountDefaults(guest)
    const uid = newId(files, 'passwd', defaults.defs, { wanted: args.uid, system })
    const { name: group, gid } = primaryGroup(files, args, uid, defaults)
    const home = args.home ?? `${defaults.homes.replace(/\/+$/, '')}/${user}`
    const shell = args.shell ?? (system ? defaults.systemShell : defaults.shell)
    const inShadow = files.has('shadow')
    files.edit('passwd', text =>
      addAccountLine(text, [
        user,
        inShadow ? 'x' : '!',
        String(uid),
        String(gid),
        args.comment ?? '',
        home,
        shell,
      ]),
    )
    // A shadow line that a removed user left behind would give the new one its password.
    files.edit('shadow', text =>
      addAccountLine(removeAccount(text, user), shadowLine(user, system, defaults)),
    )
    report.always(
      `user ${user}`,
      null,
      `uid ${uid}, group ${group} (${gid}), home ${home}, shell ${shell}, no password`,
      '/etc/passwd',
      { line: files.line('passwd', user) },
    )
    for (const name of args.groups ?? []) changeMember(files, name, user, true, report)
    if (!system) addSubordinate(files, user, uid, defaults, report)
    await files.save()

    if (args.makeHome ?? !system) {
      const made = await makeHome(guest, home, defaults.skeleton, { uid, gid, mode: defaults.homeMode })
      if (made) report.always(`home of ${user}`, null, octal(defaults.homeMode), home)
      else
        report.warn(
          `${home} is there already: it was left as it is, with its owner (uid ${(await guest.stat(home)).uid}) and without the files of ${defaults.skeleton}`,
        )
      if (defaults.mailSpool) await addMailSpool(guest, files, user, uid)
    }
    await warnOfShell(guest, user, shell, report)
    return report.build()
  },
}

function checkUser({ user, comment, shell, home }: UserAddArguments): void {
  checkAccountName(user, 'user')
  checkField('comment', comment)
  checkField('shell', shell)
  if (home !== undefined) checkHome(home)
}

function checkField(name: string, value: string | undefined): void {
  if (value !== undefined && /[:\n\r\0]/.test(value))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `a ${name} may hold no colon, newline or NUL byte`)
}

function checkSame(files: AccountFiles, args: UserAddArguments): void {
  const { user } = args
  const entry = findPasswd(files.text('passwd'), user)
  if (!entry) return
  const groups = groupsOf(files, user)
  const differences: string[] = []
  const compare = (what: string, wanted: string | number | undefined, has: string | number) => {
    if (wanted !== undefined && wanted !== has) differences.push(`${what} is ${has}, not ${wanted}`)
  }
  compare('uid', args.uid, entry.uid)
  if (args.group !== undefined) compare('gid', requireGroup(files, args.group).gid, entry.gid)
  compare('comment', args.comment, files.field('passwd', user, 4) ?? '')
  compare('home', args.home, entry.home)
  compare('shell', args.shell, entry.shell)
  for (const group of args.groups ?? [])
    if (!groups.includes(group)) differences.push(`it is no member of ${group}`)
  if (differences.length > 0)
    throw new DrydiskError(
      'EEXIST',
      `the user ${user} is there already, but ${differences.join(', ')}; user-mod changes users`,
      { path: '/etc/passwd', line: entry.line },
    )
}

function primaryGroup(
  files: AccountFiles,
  args: UserAddArguments,
  uid: number,
  defaults: AccountDefaults,
): { name: string; gid: number } {
  const { user, system = false } = args
  if (args.group !== undefined) return requireGroup(files, args.group)
  const entry = files.field('group', user, 2)
  if (!defaults.userGroups && !system) {
    try {
      return requireGroup(files, defaults.group)
    } catch {
      // The file of defaults names a group that the guest has not: a group of the user's own is always right.
    }
  }
  if (entry !== undefined)
    throw new DrydiskError(
      'EEXIST',
      `there is a group ${user} already; to make it the primary group, ask for group=${user}`,
      { path: '/etc/group' },
    )
  const gid = newId(files, 'group', defaults.defs, { system, preferred: uid })
  addGroup(files, user, gid)
  return { name: user, gid }
}

function shadowLine(user: string, system: boolean, { defs, inactive }: AccountDefaults): string[] {
  const days = (name: string) => {
    const value = loginNumber(defs, name, -1)
    return value < 0 || system ? '' : String(value)
  }
  const ageing = [days('PASS_MIN_DAYS'), days('PASS_MAX_DAYS'), days('PASS_WARN_AGE')]
  return [user, '!', String(today()), ...ageing, system ? '' : inactive, '', '']
}

/** Ids for containers, where the guest has the files and its users get them: useradd(8), subuid(5). */
function addSubordinate(
  files: AccountFiles,
  user: string,
  uid: number,
  { defs }: AccountDefaults,
  report: ReportBuilder,
): void {
  if (uid > idRange(defs, 'UID', false).max) return
  for (const [name, kind] of [
    ['subuid', 'UID'],
    ['subgid', 'GID'],
  ] as const) {
    const count = loginNumber(defs, `SUB_${kind}_COUNT`, 65536)
    const ranges = parseSubordinate(files.text(name))
    if (!files.has(name) || count <= 0 || ranges.some(range => range.owner === user)) continue
    const range = {
      min: loginNumber(defs, `SUB_${kind}_MIN`, 100_000),
      max: loginNumber(defs, `SUB_${kind}_MAX`, 600_100_000),
    }
    const first = chooseSubordinate(ranges, range, count)
    if (first === undefined) {
      report.warn(
        `${files.path(name)} has no room for another ${count} ids: ${user} gets none for containers`,
      )
      continue
    }
    files.edit(name, text => appendLine(text, `${user}:${first}:${count}`))
    const line = files.text(name).split('\n').length - 1
    report.always(`${name} of ${user}`, null, `${first}, ${count} ids`, files.path(name), { line })
  }
}

async function addMailSpool(guest: GuestFs, files: AccountFiles, user: string, uid: number): Promise<void> {
  const spool = await mailSpoolOf(guest, user)
  if (spool === undefined || (await guest.exists(spool))) return
  const mail = files.field('group', 'mail', 2)
  const gid = mail !== undefined && /^\d{1,9}$/.test(mail) ? Number(mail) : 0
  await guest.writeFile(spool, '', { mode: gid === 0 ? 0o600 : 0o660, uid, gid })
}

/** A login with a shell that the guest has not, fails; one that /etc/shells has not, is refused by chsh and some servers. */
export async function warnOfShell(
  guest: GuestFs,
  user: string,
  shell: string,
  report: ReportBuilder,
): Promise<void> {
  if (shell !== '' && !(await guest.exists(shell)))
    report.warn(`${shell}, the shell of ${user}, is not there in this guest`)
  const shells = await readConfig(guest, '/etc/shells')
  const login = !/(nologin|false)$/.test(shell)
  if (shells && login && !shells.text.split('\n').some(line => line.trim() === shell))
    report.warn(`/etc/shells does not list ${shell}, the shell of ${user}`)
}
