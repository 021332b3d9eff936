import { getIniValue } from '../../config/ini.ts'
import { quoteWord } from '../../config/shell-words.ts'
import { dropIns } from '../drop-ins.ts'
import { readConfig } from '../guest-files.ts'
import { qemuGa } from '../qemu-ga.ts'
import { readQemuGa, rpcDecision } from '../qemu-ga-lists.ts'
import { unmaskService } from '../services/service-operations.ts'
import { serviceState } from '../services/service-state.ts'
import type { Check, CheckContext } from './check.ts'
import { start } from './start.ts'

const UNITS = ['qemu-guest-agent', 'qemu-ga']
const PASSWORD = 'guest-set-user-password'

const guestAgent: Check = {
  name: 'guest-agent',
  summary: 'the QEMU guest agent is there, starts, and may set passwords',
  profiles: ['openstack', 'kvm'],
  async run(context) {
    const { guest, facts, findings, mend } = context
    if (facts.agents['qemu-guest-agent'] === undefined) {
      findings.warn(
        'the QEMU guest agent is not installed: no password can be set, no filesystem frozen from outside',
        {
          command: 'drydisk customize IMAGE --install qemu-guest-agent',
        },
      )
      return
    }
    let hasUnit = false
    for (const unit of UNITS) {
      const { state, startsAtBoot, decidedBy, name } = await serviceState(guest, unit)
      if (state === 'absent') continue
      hasUnit = true
      // Where its unit has no [Install], udev starts it when its port appears.
      if (state === 'enabled' || state === 'static' || startsAtBoot) {
        findings.ok(`${name} is ${state}`, { file: decidedBy })
        break
      }
      const mended = (state === 'disabled' || state === 'masked') && (await start(context, state, name))
      findings.fail(`${name} is ${state}`, {
        file: decidedBy,
        command: `drydisk customize IMAGE ${state === 'masked' ? '--unmask-service' : '--enable-service'} ${name}`,
        mended,
      })
      // What a masked unit would start with is not to be read.
      if (state === 'masked' && !mended) return
      break
    }
    if (!hasUnit)
      findings.fail(
        `nothing starts the QEMU guest agent: this guest has no service ${UNITS.join(' and none ')}`,
      )
    const allowed = await readQemuGa(guest)
    if (allowed === undefined) return
    const { allowed: may, file, line } = rpcDecision(allowed, PASSWORD)
    if (may) findings.ok(`${PASSWORD} is allowed`, { file, line })
    else
      findings.fail(`${PASSWORD} is blocked: Nova cannot set a password`, {
        file,
        line,
        command: 'drydisk customize IMAGE --qemu-ga',
        mended: await mend(inner => qemuGa.run(inner, {})),
      })
  },
}

/** logind.conf(5): what shuts down, of the values of HandlePowerKey. */
const LISTENS = /^(?:poweroff|halt|kexec|reboot|soft-reboot|factory-reset)$/
const LOGIND = ['/etc/systemd', '/run/systemd', '/usr/local/lib/systemd', '/usr/lib/systemd']

/** What logind.conf and its drop-ins say in the end; `undefined` where they say nothing, which is `poweroff`. */
async function powerKey(guest: CheckContext['guest']) {
  const drops = await dropIns(
    guest,
    LOGIND.map(folder => `${folder}/logind.conf.d`),
  )
  for (const path of LOGIND.map(folder => `${folder}/logind.conf`)) {
    const main = await readConfig(guest, path)
    if (main === undefined) continue
    drops.unshift({ path, text: main.text })
    break
  }
  for (const { path, text } of drops.toReversed()) {
    const found = getIniValue(text, 'Login', 'HandlePowerKey')
    if (found !== undefined && found.value !== '') return { file: path, line: found.line, value: found.value }
  }
  return undefined
}

const powerButton: Check = {
  name: 'power-button',
  summary: 'a soft power-off is heard',
  profiles: ['openstack', 'kvm'],
  async run(context) {
    const { guest, facts, findings, mend } = context
    for (const path of ['/usr/lib/systemd/systemd-logind', '/lib/systemd/systemd-logind'])
      if (await guest.exists(path)) {
        const { state, decidedBy } = await serviceState(guest, 'systemd-logind')
        if (state === 'masked') {
          if (facts.agents.acpid !== undefined) break
          findings.fail('systemd-logind is masked: a soft power-off does not shut the guest down', {
            file: decidedBy,
            command: 'drydisk customize IMAGE --unmask-service systemd-logind',
            mended: await mend(inner => unmaskService.run(inner, { units: ['systemd-logind'] })),
          })
          return
        }
        const key = await powerKey(guest)
        if (key === undefined || LISTENS.test(key.value))
          findings.ok('systemd-logind hears the power button', { file: key?.file ?? path })
        else
          findings.fail(`HandlePowerKey=${key.value}: a soft power-off does not shut the guest down`, {
            file: key.file,
            line: key.line,
            command: `drydisk edit IMAGE ${quoteWord(key.file)} -e 's/^\\s*HandlePowerKey\\s*=.*/HandlePowerKey=poweroff/'`,
          })
        return
      }
    if (facts.agents.acpid !== undefined) {
      const states = [await serviceState(guest, 'acpid'), await serviceState(guest, 'acpid.socket')]
      const starts = states.some(({ state, startsAtBoot }) => state === 'enabled' || startsAtBoot)
      if (starts || states.every(({ state }) => state === 'absent'))
        findings.ok(`acpid ${facts.agents.acpid}`.trim())
      else
        findings.fail('acpid is there, but does not start: the guest does not hear that it is to shut down', {
          file: states.find(({ state }) => state !== 'absent')?.decidedBy || undefined,
          command: 'drydisk customize IMAGE --enable-service acpid',
          mended: await start(context, 'disabled', 'acpid'),
        })
    } else
      findings.fail(
        'neither systemd-logind nor acpid is there: the guest does not hear that it is to shut down',
        {
          command: 'drydisk customize IMAGE --install acpid',
        },
      )
  },
}

export const agentChecks: readonly Check[] = [guestAgent, powerButton]
