import { findAccount, type PasswdEntry } from '../config/accounts.ts'
import { addAuthorizedKeys } from '../config/authorized-keys.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { requireUser } from './accounts-of-guest.ts'
import { authorizedKeysFiles } from './authorized-keys-file.ts'
import { readConfig, statOrUndefined, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { octal, ReportBuilder } from './report.ts'
import { readSshdSetting } from './sshd.ts'

/** Arguments of the operation `ssh-inject`. */
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
    const entry = await requireUser(guest, user)
    const { uid, gid, home } = entry
    const homeStats = await statOrUndefined(guest, home)
    if (!homeStats?.isDirectory())
      throw new DrydiskError('ENOENT', `the home ${home} of ${user} does not exist; make it first`, {
        path: home,
      })
    const files = await authorizedKeysFiles(guest, entry)
    // A key that is in any of the files is in force.
    const present: string[] = []
    for (const { path } of files.slice(1)) present.push((await readConfig(guest, path))?.text ?? '')
    const [chosen] = files
    if (!chosen) return report.build()
    const { path: file, inHome, decidedBy } = chosen
    const folder = file.slice(0, file.lastIndexOf('/')) || '/'

    const before = await readConfig(guest, file)
    const { text, added } = addAuthorizedKeys(before?.text ?? '', keys, present)
    if (added.length > 0) {
      const owner = inHome ? { uid, gid } : {}
      await makeFolder(guest, folder, home, inHome ? { mode: 0o700, uid, gid } : { mode: 0o755 })
      await writeConfig(guest, file, before, text, { mode: inHome ? 0o600 : 0o644, ...owner })
      for (const { line, key } of added)
        report.always(`authorized key of ${user}`, null, shorten(key), file, {
          line,
          note: decidedBy === undefined || inHome ? undefined : `AuthorizedKeysFile in ${decidedBy}`,
        })
    } else report.keep(`authorized keys of ${user}`, 'there', file)
    for (const path of inHome ? [home, folder, file] : [folder, file]) {
      const stats = await statOrUndefined(guest, path)
      if (stats && (stats.mode & OTHERS_MAY_WRITE || (stats.uid !== uid && stats.uid !== 0)))
        report.warn(
          `${path} has mode ${octal(stats.mode)} and owner ${stats.uid}: sshd refuses the keys of ${user} (StrictModes) until it is owned by ${user} and not writable by others`,
        )
    }
    await warnOfRefusals(guest, entry, report)
    return report.build()
  },
}

async function makeFolder(
  guest: GuestFs,
  folder: string,
  home: string,
  options: { mode: number; uid?: number; gid?: number },
): Promise<void> {
  if (await statOrUndefined(guest, folder)) return
  const parent = folder.slice(0, folder.lastIndexOf('/'))
  if (parent !== '' && parent !== home.replace(/\/+$/, '')) await makeFolder(guest, parent, home, options)
  await guest.mkdir(folder, options)
}

/** What keeps a key from letting its owner in, though it stands where sshd looks. */
async function warnOfRefusals(guest: GuestFs, user: PasswdEntry, report: ReportBuilder): Promise<void> {
  const publicKeys = await readSshdSetting(guest, 'PubkeyAuthentication')
  if (publicKeys?.value?.toLowerCase() === 'no')
    report.warn(
      `${publicKeys.file}:${publicKeys.line} has PubkeyAuthentication no: sshd takes no keys; sshd PubkeyAuthentication=yes changes it`,
    )
  const shadow = findAccount((await readConfig(guest, '/etc/shadow'))?.text ?? '', user.name)?.fields
  const pam = await readSshdSetting(guest, 'UsePAM')
  // Without PAM sshd itself takes "!" for a locked account (configure's LOCKED_PASSWD_PREFIX on Linux); "*" is none.
  if (pam && pam.value?.toLowerCase() !== 'yes' && shadow?.[1]?.startsWith('!'))
    report.warn(
      `the password of ${user.name} is locked ("!" in /etc/shadow) and sshd does not use PAM here: it refuses keys too; "password ${user.name}:disabled" lets keys in and no password`,
    )
  const expires = shadow?.[7] ?? ''
  if (/^\d+$/.test(expires) && Number(expires) * 86_400_000 < Date.now())
    report.warn(`the account ${user.name} has expired: no key lets it log in; user-unlock takes that back`)
  if (/\/(nologin|false)$/.test(user.shell))
    report.warn(`the login shell of ${user.name} is ${user.shell}: no key lets it log in`)
}

/** Type, the end of the blob (which tells keys apart) and the comment. */
function shorten(key: string): string {
  return key.replace(/[A-Za-z0-9+/]{40,}(?=[A-Za-z0-9+/=]{12})/, '…')
}
