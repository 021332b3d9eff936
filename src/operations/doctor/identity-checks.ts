import { isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { glob } from '../glob.ts'
import { displayPath, lstatOrUndefined, readConfig } from '../guest-files.ts'
import { hasHostKeyUnit } from '../host-key-units.ts'
import { networkUnpin } from '../network/unpin.ts'
import type { OperationReport } from '../operation.ts'
import { RANDOM_SEEDS } from '../random-seeds.ts'
import type { Check, CheckContext } from './check.ts'

/** Does operations of sysprep by their names. */
async function sysprep(guest: GuestFs, names: readonly string[]): Promise<OperationReport> {
  const operation = await import('../sysprep/run.ts')
  return operation.sysprep.run(guest, { operations: [names.join(',')] })
}

const command = (...names: readonly string[]) => `drydisk sysprep IMAGE --operations ${names.join(',')}`

const machineId: Check = {
  name: 'machine-id',
  summary: 'each clone gets a machine ID of its own',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ guest, findings, mend }) {
    const file = '/etc/machine-id'
    const config = await readConfig(guest, file)
    const id = config?.text.trim()
    if ((id === undefined || id === '' || id === 'uninitialized') && (await ofDbus(guest))) {
      findings.fail(
        'D-Bus has a machine ID of its own, which systemd takes up where its own is empty: every clone has the same',
        {
          file: DBUS_ID,
          command: command('machine-id'),
          mended: await mend(inner => sysprep(inner, ['machine-id'])),
        },
      )
    } else if (id === undefined) {
      // machine-id(5): systemd takes that for a first boot, and applies its presets.
      if (await guest.exists('/usr/lib/systemd/systemd'))
        findings.warn(
          'there is no machine ID file: the next boot counts as the first, and presets enable and disable services',
        )
    } else if (id === '' || id === 'uninitialized')
      findings.ok('the machine ID is made at the first boot', { file })
    else
      findings.fail(`the machine ID is ${id}: every clone has the same, and often the same address`, {
        file,
        command: command('machine-id'),
        mended: await mend(inner => sysprep(inner, ['machine-id'])),
      })
  },
}

const DBUS_ID = '/var/lib/dbus/machine-id'

/** machine-id(5), Initialization. */
async function ofDbus(guest: GuestFs): Promise<boolean> {
  const stats = await lstatOrUndefined(guest, DBUS_ID)
  return stats?.isFile() === true && /^[0-9a-f]{32}/.test((await readConfig(guest, DBUS_ID))?.text ?? '')
}

const hostKeys: Check = {
  name: 'host-keys',
  summary: 'each clone gets host keys of its own',
  profiles: ['openstack', 'kvm', 'generic'],
  async run(context) {
    const { guest, identity, facts, findings, mend } = context
    // Of the families, Debian and Ubuntu alone leave it to cloud-init.
    const maker =
      identity.family !== 'debian' ||
      facts.agents['cloud-init'] !== undefined ||
      !(await guest.exists('/etc/ssh/sshd_config')) ||
      (await hasHostKeyUnit(guest))
    if (!maker && (await glob(guest, '/etc/ssh/ssh_host_*_key')).length === 0) {
      findings.fail('there are no SSH host keys, and nothing makes them at boot: sshd does not start', {
        file: '/etc/ssh',
        command: command('ssh-hostkeys'),
        mended: await mend(inner => sysprep(inner, ['ssh-hostkeys'])),
      })
      return
    }
    await residue(context, {
      globs: ['/etc/ssh/ssh_host_*_key', '/etc/dropbear/dropbear_*_host_key'],
      message: paths => `${paths.length} SSH host keys: whoever has the image can pass for every clone`,
      none: 'SSH host keys are made at the first boot',
      tasks: ['ssh-hostkeys'],
      fails: true,
    })
  },
}

const macs: Check = {
  name: 'fixed-macs',
  summary: 'no network configuration is tied to one network card',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ guest, findings, mend }) {
    const pinned = await pins(guest)
    if (pinned.length === 0) return findings.ok('no network configuration names a MAC address')
    const mended = await mend(inner => networkUnpin.run(inner, {}))
    const left = mended ? (await pins(guest)).map(({ file }) => file) : []
    for (const { file, line, text } of pinned)
      findings.fail(`${text}: a clone has another card, and this does not apply to it`, {
        file,
        line,
        command: 'drydisk customize IMAGE --network-unpin',
        mended: mended && !left.includes(file),
      })
  },
}

