import { accountEntries } from '../../config/accounts.ts'
import { quoteWord } from '../../config/shell-words.ts'
import { readConfig } from '../guest-files.ts'
import { serviceState } from '../services/service-state.ts'
import { readSshdSetting, sshd } from '../sshd.ts'
import type { Check, CheckContext } from './check.ts'
import { start } from './start.ts'

const ssh: Check = {
  name: 'ssh',
  summary: 'the SSH server starts, and does not let in who only guesses',
  profiles: ['openstack', 'kvm', 'generic'],
  async run(context) {
    const { guest, findings, mend } = context
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
        mended: await mend(inner => sshd.run(inner, { keyword: 'PermitEmptyPasswords', value: 'no' })),
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
  else if (await asksForPasswords(guest))
    findings.warn('sshd takes passwords by way of keyboard-interactive, which PAM answers', {
      command: 'drydisk customize IMAGE --sshd KbdInteractiveAuthentication=no',
    })
  else findings.ok('sshd takes keys and no passwords', { file: passwords?.file, line: passwords?.line })
}

/** sshd_config(5): without a word of it, KbdInteractiveAuthentication is on and UsePAM off. */
async function asksForPasswords(guest: CheckContext['guest']): Promise<boolean> {
  const pam = (await readSshdSetting(guest, 'UsePAM'))?.value?.toLowerCase()
  const keyboard = (await readSshdSetting(guest, 'KbdInteractiveAuthentication'))?.value?.toLowerCase()
  return pam === 'yes' && keyboard !== 'no'
}

async function starts(context: CheckContext): Promise<void> {
  const { guest, findings } = context
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
      command: `drydisk customize IMAGE ${first.state === 'masked' ? '--unmask-service' : '--enable-service'} ${first.name}`,
      mended: await start(context, first.state, first.name),
    })
}

const passwords: Check = {
  name: 'passwords',
  summary: 'no account has a password that the image brings along',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ guest, findings }) {
    const passwd = await readConfig(guest, '/etc/passwd')
    if (passwd === undefined) return
    const shadow = new Map<string, { hash: string; line: number }>()
    for (const { fields, line } of accountEntries((await readConfig(guest, SHADOW))?.text ?? '', 'shadow')) {
      const [user = '', hash = ''] = fields
      if (!shadow.has(user)) shadow.set(user, { hash, line })
    }
    const seen = new Set<string>()
    const before = findings.list.length
    for (const { fields, line } of accountEntries(passwd.text, 'passwd')) {
      const [user = '', password = '', , , , , shell = ''] = fields
      if (seen.has(user) || NO_LOGIN.test(shell.trim())) continue
      seen.add(user)
      // passwd(5): "x" sends to shadow; anything else is the password itself.
      const own = { hash: password, line, file: '/etc/passwd' }
      const decides = password === 'x' ? { file: SHADOW, ...shadow.get(user) } : own
      if (decides.hash === undefined) continue
      const place = {
        file: decides.file,
        line: decides.line,
        command: `drydisk customize IMAGE --password ${quoteWord(`${user}:disabled`)}`,
      }
      if (decides.hash === '') findings.fail(`${user} has an empty password`, place)
      else if (CRYPTED.test(decides.hash))
        findings.warn(`${user} has a password: everyone who knows it knows it of every clone`, place)
    }
    if (findings.list.length === before)
      findings.ok('no account that can log in has a password', {
        file: shadow.size > 0 ? SHADOW : '/etc/passwd',
      })
  },
}

const SHADOW = '/etc/shadow'
const NO_LOGIN = /\/(nologin|false|sync|shutdown|halt)$/
/** crypt(5): a method's prefix, or the 13 characters of DES; what else there is lets nobody in. */
const CRYPTED = /^(?:[$_].|[./0-9A-Za-z]{13}$)/

export const accessChecks: readonly Check[] = [ssh, passwords]
