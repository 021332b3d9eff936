import { accountEntries, findPasswd, mapMembers, setAccountField } from '../../config/accounts.ts'
import { joinLines, splitLines } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { requireUser } from '../accounts-of-guest.ts'
import { lstatOrUndefined, splitPath } from '../guest-files.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { newId, readLoginDefs } from './account-defaults.ts'
import { AccountFiles, checkAccountName } from './account-files.ts'
import { changeMember, removeFromGroups, requireGroup } from './groups.ts'
import { changeOwners, checkHome, mailSpoolOf } from './home.ts'
import { warnOfShell } from './user-add.ts'

/** Arguments of the operation `user-mod`. */
export interface UserModArguments {
  readonly user: string
  /** A new login name. The home keeps its name unless `home` says otherwise. */
  readonly name?: string
  /** Files in the home that belong to the old id go to the new one. */
  readonly uid?: number
  /** The primary group, by name or number. */
  readonly group?: string
  readonly comment?: string
  readonly home?: string
  /** Moves the folder to the new home. */
  readonly moveHome?: boolean
  readonly shell?: string
  /** The only groups that shall list the user. */
  readonly groups?: readonly string[]
  readonly addGroups?: readonly string[]
  readonly removeGroups?: readonly string[]
}

export const userMod: Operation<UserModArguments> = {
  name: 'user-mod',
  summary: "Change a user's name, ids, groups, home, shell or comment",
  check({ name }) {
    if (name !== undefined) checkAccountName(name, 'user')
  },
  async run(guest, args) {
    const report = new ReportBuilder('user-mod')
    const files = await AccountFiles.load(guest)
    const wantedName = args.name === undefined ? args.user : checkAccountName(args.name, 'user')
    // A second run finds the user under its new name.
    const renamed = !findPasswd(files.text('passwd'), args.user) && wantedName !== args.user
    const old = await requireUser(guest, renamed ? wantedName : args.user)
    if (wantedName !== old.name) rename(files, old.name, wantedName, report)
    else if (args.name !== undefined) report.keep('user name', wantedName, '/etc/passwd', old.line)
    const user = wantedName

    const set = (field: string, index: number, value: string | undefined) => {
      if (value === undefined) return
      const before = files.field('passwd', user, index) ?? ''
      if (before !== value) files.edit('passwd', text => setAccountField(text, 'passwd', user, field, value))
      report.change(`${field} of ${user}`, before, value, '/etc/passwd', { line: files.line('passwd', user) })
    }
    const uid =
      args.uid === undefined || args.uid === old.uid
        ? old.uid
        : newId(files, 'passwd', await readLoginDefs(guest), { wanted: args.uid })
    const gid = args.group === undefined ? old.gid : requireGroup(files, args.group).gid
    if (args.uid !== undefined) set('uid', 2, String(uid))
    if (args.group !== undefined) set('gid', 3, String(gid))
    set('gecos', 4, args.comment)
    set('home', 5, args.home === undefined ? undefined : checkHome(args.home))
    set('shell', 6, args.shell)
    changeGroups(files, user, args, report)
    await files.save()

    if (args.home !== undefined && args.moveHome) await moveHome(guest, old.home, args.home, report)
    if (uid !== old.uid || gid !== old.gid)
      await giveFiles(guest, files, { ...old, name: user }, { uid, gid, home: args.home ?? old.home }, report)
    if (args.shell !== undefined) await warnOfShell(guest, user, args.shell, report)
    return report.build()
  },
}

function rename(files: AccountFiles, from: string, to: string, report: ReportBuilder): void {
  if (findPasswd(files.text('passwd'), to))
    throw new DrydiskError('EEXIST', `there is a user ${to} already`, { path: '/etc/passwd' })
  files.edit('passwd', text => setAccountField(text, 'passwd', from, 'name', to))
  if (files.field('shadow', from, 0) !== undefined)
    files.edit('shadow', text => setAccountField(text, 'shadow', from, 'name', to))
  for (const name of ['group', 'gshadow'] as const)
    files.edit(name, text => mapMembers(text, name, names => names.map(one => (one === from ? to : one))))
  for (const name of ['subuid', 'subgid'] as const)
    files.edit(name, text => {
      const lines = splitLines(text)
      for (const line of lines)
        if (line.text.startsWith(`${from}:`)) line.text = to + line.text.slice(from.length)
      return joinLines(lines)
    })
  report.always('user name', from, to, '/etc/passwd', { line: files.line('passwd', to) })
}

function changeGroups(
  files: AccountFiles,
  user: string,
  args: UserModArguments,
  report: ReportBuilder,
): void {
  const { groups, addGroups = [], removeGroups = [] } = args
  for (const group of [...(groups ?? []), ...addGroups]) changeMember(files, group, user, true, report)
  for (const group of removeGroups) changeMember(files, group, user, false, report)
  if (groups === undefined) return
  const wanted = new Set([...groups, ...addGroups])
  removeFromGroups(files, user, group => !wanted.has(group), report)
}

async function moveHome(guest: GuestFs, from: string, to: string, report: ReportBuilder): Promise<void> {
  if (from === to || !(await lstatOrUndefined(guest, from))) return
  if (await lstatOrUndefined(guest, to)) {
    report.warn(`${to} is there already: ${from} was not moved to it`)
    return
  }
  await guest.mkdir(splitPath(to).folder, { recursive: true })
  await guest.rename(from, to)
  report.always('home folder', from, to, to)
}

async function giveFiles(
  guest: GuestFs,
  files: AccountFiles,
  old: { readonly name: string; readonly uid: number; readonly gid: number },
  now: { readonly uid: number; readonly gid: number; readonly home: string },
  report: ReportBuilder,
): Promise<void> {
  const stats = await lstatOrUndefined(guest, now.home)
  const shared = accountEntries(files.text('passwd'), 'passwd').some(
    ({ fields }) => fields[0] !== old.name && fields[5] === now.home,
  )
  const uidOnly = { uid: old.uid, gid: -1 }
  if (!stats?.isDirectory() || stats.uid !== old.uid || shared) {
    report.warn(
      `files of ${old.name} keep the ids ${old.uid}:${old.gid}: ${now.home} is not a home of its own`,
    )
    return
  }
  const count = await changeOwners(guest, now.home, old.gid === now.gid ? uidOnly : old, now)
  report.always(`owner of ${now.home}`, `${old.uid}:${old.gid}`, `${now.uid}:${now.gid}`, now.home, {
    note: `${count} files; those outside the home keep their ids`,
  })
  const spool = await mailSpoolOf(guest, old.name)
  if (spool !== undefined && (await lstatOrUndefined(guest, spool)))
    await changeOwners(guest, spool, uidOnly, now)
}
