import { library, type Step } from './step.ts'

/** Names and network. */
export const networkSteps: readonly Step[] = [
  {
    name: 'hostname',
    value: 'HOSTNAME',
    help: 'set the host name',
    async plan(hostname) {
      const { operations } = await library()
      return guest => operations.hostname.run(guest, { hostname })
    },
  },
  {
    name: 'no-zeroconf',
    help: 'NOZEROCONF=yes in /etc/sysconfig/network',
    async plan() {
      const { operations } = await library()
      return guest => operations['no-zeroconf'].run(guest, {})
    },
  },
]
