import { accountEntries } from '../../config/accounts.ts'
import { chooseId, idRange, type LoginDefs, loginNumber, parseLoginDefs } from '../../config/login-defs.ts'
import { getShellValue } from '../../config/shell-assignments.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, readConfig } from '../guest-files.ts'
import type { AccountFiles } from './account-files.ts'

/** What the guest's own useradd would do where nobody says otherwise. */
export interface AccountDefaults {
  readonly defs: LoginDefs
  /** Each user gets a group of the same name. */
  readonly userGroups: boolean
  /** Name or gid of everybody's group, where users have none of their own. */
  readonly group: string
  /** The folder of homes. */
  readonly homes: string
  readonly homeMode: number
  readonly skeleton: string
  readonly shell: string
  readonly systemShell: string
  /** Days after which an expired password closes the account; empty for never. */
  readonly inactive: string
  readonly mailSpool: boolean
}

/** SUSE keeps the distribution's part below /usr/etc; a file in /etc stands in for it, files of login.defs.d add to it. */
export async function readLoginDefs(guest: GuestFs): Promise<LoginDefs> {
  const main =
    (await readConfig(guest, '/etc/login.defs')) ?? (await readConfig(guest, '/usr/etc/login.defs'))
  const texts = [main?.text ?? '']
  for (const folder of ['/usr/etc/login.defs.d', '/etc/login.defs.d'])
    for (const file of await listFolder(guest, folder, /\.defs$/))
      texts.push((await readConfig(guest, file))?.text ?? '')
  return parseLoginDefs(...texts)
}

export async function readAccountDefaults(guest: GuestFs): Promise<AccountDefaults> {
  const defs = await readLoginDefs(guest)
  const useradd =
    (await readConfig(guest, '/etc/default/useradd')) ?? (await readConfig(guest, '/usr/etc/default/useradd'))
  const value = (name: string) => getShellValue(useradd?.text ?? '', name)?.text ?? ''
  const inactive = value('INACTIVE')
  return {
    defs,
    // Without login.defs (Alpine's busybox, CirrOS) adduser makes a group for each user.
    userGroups: defs.size === 0 || /^yes$/i.test(defs.get('USERGROUPS_ENAB') ?? ''),
    group: value('GROUP') || 'users',
    homes: value('HOME') || '/home',
    homeMode: loginNumber(defs, 'HOME_MODE', 0o777 & ~loginNumber(defs, 'UMASK', 0o022)) & 0o7777,
    skeleton: value('SKEL') || '/etc/skel',
    shell: await loginShell(guest, value('SHELL')),
    systemShell: (await firstOf(guest, ['/usr/sbin/nologin', '/sbin/nologin'])) ?? '/bin/false',
    inactive: /^\d+$/.test(inactive) ? inactive : '',
    mailSpool: /^yes$/i.test(value('CREATE_MAIL_SPOOL')),
  }
}

/** Debian's useradd gives /bin/sh where its installer and adduser give people bash; Alpine's people have ash. */
async function loginShell(guest: GuestFs, configured: string): Promise<string> {
  if (configured !== '' && configured !== '/bin/sh') return configured
  return (await firstOf(guest, ['/bin/bash', '/bin/ash'])) ?? '/bin/sh'
}

async function firstOf(guest: GuestFs, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await guest.exists(path)) return path
  return undefined
}

/** Every id of passwd or group that is a number. */
function usedIds(files: AccountFiles, name: 'passwd' | 'group'): Set<number> {
  const ids = accountEntries(files.text(name), name).map(entry => entry.fields[2] ?? '')
  return new Set(ids.filter(id => /^\d{1,10}$/.test(id)).map(Number))
}

/** The id that was asked for, when nobody has it, or a new one; `preferred` is taken where it is free. */
export function newId(
  files: AccountFiles,
  name: 'passwd' | 'group',
  defs: LoginDefs,
  options: { readonly wanted?: number | undefined; readonly system?: boolean; readonly preferred?: number },
): number {
  const kind = name === 'passwd' ? 'UID' : 'GID'
  const used = usedIds(files, name)
  const { wanted, system = false, preferred } = options
  if (wanted !== undefined) {
    if (!Number.isInteger(wanted) || wanted < 0 || wanted >= 0xffff_ffff)
      throw new DrydiskError('ERR_INVALID_ARGUMENT', `${wanted} is no id: whole numbers below 4294967295 are`)
    if (used.has(wanted))
      throw new DrydiskError('EEXIST', `the ${kind} ${wanted} is taken by ${ownerOf(files, name, wanted)}`, {
        path: files.path(name),
      })
    return wanted
  }
  if (preferred !== undefined && !used.has(preferred)) return preferred
  const range = idRange(defs, kind, system)
  const id = chooseId(used, range, system)
  if (id !== undefined) return id
  throw new DrydiskError(
    'ENOSPC',
    `every ${kind} from ${range.min} to ${range.max} is taken in ${files.path(name)}; name one`,
    { path: files.path(name) },
  )
}

function ownerOf(files: AccountFiles, name: 'passwd' | 'group', id: number): string {
  const entry = accountEntries(files.text(name), name).find(({ fields }) => Number(fields[2]) === id)
  return entry?.fields[0] ?? '?'
}
