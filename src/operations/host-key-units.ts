import type { GuestFs } from '../guest/guest-fs.ts'
import { listFolder } from './guest-files.ts'

/** The unit that `sysprep` adds to a guest that would not make host keys. */
export const HOST_KEY_UNIT = 'drydisk-ssh-host-keys.service'

export const UNIT_FOLDERS = ['/etc/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system']

/** Units that make host keys: RHEL family, Fedora, openSUSE; Arch; Debian and Ubuntu where they have one; Raspberry Pi OS. */
export const MAKES_KEYS =
  /^(?:sshd?-?keygen(?:@.*)?|sshdgenkeys|regenerate_ssh_host_keys|(?:drydisk-)?sshd?-host-keys?)\.(?:service|target)$/

/** Whether a unit of the guest makes the host keys that are missing. */
export async function hasHostKeyUnit(guest: GuestFs): Promise<boolean> {
  for (const folder of UNIT_FOLDERS) if ((await listFolder(guest, folder, MAKES_KEYS)).length > 0) return true
  return false
}
