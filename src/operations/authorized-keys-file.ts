import type { PasswdEntry } from '../config/accounts.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { readSshdSetting } from './sshd.ts'

/** sshd's own default: sshd_config(5). dropbear reads the first of them. */
const DEFAULT = '.ssh/authorized_keys .ssh/authorized_keys2'

export interface KeysFile {
  readonly path: string
  /** Whether it lies in the user's home, and so belongs to the user. */
  readonly inHome: boolean
  /** What of sshd's configuration names it; `undefined` for the default. */
  readonly decidedBy: string | undefined
}

/**
 * The files in which sshd looks for a user's keys, in its order: AuthorizedKeysFile, where a block `Match User` for the user
 * comes before the rest. `ERR_NOT_EFFECTIVE` where sshd reads no such file.
 */
export async function authorizedKeysFiles(guest: GuestFs, user: PasswdEntry): Promise<KeysFile[]> {
  const setting = await readSshdSetting(guest, 'AuthorizedKeysFile')
  const own = setting?.exceptions.find(({ match }) => matchesUser(match, user.name))
  const value = own?.args.join(' ') ?? setting?.value ?? DEFAULT
  const [file, line] = own ? [own.file, own.line] : [setting?.file, setting?.line]
  const decidedBy = file === undefined ? undefined : `${file}:${line}`
  const words = value.split(/\s+/).filter(word => word !== '')
  if (words[0] === undefined || words[0].toLowerCase() === 'none')
    throw new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${decidedBy} has AuthorizedKeysFile none: sshd reads no keys from files for ${user.name}`,
      { path: file, line },
    )
  const home = user.home.replace(/\/+$/, '')
  return words.map(word => {
    const tokens: Readonly<Record<string, string>> = {
      '%': '%',
      h: home,
      u: user.name,
      U: String(user.uid),
    }
    const path = word.replace(/%(.)/g, (whole, letter: string) => tokens[letter] ?? whole)
    const whole = path.startsWith('/') ? path : `${home}/${path}`
    return { path: whole, inHome: whole.startsWith(`${home}/`), decidedBy }
  })
}

/** `Match User a,b`: other criteria depend on the connection. */
function matchesUser(match: string | undefined, user: string): boolean {
  const list = /^user\s+"?([^"\s]+)"?$/i.exec(match ?? '')?.[1]
  return list?.split(',').includes(user) ?? false
}
