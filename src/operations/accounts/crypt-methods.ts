import { CRYPT_PREFIXES, type CryptMethod } from '../../config/crypt.ts'
import { binaryString } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readIdentity } from '../../guest/identity.ts'
import { listFolder, statOrUndefined } from '../guest-files.ts'

/** Where libcrypt lies: Debian's folders by architecture, Red Hat's, and plain ones. */
const LIBRARY_FOLDERS = ['/lib64', '/usr/lib64', '/lib', '/usr/lib']
const TRIPLES = [
  'x86_64-linux-gnu',
  'aarch64-linux-gnu',
  'powerpc64le-linux-gnu',
  's390x-linux-gnu',
  'riscv64-linux-gnu',
]

/** A larger file is no libcrypt. */
const MAX_LIBRARY = 4 << 20

/** First major versions whose C library or libxcrypt reads yescrypt; rolling releases have the empty version. */
const YESCRYPT_SINCE: Readonly<Record<string, number>> = {
  fedora: 30,
  debian: 11,
  ubuntu: 20,
  rhel: 9,
  centos: 9,
  rocky: 9,
  almalinux: 9,
  ol: 9,
  amzn: 2023,
  arch: 0,
  sles: 15,
  sled: 15,
  'opensuse-leap': 15,
  'opensuse-tumbleweed': 0,
}

/** sha512crypt is read by every C library of the last fifteen years; CirrOS (uClibc) is given md5crypt. */
export async function defaultCryptMethod(guest: GuestFs): Promise<CryptMethod> {
  return (await guest.exists('/etc/cirros')) ? 'md5' : 'sha512'
}

/** Refuses a method that the guest's login programs cannot read: the user would be locked out. */
export async function checkCryptMethod(guest: GuestFs, method: CryptMethod): Promise<void> {
  const oldLibrary = method !== 'md5' && (await guest.exists('/etc/cirros'))
  if (method !== 'yescrypt' && !oldLibrary) return
  const decided = await libraryReads(guest, CRYPT_PREFIXES[method])
  if (decided?.reads) return
  const identity = await readIdentity(guest)
  const name = identity.prettyName === 'unknown' ? 'this guest' : identity.prettyName
  if (decided || oldLibrary)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${name} cannot read ${method}: ${decided?.file ?? 'its C library'} does not know it; use ${oldLibrary ? 'md5' : 'sha512'}`,
      { path: decided?.file },
    )
  const since = YESCRYPT_SINCE[identity.id]
  const version = Number.parseInt(identity.version, 10)
  if (since !== undefined && (Number.isNaN(version) || version >= since)) return
  throw new DrydiskError(
    'ERR_UNSUPPORTED',
    since === undefined
      ? `${name} has no libcrypt that is known to read yescrypt; use sha512`
      : `${name} cannot read yescrypt, which ${identity.id} has since ${since}; use sha512`,
    { guest: identity.id },
  )
}

/**
 * Whether libcrypt (uClibc-ng: the C library) holds a method's prefix in its table; `undefined` where there is no such library, as with
 * musl.
 */
async function libraryReads(
  guest: GuestFs,
  prefix: string,
): Promise<{ file: string; reads: boolean } | undefined> {
  const folders = LIBRARY_FOLDERS.flatMap(folder =>
    folder.endsWith('64') ? [folder] : [...TRIPLES.map(triple => `${folder}/${triple}`), folder],
  )
  for (const folder of folders)
    for (const file of await listFolder(guest, folder, /^(libcrypt\.so\.\d+|libuClibc-.*\.so)$/)) {
      const stats = await statOrUndefined(guest, file)
      if (!stats?.isFile() || stats.size === 0 || stats.size > MAX_LIBRARY) continue
      return { file, reads: binaryString(await guest.readFile(file)).includes(`${prefix}\0`) }
    }
  return undefined
}
