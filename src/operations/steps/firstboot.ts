import type { HostAccess } from './host-access.ts'
import { checkThere, invalid, library, planned, type Step } from './step.ts'

const LATER = 'drydisk runs no guest code, so at its first boot'

async function script(name: 'firstboot' | 'run', path: string, host: HostAccess) {
  const content = await host.readBytes(path)
  const { operations } = await library()
  const args = { script: content, name: path.replace(/^.*\//s, '') }
  return (guest: Parameters<typeof operations.firstboot.run>[0]) => operations[name].run(guest, args)
}

async function command(name: 'firstboot-command' | 'run-command', line: string) {
  if (line.trim() === '') throw invalid('an empty command')
  const { operations } = await library()
  return (guest: Parameters<typeof operations.firstboot.run>[0]) =>
    operations[name].run(guest, { command: line })
}

function listed(value: string): string[] {
  const names = value.split(',').filter(name => name !== '')
  if (names.length === 0) throw invalid(`"${value}" names no packages: PKG,PKG…`)
  return names
}

async function packages(name: 'firstboot-install' | 'install', value: string, host: HostAccess) {
  const isFile = (one: string) => /\.(deb|rpm|apk)$/.test(one)
  const files = listed(value).filter(isFile)
  for (const file of files) await checkThere(file, host)
  const { operations } = await library()
  const args = {
    packages: listed(value).filter(one => !isFile(one)),
    files: files.map(file => host.source(file)),
  }
  return planned(operations[name], args)
}

/** What the guest does itself when it boots first. virt-customize's options keep their names and forms. */
export const firstbootSteps: readonly Step[] = [
  {
    name: 'firstboot',
    value: 'SCRIPT',
    help: 'run a script of the host once, when the guest boots first',
    plan: (value, host) => script('firstboot', value, host),
  },
  {
    name: 'firstboot-command',
    value: 'CMD',
    help: 'run a command line once, when the guest boots first',
    plan: value => command('firstboot-command', value),
  },
  {
    name: 'firstboot-install',
    value: 'PKG,PKG..',
    help: 'install packages when the guest boots first; .deb, .rpm and .apk files of the host are carried along',
    plan: (value, host) => packages('firstboot-install', value, host),
  },
  {
    name: 'install',
    value: 'PKG,PKG..',
    help: `install packages (${LATER}); .deb, .rpm and .apk files of the host are carried along`,
    plan: (value, host) => packages('install', value, host),
  },
  {
    name: 'run',
    value: 'SCRIPT',
    help: `run a script of the host (${LATER})`,
    plan: (value, host) => script('run', value, host),
  },
  {
    name: 'run-command',
    value: 'CMD',
    help: `run a command line (${LATER})`,
    plan: value => command('run-command', value),
  },
  {
    name: 'uninstall',
    value: 'PKG,PKG..',
    help: `remove packages (${LATER})`,
    async plan(value) {
      const { operations } = await library()
      return planned(operations.uninstall, { packages: listed(value) })
    },
  },
  {
    name: 'update',
    help: `update all packages (${LATER})`,
    async plan() {
      const { operations } = await library()
      return planned(operations.update, {})
    },
  },
  {
    name: 'selinux-relabel',
    help: 'give every file the SELinux label of the guest’s policy, now; where that cannot be, at the next boot',
    async plan() {
      const { operations } = await library()
      return planned(operations['selinux-relabel'], {})
    },
  },
]
