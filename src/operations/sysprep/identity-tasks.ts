import { bytesOfKey } from '../../bytes/names.ts'
import { equalBytes } from '../../config/text.ts'
import { byteCount } from '../report.ts'
import { lstatAt, statAt } from './lenient.ts'
import { removePath } from './removal.ts'
import type { SysprepContext, SysprepTask } from './task.ts'

const MACHINE_ID = '/etc/machine-id'
const DBUS_ID = '/var/lib/dbus/machine-id'

/**
 * Empty, not gone: to systemd a missing machine-id is a first boot, which sets the services of the guest to their presets
 * (machine-id(5), First Boot Semantics). Nothing that comes later may fill it, so it comes last.
 */
const machineId: SysprepTask = {
  name: 'machine-id',
  byDefault: true,
  last: true,
  summary: 'empty the machine ID, so that each clone makes its own at boot',
  async run({ guest, report, tree }) {
    const stats = await statAt(guest, MACHINE_ID)
    if (stats?.isFile()) {
      if (stats.size > 0) {
        await guest.truncate(MACHINE_ID, 0)
        report.always('machine ID', byteCount(stats.size), 'empty', MACHINE_ID)
      } else report.keep('machine ID', 'empty', MACHINE_ID)
    } else if (!stats && (await runsSystemd(guest))) {
      const dangling = await lstatAt(guest, MACHINE_ID)
      if (!dangling) {
        await guest.writeFile(MACHINE_ID, '', { mode: 0o444 })
        report.change('machine ID', null, 'empty', MACHINE_ID, {
          note: 'a missing one makes the next boot a first boot, which sets all services to their presets',
        })
      }
    }
    await removeDbusId({ guest, report, tree })
  },
}

/** systemd takes up what D-Bus has (machine-id(5), Initialization), so a file of its own goes. A link to the other one is right. */
async function removeDbusId({
  guest,
  report,
  tree,
}: Pick<SysprepContext, 'guest' | 'report' | 'tree'>): Promise<void> {
  const stats = await lstatAt(guest, DBUS_ID)
  if (!stats?.isFile()) return
  // Older systems have it the other way round: /etc/machine-id is a link to this one.
  if ((await lstatAt(guest, MACHINE_ID))?.isSymbolicLink()) {
    const real = await guest.realpath(MACHINE_ID)
    if (equalBytes(real, await guest.realpath(DBUS_ID))) return
  }
  await guest.unlink(DBUS_ID)
  tree.removed(DBUS_ID)
  report.always('machine ID of D-Bus', byteCount(stats.size), null, DBUS_ID)
}

async function runsSystemd(guest: SysprepContext['guest']): Promise<boolean> {
  for (const path of ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'])
    if (await guest.exists(path)) return true
  return false
}

/** systemd-creds(1): with it, and nothing else on a machine without a TPM, credentials are decrypted. */
const credentialSecret: SysprepTask = {
  name: 'credential-secret',
  byDefault: true,
  ours: true,
  summary: "remove systemd's key for encrypted credentials, where there are none",
  async run(context) {
    const secret = '/var/lib/systemd/credential.secret'
    if ((await context.tree.typeOf(secret)) !== 'file') return
    const encrypted = await context.tree.glob('/etc/credstore.encrypted/*')
    if (encrypted.length > 0)
      context.report.warn(
        `${secret} was left: without it, the encrypted credentials in /etc/credstore.encrypted cannot be read`,
      )
    else await removePath(context, secret)
  },
}

/** Debian's open-iscsi makes a name at its next start where the file says so; elsewhere it is made where there is no file. */
const iscsiInitiator: SysprepTask = {
  name: 'iscsi-initiator',
  byDefault: true,
  ours: true,
  summary: 'have each clone make its own name as an iSCSI initiator',
  async run(context) {
    const { guest, report, identity, tree } = context
    const path = '/etc/iscsi/initiatorname.iscsi'
    if ((await tree.typeOf(path)) !== 'file') return
    const stats = await lstatAt(guest, bytesOfKey(path))
    if (!stats?.isFile() || stats.size > 1 << 16) return
    const text = await guest.readText(path)
    const name = /^InitiatorName=(.*)$/m.exec(text)?.[1]
    if (name === undefined) return
    if (identity.family !== 'debian') return removePath(context, path)
    await guest.writeFile(path, `${text.replace(/^InitiatorName=.*$/gm, 'GenerateName=yes')}`)
    report.change('iSCSI initiator', name, 'made at the next start', path)
  },
}

export const identityTasks: readonly SysprepTask[] = [machineId, credentialSecret, iscsiInitiator]
