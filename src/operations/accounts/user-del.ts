import {
  accountEntries,
  findGroupId,
  findPasswd,
  mapMembers,
  memberNames,
  removeAccount,
} from '../../config/accounts.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, lstatOrUndefined, readConfig, statOrUndefined } from '../guest-files.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { AccountFiles } from './account-files.ts'
import { removeFromGroups, removeGroup } from './groups.ts'
import { mailSpoolOf } from './home.ts'

/** Arguments of the operation `user-del`. */
export interface UserDelArguments {
  readonly user: string
  /** Also removes the home, the mail spool and the crontab. */
  readonly removeHome?: boolean
}

/** Removes a user, its own group, its memberships and its subordinate ids; a user that is not there is no error. */
export const userDel: Operation<UserDelArguments> = {
  name: 'user-del',
  summary: 'Remove a user',
  async run(guest, { user, removeHome = false }) {
    const report = new ReportBuilder('user-del')
    const files = await AccountFiles.load(guest)
    const entry = findPasswd(files.text('passwd'), user)
    if (!entry) {
      report.keep(`user ${user}`, null, '/etc/passwd')
      removeTraces(files, user, report)
      await files.save()
      return report.build()
    }
    if (entry.uid === 0)
      throw new DrydiskError(
        'EPERM',
        `${user} has uid 0: the system does not run without it; lock it instead`,
        { user },
      )
    files.edit('passwd', text => removeAccount(text, user))
    report.always(`user ${user}`, `uid ${entry.uid}, gid ${entry.gid}`, null, '/etc/passwd')
    removeTraces(files, user, report)
    removeOwnGroup(files, user, report)
    await files.save()

    if (removeHome) await removeFiles(guest, files, user, entry.home, entry.uid, report)
    await warnOfSudoers(guest, user, report)
    return report.build()
  },
}

/** What is left of a user in the files beside passwd. */
function removeTraces(files: AccountFiles, user: string, report: ReportBuilder): void {
  files.edit('shadow', text => removeAccount(text, user))
  removeFromGroups(files, user, () => true, report)
  files.edit('gshadow', text => mapMembers(text, 'gshadow', names => names.filter(one => one !== user)))
  for (const name of ['subuid', 'subgid'] as const) files.edit(name, text => removeAccount(text, user))
}

/** The group that was made with the user, unless others are in it. */
function removeOwnGroup(files: AccountFiles, user: string, report: ReportBuilder): void {
  const gid = findGroupId(files.text('group'), user)
  if (gid === undefined) return
  const members = memberNames(files.field('group', user, 3))
  const others = accountEntries(files.text('passwd'), 'passwd').filter(
    ({ fields }) => fields[3] === String(gid),
  )
  if (members.length > 0 || others.length > 0) {
    const names = [...members, ...others.map(({ fields }) => fields[0])]
    report.warn(`the group ${user} stays: ${names.join(', ')} belongs to it`)
    return
  }
  removeGroup(files, user)
  report.always(`group ${user}`, `gid ${gid}`, null, '/etc/group')
}

async function removeFiles(
  guest: GuestFs,
  files: AccountFiles,
  user: string,
  home: string,
  uid: number,
  report: ReportBuilder,
): Promise<void> {
  const shared = accountEntries(files.text('passwd'), 'passwd').find(({ fields }) => {
    const other = fields[5] ?? ''
    return other === home || other.startsWith(`${home.replace(/\/+$/, '')}/`)
  })
  const stats = await statOrUndefined(guest, home)
  if (stats && (shared || stats.uid !== uid || home.replace(/\/+/g, '/') === '/'))
    report.warn(
      `the home ${home} stays: it ${shared ? `is also that of ${shared.fields[0]}` : `does not belong to uid ${uid}`}`,
    )
  else if (stats) {
    await guest.rm(home, { recursive: true })
    report.always(`home of ${user}`, 'there', null, home)
  }
  const others = [
    await mailSpoolOf(guest, user),
    `/var/spool/cron/${user}`,
    `/var/spool/cron/crontabs/${user}`,
  ]
  for (const path of others) {
    if (path === undefined || !(await lstatOrUndefined(guest, path))?.isFile()) continue
    await guest.unlink(path)
    report.always(path.includes('cron') ? `crontab of ${user}` : `mail of ${user}`, 'there', null, path)
  }
}

async function warnOfSudoers(guest: GuestFs, user: string, report: ReportBuilder): Promise<void> {
  const files = ['/etc/sudoers', ...(await listFolder(guest, '/etc/sudoers.d', /^[^.~]+$/))]
  for (const file of files) {
    const lines = (await readConfig(guest, file))?.text.split('\n') ?? []
    const at = lines.findIndex(line => line.trim().split(/\s+/)[0] === user)
    if (at >= 0)
      report.warn(
        `${file}:${at + 1} still lets ${user} run commands as root; a new user of that name would get it`,
      )
  }
}
