import { MAKES_KEYS, HOST_KEY_UNIT as UNIT, UNIT_FOLDERS } from '../host-key-units.ts'
import { enableUnit } from '../services/systemd.ts'
import { removePath } from './removal.ts'
import type { SysprepContext, SysprepTask } from './task.ts'

const UNIT_PATH = `/etc/systemd/system/${UNIT}`

/** The condition is looked at when everything before it is done, so what cloud-init makes counts. ssh-keygen -A makes missing keys only. */
const UNIT_TEXT = `[Unit]
Description=Make missing SSH host keys
After=cloud-init.service
Before=ssh.service sshd.service
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
`

export const hostKeysTask: SysprepTask = {
  name: 'ssh-hostkeys',
  byDefault: true,
  summary: 'remove the SSH host keys; a guest that would not make new ones gets a unit that does',
  async run(context) {
    const { tree, identity, report } = context
    for (const path of await tree.glob('/etc/ssh/*_host_*'))
      if ((await tree.typeOf(path)) !== 'directory') await removePath(context, path)
    const dropbear = await tree.glob('/etc/dropbear/dropbear_*_host_key')
    // Debian's dropbear is started without -R, and its package makes the keys.
    if (identity.family === 'debian' && dropbear.length > 0)
      report.warn('the host keys of dropbear in /etc/dropbear were left: this guest would not make new ones')
    else for (const path of dropbear) await removePath(context, path)
    if (identity.family === 'debian') await addUnit(context)
  },
}

/** Of the families, Debian and Ubuntu alone make host keys when the package is installed, and leave the rest to cloud-init. */
async function addUnit({ guest, tree, report }: SysprepContext): Promise<void> {
  const daemon = (await tree.typeOf('/usr/sbin/sshd')) ?? (await tree.typeOf('/etc/ssh/sshd_config'))
  if (daemon === undefined) return
  let systemd = false
  for (const folder of UNIT_FOLDERS) {
    const names = [...(await tree.list(folder)).keys()]
    systemd ||= names.some(name => /^(?:ssh|sshd)\.service$/.test(name))
    if (names.some(name => name !== UNIT && MAKES_KEYS.test(name))) return
  }
  if (!systemd) {
    report.warn(
      'nothing that drydisk knows of makes new SSH host keys in this guest: run ssh-keygen -A at its next boot',
    )
    return
  }
  const changed = !(await guest.exists(UNIT_PATH)) || (await guest.readText(UNIT_PATH)) !== UNIT_TEXT
  if (changed) {
    const before = (await guest.exists(UNIT_PATH)) ? 'present' : null
    await guest.mkdir('/etc/systemd/system', { recursive: true })
    await guest.writeFile(UNIT_PATH, UNIT_TEXT)
    report.always('unit', before, 'makes missing SSH host keys at boot', UNIT_PATH)
  }
  const { made } = await enableUnit(guest, UNIT)
  for (const link of made) report.always('unit', null, 'enabled', link)
}
