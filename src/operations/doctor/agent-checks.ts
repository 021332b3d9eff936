import { qemuGa } from '../qemu-ga.ts'
import { readQemuGa, rpcDecision } from '../qemu-ga-lists.ts'
import { enableService } from '../services/service-operations.ts'
import { serviceState } from '../services/service-state.ts'
import type { Check } from './check.ts'

const UNITS = ['qemu-guest-agent', 'qemu-ga']
const PASSWORD = 'guest-set-user-password'

const guestAgent: Check = {
  name: 'guest-agent',
  summary: 'the QEMU guest agent is there, starts, and may set passwords',
  profiles: ['openstack', 'kvm'],
  async run({ guest, facts, findings, mend }) {
    if (facts.agents['qemu-guest-agent'] === undefined) {
      findings.warn(
        'the QEMU guest agent is not installed: no password can be set, no filesystem frozen from outside',
        {
          command: 'drydisk customize IMAGE --install qemu-guest-agent',
        },
      )
      return
    }
    for (const unit of UNITS) {
      const { state, startsAtBoot, decidedBy, name } = await serviceState(guest, unit)
      if (state === 'absent') continue
      // Where its unit has no [Install], udev starts it when its port appears.
      if (state === 'enabled' || state === 'static' || startsAtBoot) {
        findings.ok(`${name} is ${state}`, { file: decidedBy })
        break
      }
      const mended =
        state === 'disabled' && (await mend(inner => enableService.run(inner, { units: [name] })))
      findings.fail(`${name} is ${state}`, {
        file: decidedBy,
        command: `drydisk customize IMAGE ${state === 'masked' ? '--unmask-service' : '--enable-service'} ${name}`,
        mended,
      })
      break
    }
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

const powerButton: Check = {
  name: 'power-button',
  summary: 'a soft power-off is heard',
  profiles: ['openstack', 'kvm'],
  async run({ guest, facts, findings }) {
    for (const path of ['/usr/lib/systemd/systemd-logind', '/lib/systemd/systemd-logind'])
      if (await guest.exists(path)) {
        findings.ok('systemd-logind hears the power button', { file: path })
        return
      }
    if (facts.agents.acpid !== undefined) findings.ok(`acpid ${facts.agents.acpid}`.trim())
    else
      findings.fail(
        'neither systemd-logind nor acpid is there: the guest does not hear that it is to shut down',
        {
          command: 'drydisk customize IMAGE --install acpid',
        },
      )
  },
}

export const agentChecks: readonly Check[] = [guestAgent, powerButton]
