/**
 * Text files of guest families as their installers and images leave them, cut to what the operations read. `guests/` has one
 * file for each family, and `phonyGuest()` makes a whole guest of one, with links, modes and owners.
 */
import { alpine } from './guests/alpine.ts'
import { cirros } from './guests/cirros.ts'
import { debian } from './guests/debian.ts'
import { el6 } from './guests/el6.ts'
import { el7, el7Efi } from './guests/el7.ts'
import { el8, el8Efi } from './guests/el8.ts'
import { el9, el10 } from './guests/el9.ts'
import { fedora } from './guests/fedora.ts'
import { leap, sles12, tumbleweed } from './guests/suse.ts'
import { ubuntu } from './guests/ubuntu.ts'

export { debianGrubCfg, dpkgStatus } from './guests/debian.ts'
export { type PhonyGuestName, phonyGuest, phonyGuests } from './guests/index.ts'
export { grubenv } from './guests/types.ts'
export { forcePartuuidEntry, ubuntuGrubCfg } from './guests/ubuntu.ts'
export {
  alpine,
  cirros,
  debian,
  el6,
  el7,
  el7Efi,
  el8,
  el8Efi,
  el9,
  el10,
  fedora,
  leap,
  sles12,
  tumbleweed,
  ubuntu,
}

/** Each family's text files. */
export const families = {
  debian,
  ubuntu,
  el6,
  el7,
  el7Efi,
  el8,
  el8Efi,
  el9,
  el10,
  fedora,
  leap,
  tumbleweed,
  sles12,
  alpine,
  cirros,
}
