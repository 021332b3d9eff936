import {
  accountEntries,
  addAccountLine,
  findAccount,
  findGroupId,
  mapMembers,
  memberNames,
  removeAccount,
  setMember,
} from '../../config/accounts.ts'
import { DrydiskError } from '../../errors.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { newId, readLoginDefs } from './account-defaults.ts'
import { AccountFiles, checkAccountName } from './account-files.ts'

/** A line in group, and in gshadow where the guest has one. */
export function addGroup(files: AccountFiles, name: string, gid: number): void {
  files.edit('group', text => addAccountLine(text, [name, 'x', String(gid), '']))
  files.edit('gshadow', text => addAccountLine(removeAccount(text, name), [name, '!', '', '']))
}

export function removeGroup(files: AccountFiles, name: string): void {
  files.edit('group', text => removeAccount(text, name))
  files.edit('gshadow', text => removeAccount(text, name))
}

/** Puts a user into a group or takes it out, in group and gshadow alike. `ENOENT` where there is no such group. */
export function changeMember(
  files: AccountFiles,
  group: string,
  user: string,
  member: boolean,
  report: ReportBuilder,
): void {
  const before = files.field('group', group, 3)
  if (before === undefined)
    throw new DrydiskError('ENOENT', `this guest has no group "${group}" in /etc/group`, { group })
  files.edit('group', text => setMember(text, 'group', group, user, member))
  files.edit('gshadow', text => setMember(text, 'gshadow', group, user, member))
  const after = files.field('group', group, 3) ?? ''
  report.change(`members of group ${group}`, before, after, '/etc/group', {
    line: files.line('group', group),
  })
}

/** A group by name or number. `ENOENT` where there is none. */
export function requireGroup(files: AccountFiles, group: string): { name: string; gid: number } {
  const gid = findGroupId(files.text('group'), group)
  if (gid !== undefined) return { name: group, gid }
  const byNumber = accountEntries(files.text('group'), 'group').find(({ fields }) => fields[2] === group)
  if (byNumber) return { name: byNumber.fields[0] ?? '', gid: Number(group) }
  throw new DrydiskError('ENOENT', `this guest has no group "${group}" in /etc/group`, { group })
}

/** The groups that list a user as a member. */
export function groupsOf(files: AccountFiles, user: string): string[] {
  return accountEntries(files.text('group'), 'group')
    .filter(({ fields }) => memberNames(fields[3]).includes(user))
    .map(({ fields }) => fields[0] ?? '')
}

/** Takes a user out of the members of the groups that `from` names, in one pass over each file. */
export function removeFromGroups(
  files: AccountFiles,
  user: string,
  from: (group: string) => boolean,
  report: ReportBuilder,
): void {
  for (const { fields, line } of accountEntries(files.text('group'), 'group')) {
    const names = memberNames(fields[3])
    const group = fields[0] ?? ''
    if (!from(group) || !names.includes(user)) continue
    const after = names.filter(name => name !== user).join(',')
    report.always(`members of group ${group}`, names.join(','), after, '/etc/group', { line })
  }
  for (const name of ['group', 'gshadow'] as const)
    files.edit(name, text =>
      mapMembers(text, name, (names, group, list) =>
        list === 'members' && from(group) ? names.filter(one => one !== user) : names,
      ),
    )
}

/** Arguments of the operation `group-add`. */
export interface GroupAddArguments {
  readonly group: string
  readonly gid?: number
  /** From the range of system groups. */
  readonly system?: boolean
  /** Users who become members. */
  readonly members?: readonly string[]
}

export const groupAdd: Operation<GroupAddArguments> = {
  name: 'group-add',
  summary: 'Add a group',
  check({ group }) {
    checkAccountName(group, 'group')
  },
  async run(guest, { group, gid, system = false, members = [] }) {
    const report = new ReportBuilder('group-add')
    checkAccountName(group, 'group')
    const files = await AccountFiles.load(guest)
    const present = findGroupId(files.text('group'), group)
    if (present === undefined) {
      const chosen = newId(files, 'group', await readLoginDefs(guest), { wanted: gid, system })
      addGroup(files, group, chosen)
      report.always(`group ${group}`, null, `gid ${chosen}`, '/etc/group', {
        line: files.line('group', group),
      })
    } else {
      if (gid !== undefined && gid !== present)
        throw new DrydiskError('EEXIST', `the group ${group} is there with gid ${present}, not ${gid}`, {
          path: '/etc/group',
        })
      report.keep(`group ${group}`, `gid ${present}`, '/etc/group', files.line('group', group))
    }
    for (const user of members) {
      requireMember(files, user)
      changeMember(files, group, user, true, report)
    }
    await files.save()
    return report.build()
  },
}

export const groupDel: Operation<{ readonly group: string }> = {
  name: 'group-del',
  summary: 'Remove a group that is nobody’s primary group',
  async run(guest, { group }) {
    const report = new ReportBuilder('group-del')
    const files = await AccountFiles.load(guest)
    const entry = findAccount(files.text('group'), group)
    if (!entry) {
      report.keep(`group ${group}`, null, '/etc/group')
      // A gshadow line of a group that is gone would hand its administrators to a new group of that name.
      files.edit('gshadow', text => removeAccount(text, group))
      await files.save()
      return report.build()
    }
    const gid = entry.fields[2] ?? ''
    const user = accountEntries(files.text('passwd'), 'passwd').find(({ fields }) => fields[3] === gid)
    if (user)
      throw new DrydiskError(
        'EBUSY',
        `${group} is the primary group of the user ${user.fields[0]}; give the user another one or remove it first`,
        { path: '/etc/passwd', line: user.line },
      )
    removeGroup(files, group)
    await files.save()
    report.always(`group ${group}`, `gid ${gid}`, null, '/etc/group')
    return report.build()
  },
}

/** Arguments of the operation `group-member`. */
export interface GroupMemberArguments {
  readonly group: string
  readonly add?: readonly string[]
  readonly remove?: readonly string[]
}

export const groupMember: Operation<GroupMemberArguments> = {
  name: 'group-member',
  summary: 'Add users to a group or take them out',
  async run(guest, { group, add = [], remove = [] }) {
    const report = new ReportBuilder('group-member')
    const files = await AccountFiles.load(guest)
    for (const user of add) {
      requireMember(files, user)
      changeMember(files, group, user, true, report)
    }
    for (const user of remove) changeMember(files, group, user, false, report)
    await files.save()
    return report.build()
  },
}

function requireMember(files: AccountFiles, user: string): void {
  if (findAccount(files.text('passwd'), user)) return
  throw new DrydiskError('ENOENT', `this guest has no user "${user}" in /etc/passwd; add it first`, { user })
}
