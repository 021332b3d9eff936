import { invalid, library, planned, type Step } from './step.ts'

/** Kernel parameters and modules, SELinux, the journal, disks that grow. */
export const tuningSteps: readonly Step[] = [
  {
    name: 'expect-packages',
    value: 'PACKAGES',
    help: 'say which of these packages (NAME,NAME…) the guest does not have',
    async plan(value) {
      const packages = words(value)
      const { operations } = await library()
      return planned(operations['expect-packages'], { packages })
    },
  },
  {
    name: 'growroot',
    help: 'have the root filesystem grow to the size of the disk at boot',
    async plan() {
      const { operations } = await library()
      return planned(operations.growroot, {})
    },
  },
  {
    name: 'journal-to-console',
    help: "send systemd's journal to the console too",
    async plan() {
      const { operations } = await library()
      return planned(operations['journal-to-console'], {})
    },
  },
  {
    name: 'kernel-args',
    value: 'ARGS',
    help: 'several kernel arguments with spaces between them, each as for kernel-arg',
    async plan(value) {
      const { operations, parseKernelArgumentChange } = await library()
      const changes = value
        .split(/\s+/)
        .filter(word => word !== '')
        .map(parseKernelArgumentChange)
      return planned(operations['kernel-arg'], { changes })
    },
  },
  {
    name: 'modprobe-blacklist',
    value: 'MODULES',
    help: 'keep kernel modules (NAME,NAME…) from being loaded for the devices that they match',
    async plan(value) {
      const modules = words(value)
      const { operations } = await library()
      return planned(operations['modprobe-blacklist'], { modules })
    },
  },
  {
    name: 'selinux-mode',
    value: 'MODE',
    help: 'set the mode of SELinux: enforcing, permissive or disabled',
    async plan(mode) {
      if (mode !== 'enforcing' && mode !== 'permissive' && mode !== 'disabled')
        throw invalid(`"${mode}" is no mode of SELinux; expected enforcing, permissive or disabled`)
      const { operations } = await library()
      return planned(operations['selinux-mode'], { mode })
    },
  },
  {
    name: 'stable-interface-names',
    help: 'name network interfaces by where they are (ens3), not by when they are found (eth0)',
    async plan() {
      const { operations } = await library()
      return planned(operations['stable-interface-names'], {})
    },
  },
  {
    name: 'sysctl',
    value: 'KEY=VALUE',
    help: 'set a kernel parameter at every boot, such as net.ipv4.ip_forward=1',
    async plan(setting) {
      const [, key, value] = /^\s*([^\s=]+)\s*=\s*(.*?)\s*$/s.exec(setting) ?? []
      if (!key || !value) throw invalid(`"${setting}" is not of the form KEY=VALUE`)
      const { operations } = await library()
      return planned(operations.sysctl, { key, value })
    },
  },
  {
    name: 'sysprep',
    value: 'OPERATIONS',
    optional: true,
    help: 'make the guest ready for cloning; OPERATIONS as for the command sysprep (=defaults when left out)',
    async plan(value) {
      const { chooseTasks, operations } = await library()
      const args = value === '' ? {} : { operations: [value] }
      chooseTasks(args.operations)
      return planned(operations.sysprep, args)
    },
  },
]

/** Names with commas or white space between them. */
function words(value: string): string[] {
  const found = value.split(/[\s,]+/).filter(word => word !== '')
  if (found.length === 0) throw invalid('at least one name is needed')
  return found
}
