import { addAuthorizedKeys } from '../config/authorized-keys.ts'
import { DrydiskError } from '../errors.ts'
import { requireUser } from './accounts-of-guest.ts'
import { readConfig, statOrUndefined, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { octal, ReportBuilder } from './report.ts'

export interface SshInjectArguments {
  readonly user: string
  /** Public keys as in a .pub file, one per line. */
  readonly keys: string
}

/** sshd's StrictModes refuses keys where the home, ~/.ssh or the file is writable by others than the user and root. */
const OTHERS_MAY_WRITE = 0o022

export const sshInject: Operation<SshInjectArguments> = {
  name: 'ssh-inject',
  summary: "Add SSH public keys to a user's authorized_keys",
  async run(guest, { user, keys }) {
    const report = new ReportBuilder('ssh-inject')
    const { uid, gid, home } = await requireUser(guest, user)
    const homeStats = await statOrUndefined(guest, home)
    if (!homeStats?.isDirectory())
      throw new DrydiskError('ENOENT', `the home ${home} of ${user} does not exist; make it first`, {
        path: home,
      })
    const folder = `${home.replace(/\/+$/, '')}/.ssh`
    const file = `${folder}/authorized_keys`

    const before = await readConfig(guest, file)
    const { text, added } = addAuthorizedKeys(before?.text ?? '', keys)
    const folderStats = await statOrUndefined(guest, folder)
    if (added.length > 0) {
      if (!folderStats) await guest.mkdir(folder, { mode: 0o700, uid, gid })
      await writeConfig(guest, file, before, text, { mode: 0o600, uid, gid })
      for (const { line, key } of added)
        report.always(`authorized key of ${user}`, null, shorten(key), file, { line })
    } else report.keep(`authorized keys of ${user}`, 'there', file)
    for (const path of [home, folder, file]) {
      const stats = await guest.stat(path)
      if (stats.mode & OTHERS_MAY_WRITE || (stats.uid !== uid && stats.uid !== 0))
        report.warn(
          `${path} has mode ${octal(stats.mode)} and owner ${stats.uid}: sshd refuses the keys of ${user} (StrictModes) until it is owned by ${user} and not writable by others`,
        )
    }
    return report.build()
  },
}

/** Type, the end of the blob (which tells keys apart) and the comment. */
function shorten(key: string): string {
  return key.replace(/[A-Za-z0-9+/]{40,}(?=[A-Za-z0-9+/=]{12})/, '…')
}
