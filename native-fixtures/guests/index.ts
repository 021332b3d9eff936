import { memoryGuest } from '../../src/guest/memory-guest.ts'
import type { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { alpine, alpineExtras } from './alpine.ts'
import { cirros, cirrosExtras } from './cirros.ts'
import { debian, debianExtras } from './debian.ts'
import { el6, el6Extras } from './el6.ts'
import { el7, el7Efi, el7EfiExtras, el7Extras } from './el7.ts'
import { el8, el8Efi, el8EfiExtras, el8Extras } from './el8.ts'
import { el9, el9Extras, el10, el10Extras } from './el9.ts'
import { fedora, fedoraExtras } from './fedora.ts'
import { leap, leapExtras, sles12, sles12Extras, tumbleweed, tumbleweedExtras } from './suse.ts'
import type { PhonyGuest } from './types.ts'
import { ubuntu, ubuntuExtras } from './ubuntu.ts'

interface Extras {
  readonly links: Readonly<Record<string, string>>
  readonly attributes: PhonyGuest['attributes']
  readonly folders?: readonly string[]
  readonly binaries: Readonly<Record<string, Uint8Array>>
}

const whole = (files: Readonly<Record<string, string>>, extras: Extras): PhonyGuest => ({
  files: { ...files, ...extras.binaries },
  links: extras.links,
  attributes: extras.attributes,
  ...(extras.folders ? { folders: extras.folders } : {}),
})

/** Whole guests: text files, programs' heads, links, modes and owners. */
export const phonyGuests = {
  el6: whole(el6, el6Extras),
  el7: whole(el7, el7Extras),
  el7Efi: whole(el7Efi, el7EfiExtras),
  el8: whole(el8, el8Extras),
  el8Efi: whole(el8Efi, el8EfiExtras),
  el9: whole(el9, el9Extras),
  el10: whole(el10, el10Extras),
  fedora: whole(fedora, fedoraExtras),
  debian: whole(debian, debianExtras),
  ubuntu: whole(ubuntu, ubuntuExtras),
  leap: whole(leap, leapExtras),
  tumbleweed: whole(tumbleweed, tumbleweedExtras),
  sles12: whole(sles12, sles12Extras),
  alpine: whole(alpine, alpineExtras),
  cirros: whole(cirros, cirrosExtras),
} as const satisfies Record<string, PhonyGuest>

export type PhonyGuestName = keyof typeof phonyGuests

/** A guest of a family in memory, with its links, modes and owners; `changes` adds files or (`null`) takes them away. */
export async function phonyGuest(
  name: PhonyGuestName,
  changes: Readonly<Record<string, string | Uint8Array | null>> = {},
): Promise<MountedGuest> {
  const { files, links, attributes, folders }: PhonyGuest = phonyGuests[name]
  const guest = await memoryGuest()
  const parent = async (path: string) => {
    const folder = path.slice(0, path.lastIndexOf('/'))
    if (folder !== '') await guest.mkdir(folder, { recursive: true })
  }
  for (const folder of folders ?? []) await guest.mkdir(folder, { recursive: true })
  for (const [path, target] of Object.entries(links)) {
    if (changes[path] === null || changes[path] !== undefined) continue
    await parent(path)
    await guest.symlink(target, path)
  }
  for (const [path, data] of Object.entries({ ...files, ...changes })) {
    if (data === null) continue
    await parent(path)
    await guest.writeFile(path, data)
  }
  for (const [path, { mode, uid, gid }] of Object.entries(attributes)) {
    if (!(await guest.exists(path))) continue
    if (mode !== undefined) await guest.chmod(path, mode)
    if (uid !== undefined || gid !== undefined) await guest.chown(path, uid ?? 0, gid ?? 0)
  }
  return guest
}