const NETWORK_FILES = [
  '/etc/sysconfig/network-scripts/ifcfg-*',
  '/etc/sysconfig/network/ifcfg-*',
  '/etc/NetworkManager/system-connections/*',
  '/etc/netplan/*.yaml',
  '/etc/systemd/network/*.network',
  '/etc/systemd/network/*.link',
  '/etc/network/interfaces',
  '/etc/network/interfaces.d/*',
  '/etc/udev/rules.d/*persistent-net.rules',
]
/** A line of any of these that gives or matches a card's own address; YAML may have the whole of a mapping on it. */
const PIN =
  /^\s*(?:(?:HWADDR|MACADDR|LLADDR)\s*=|(?:cloned-)?mac-address\s*=|(?:[^#]*[\s{,])?["']?macaddress["']?\s*:|(?:Permanent)?MACAddress\s*=|hwaddress\s|[^#]*ATTRS?\{address\}==).*?[0-9a-f]{2}([:-][0-9a-f]{2}){5}/i
/** What is longer is no setting, and a pattern takes time that grows faster than a line. */
const MAX_LINE = 1000

async function pins(guest: GuestFs): Promise<{ file: string; line: number; text: string }[]> {
  const found: { file: string; line: number; text: string }[] = []
  for (const pattern of NETWORK_FILES)
    for (const path of await glob(guest, pattern)) {
      const file = displayPath(path)
      const text = await textOf(guest, path)
      for (const [index, line] of text.split('\n').entries())
        if (PIN.test(line.slice(0, MAX_LINE)))
          found.push({ file, line: index + 1, text: line.trim().slice(0, 200) })
    }
  return found
}

async function textOf(guest: GuestFs, path: Uint8Array): Promise<string> {
  try {
    return (await readConfig(guest, path))?.text ?? ''
  } catch (error) {
    if (isDrydiskError(error)) return ''
    throw error
  }
}

interface Residue {
  readonly globs: readonly string[]
  readonly message: (paths: readonly string[]) => string
  readonly none: string
  /** Names of sysprep's operations that take it away. */
  readonly tasks: readonly string[]
  readonly fails?: true
}

async function residue({ guest, findings, mend }: CheckContext, what: Residue): Promise<void> {
  const paths: string[] = []
  for (const pattern of what.globs)
    for (const path of await glob(guest, pattern)) {
      const stats = await guest.lstat(path)
      if (!stats.isFile() || stats.size > 0) paths.push(displayPath(path))
    }
  const [file] = paths
  if (file === undefined) return findings.ok(what.none)
  const mended = await mend(inner => sysprep(inner, what.tasks))
  const place = { file, command: command(...what.tasks), mended }
  if (what.fails) findings.fail(what.message(paths), place)
  else findings.warn(what.message(paths), place)
}

const instance: Check = {
  name: 'instance-state',
  summary: 'cloud-init has not run here yet',
  profiles: ['openstack'],
  async run(context) {
    await residue(context, {
      globs: ['/var/lib/cloud/instance', '/var/lib/cloud/instances/*', '/var/lib/cloud/data/instance-id'],
      message: () => 'cloud-init has run in this image: a clone may take itself for the machine that it was',
      none: 'cloud-init has not run here yet',
      tasks: ['cloud-init-state'],
      fails: true,
    })
  },
}

const seeds: Check = {
  name: 'random-seed',
  summary: 'clones do not start with the same random numbers',
  profiles: ['openstack', 'kvm', 'generic'],
  async run(context) {
    await residue(context, {
      globs: RANDOM_SEEDS,
      message: () => 'a random seed: every clone starts with the same',
      none: 'there is no random seed',
      tasks: ['random-seed'],
      fails: true,
    })
  },
}

const traces: Check = {
  name: 'residue',
  summary: 'what somebody did here before is not passed on',
  profiles: ['openstack', 'kvm', 'generic'],
  async run(context) {
    const { findings, guest } = context
    await residue(context, {
      globs: [
        '/root/.bash_history',
        '/home/*/.bash_history',
        '/root/.zsh_history',
        '/home/*/.zsh_history',
        '/var/lib/dhcp/*.lease*',
        '/var/lib/dhclient/*.lease*',
        '/var/lib/NetworkManager/*.lease',
        '/var/lib/systemd/netif/leases/*',
        '/var/log/wtmp',
        '/var/log/btmp',
        '/var/log/lastlog',
        '/var/spool/mail/*',
      ],
      message: paths =>
        `${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ` and ${paths.length - 3} more` : ''} tell of a machine's life`,
      none: 'no history, lease, mail or log of logins',
      tasks: ['bash-history', 'zsh-history', 'dhcp-client-state', 'dhcp-leases', 'logfiles', 'mail-spool'],
    })
    const keys = [
      ...(await glob(guest, '/root/.ssh/authorized_keys')),
      ...(await glob(guest, '/home/*/.ssh/authorized_keys')),
    ]
    for (const path of keys)
      if ((await guest.stat(path)).size > 0)
        findings.warn('keys that the image brings along open every clone', {
          file: displayPath(path),
          command: command('ssh-userdir'),
        })
  },
}

export const identityChecks: readonly Check[] = [machineId, hostKeys, macs, instance, seeds, traces]
