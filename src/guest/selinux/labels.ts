import { equalBytes } from '../../bytes/compare.ts'
import { byteKey, toBytes } from '../../bytes/names.ts'
import { isDrydiskError } from '../../errors.ts'
import type { FileSystem, FileType, InodeNumber } from '../../filesystem/filesystem.ts'
import type { GuestFs } from '../guest-fs.ts'
import { joinNames } from '../guest-path.ts'
import { type GuestPolicy, readPolicy } from './read-policy.ts'

export const SELINUX_XATTR = 'security.selinux'

/** Filesystems without extended attributes: Linux labels them by mount. */
const UNLABELLED = new Set(['vfat', 'msdos', 'iso9660'])

/** The value of `security.selinux`: the context and a NUL byte, as setfilecon(3) writes it. */
export function labelValue(context: string): Uint8Array {
  const value = new Uint8Array(context.length + 1)
  for (let i = 0; i < context.length; i++) value[i] = context.charCodeAt(i)
  return value
}

/** Labels for what is made new in a guest, by its own policy, which is read when the first one is wanted. */
export class GuestLabels {
  readonly #guest: Pick<GuestFs, 'readFile' | 'stat'>
  #policy: Promise<GuestPolicy> | undefined

  constructor(guest: Pick<GuestFs, 'readFile' | 'stat'>) {
    this.#guest = guest
  }

  /** Told of each change of a name or a content; `trail` is its real path. Policy files that change are read again. */
  changed(trail: readonly Uint8Array[]): void {
    if (this.#policy && concernsPolicy(trail)) this.#policy = undefined
  }

  /**
   * Gives a new inode its label: what the policy says of its path, else that of its directory, as the kernel does where it has no
   * rule of its own.
   */
  async give(
    fs: FileSystem,
    ino: InodeNumber,
    directory: InodeNumber,
    trail: readonly Uint8Array[],
    type: FileType,
  ): Promise<void> {
    if (UNLABELLED.has(fs.type)) return
    const label = (await this.#ofPolicy(trail, type)) ?? (await fs.getxattr(directory, SELINUX_XATTR))
    if (label) await fs.setxattr(ino, SELINUX_XATTR, label)
    // A new policy file is still empty: what was read now must not last.
    this.changed(trail)
  }

  async #ofPolicy(trail: readonly Uint8Array[], type: FileType): Promise<Uint8Array | undefined> {
    this.#policy ??= readPolicy(this.#guest)
    try {
      const read = await this.#policy
      if (read.kind !== 'policy') return undefined
      const answer = read.policy.lookup(byteKey(joinNames(trail)), type)
      return answer.kind === 'label' ? labelValue(answer.context) : undefined
    } catch (error) {
      // A policy that cannot be read must not keep a file from being made: it gets the label of its directory.
      if (isDrydiskError(error)) return undefined
      throw error
    }
  }
}

const ETC = toBytes('etc')
const SELINUX = toBytes('selinux')

/** Whether a change at this path may be one of /etc/selinux/config or of the files below contexts/files. */
function concernsPolicy(trail: readonly Uint8Array[]): boolean {
  // Nearly every change is somewhere else.
  const [first, second] = trail
  if (
    (first !== undefined && !equalBytes(first, ETC)) ||
    (second !== undefined && !equalBytes(second, SELINUX))
  )
    return false
  const names = trail.slice(0, 5).map(byteKey)
  const [, , third, fourth, fifth] = names
  return (
    third === undefined ||
    third === 'config' ||
    !fourth ||
    (fourth === 'contexts' && (!fifth || fifth === 'files'))
  )
}
