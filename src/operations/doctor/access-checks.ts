import { readConfig } from '../guest-files.ts'
import { serviceState } from '../services/service-state.ts'
import { readSshdSetting } from '../sshd.ts'
import type { Check, CheckContext } from './check.ts'

const ssh: Check = {
  name: 'ssh',
  summary: 'the SSH server starts, and does not let in who only guesses',
  profiles: ['openstack', 'kvm', 'generic'],
  async run(context) {
    const { guest, findings } = context
    const empty = await readSshdSetting(guest, 'PermitEmptyPasswords')
    if (empty === undefined) {
      for (const path of ['/usr/sbin/dropbear', '/usr/bin/dropbear'])
        if (await guest.exists(path)) return findings.ok('dropbear is the SSH server', { file: path })
      findings.warn('no SSH server was found: the guest is reached by its console only')
      return
    }
    if (empty.value?.toLowerCase() === 'yes')
      findings.fail('sshd lets in accounts with an empty password', {
        file: empty.file,
        line: empty.line,
        command: 'drydisk customize IMAGE --sshd PermitEmptyPasswords=no',
      })
    await rootLogin(context)
    await starts(context)
  },
}

async function rootLogin({ guest, findings }: CheckContext): Promise<void> {
  const root = await readSshdSetting(guest, 'PermitRootLogin')
  const passwords = await readSshdSetting(guest, 'PasswordAuthentication')
  const [rootValue, passwordValue] = [root?.value?.toLowerCase(), passwords?.value?.toLowerCase()]
  // Both have these defaults where nothing is written (sshd_config(5)); PermitRootLogin's is prohibit-password since OpenSSH 7.0.
  if (passwordValue !== 'no' && rootValue === 'yes')
    findings.warn('sshd lets root in by password', {
      file: root?.file,
      line: root?.line,
      command: 'drydisk customize IMAGE --sshd PermitRootLogin=prohibit-password',
    })
  else if (passwordValue !== 'no')
    findings.warn('sshd takes passwords: whoever guesses one is in', {
      file: passwords?.file,
      line: passwords?.line,
      command: 'drydisk customize IMAGE --sshd PasswordAuthentication=no',
    })
  else findings.ok('sshd takes keys and no passwords', { file: passwords?.file, line: passwords?.line })
}

async function starts({ guest, findings }: CheckContext): Promise<void> {
  const states = []
  // A socket may stand in for the service (Ubuntu since 22.10).
  for (const unit of ['ssh', 'sshd', 'ssh.socket', 'sshd.socket', 'sshd-unix-local.socket'])
    states.push(await serviceState(guest, unit))
  const there = states.filter(({ state }) => state !== 'absent')
  const enabled = there.find(({ state, startsAtBoot }) => state === 'enabled' || startsAtBoot)
  const [first] = there
  if (enabled !== undefined) findings.ok(`${enabled.name} is ${enabled.state}`, { file: enabled.decidedBy })
  else if (first !== undefined)
    findings.fail(`${first.name} is ${first.state}`, {
      file: first.decidedBy,
      command: `drydisk customize IMAGE --enable-service ${first.name}`,
    })
}

const passwords: Check = {
  name: 'passwords',
  summary: 'no account has a password that the image brings along',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ guest, findings }) {
    const file = '/etc/shadow'
    const shells = await loginShells(guest)
    const config = await readConfig(guest, file)
    const before = findings.list.length
    for (const [index, line] of (config?.text ?? '').split('\n').entries()) {
      const [user, hash] = line.split(':')
      if (user === undefined || user === '' || hash === undefined || !(shells.get(user) ?? false)) continue
      const place = { file, line: index + 1, command: `drydisk customize IMAGE --password ${user}:disabled` }
      if (hash === '') findings.fail(`${user} has an empty password`, place)
      else if (hash.startsWith('$'))
        findings.warn(`${user} has a password: everyone who knows it knows it of every clone`, place)
    }
    if (findings.list.length === before && config !== undefined)
      findings.ok('no account that can log in has a password', { file })
  },
}

/** Whether the shell of an account lets it log in. */
async function loginShells(guest: CheckContext['guest']): Promise<Map<string, boolean>> {
  const shells = new Map<string, boolean>()
  for (const line of ((await readConfig(guest, '/etc/passwd'))?.text ?? '').split('\n')) {
    const [user, , , , , , shell = ''] = line.split(':')
    if (user !== undefined && user !== '')
      shells.set(user, !/\/(nologin|false|sync|shutdown|halt)$/.test(shell.trim()))
  }
  return shells
}

export const accessChecks: readonly Check[] = [ssh, passwords]
