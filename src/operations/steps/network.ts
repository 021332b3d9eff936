import { library, planned, type Step } from './step.ts'

/** Names and network. */
export const networkSteps: readonly Step[] = [
  {
    name: 'hostname',
    value: 'HOSTNAME',
    help: 'set the host name',
    async plan(hostname) {
      const { operations } = await library()
      return planned(operations.hostname, { hostname })
    },
  },
  {
    name: 'mirror',
    value: '[NAME=]URL',
    help: 'get packages from a mirror of the distribution; NAME: one repository, or "security" for apt',
    async plan(value) {
      // What comes before an = is a name unless it begins a URL, which may hold one itself.
      const [, name, url = value] = /^(?!\w[\w+]*:\/)([^=/\s]+)=(.*)$/s.exec(value) ?? []
      const { operations } = await library()
      return planned(operations.mirror, name === undefined ? { url } : { url, name })
    },
  },
  {
    name: 'network-dhcp',
    value: 'INTERFACE',
    optional: true,
    help: 'configure an interface, or every one, by DHCP where this guest reads it',
    async plan(value) {
      const { operations } = await library()
      return planned(operations['network-dhcp'], value === '' ? {} : { interface: value })
    },
  },
  {
    name: 'network-unpin',
    help: 'take MAC addresses out of the network configuration',
    async plan() {
      const { operations } = await library()
      return planned(operations['network-unpin'], {})
    },
  },
  {
    name: 'no-zeroconf',
    help: 'NOZEROCONF=yes in /etc/sysconfig/network',
    async plan() {
      const { operations } = await library()
      return planned(operations['no-zeroconf'], {})
    },
  },
]
