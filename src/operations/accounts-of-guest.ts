import { findGroupId, findPasswd, type PasswdEntry } from '../config/accounts.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { readConfig, requireConfig } from './guest-files.ts'

/** The passwd entry of a user of the guest. `ENOENT` names the user. */
export async function requireUser(guest: GuestFs, user: string): Promise<PasswdEntry> {
  const { text } = await requireConfig(guest, '/etc/passwd', 'to find users')
  const entry = findPasswd(text, user)
  if (entry) return entry
  throw new DrydiskError(
    'ENOENT',
    `this guest has no user "${user}" in /etc/passwd (users of a directory service, and those that cloud-init makes at first boot, are not there)`,
    { user, path: '/etc/passwd' },
  )
}

/** `user`, `user:group`, `user:`, `:group`, each a name or a number, as chown(1) reads it. */
export async function resolveOwner(
  guest: GuestFs,
  owner: string,
): Promise<{ uid: number | undefined; gid: number | undefined }> {
  const match = /^([^:]*)(?::([^:]*))?$/.exec(owner)
  if (!match || owner === '' || owner === ':')
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `"${owner}" is not an owner; expected UID:GID or USER:GROUP`,
    )
  const [, user = '', group] = match
  let uid: number | undefined
  let gid: number | undefined
  if (/^\d+$/.test(user)) uid = idNumber(user)
  else if (user !== '') {
    const entry = await requireUser(guest, user)
    uid = entry.uid
    if (group === '') gid = entry.gid
  }
  if (group !== undefined && group !== '') {
    if (/^\d+$/.test(group)) gid = idNumber(group)
    else {
      gid = findGroupId((await readConfig(guest, '/etc/group'))?.text ?? '', group)
      if (gid === undefined)
        throw new DrydiskError('ENOENT', `this guest has no group "${group}" in /etc/group`, {
          path: '/etc/group',
        })
    }
  }
  return { uid, gid }
}

function idNumber(digits: string): number {
  const value = Number(digits)
  if (value >= 0xffff_ffff)
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${digits} is not an owner: ids are below 4294967295`)
  return value
}
