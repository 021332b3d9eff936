import { stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { toBytes } from '../bytes/names.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import type { OperationReport } from '../operations/operation.ts'
import { UsageError } from './errors.ts'
import { fileSource, hostSource } from './host-source.ts'
import { passwordSelector, SELECTOR_HELP, sshKeys } from './secrets.ts'

export type Operations = typeof import('../operations/index.ts')

/** One edit, ready to be made. */
export type Planned = (guest: GuestFs) => Promise<OperationReport>

export interface CustomizeOption {
  /** Without dashes. */
  readonly name: string
  /** As in help; left out for an option without a value. */
  readonly value?: string
  /** The value may be left out: it is then only taken from `--name=value`. */
  readonly optional?: true
  readonly help: string
  plan(value: string, library: Operations): Planned | Promise<Planned>
}

/** The two sides of the first colon. */
function split(value: string, form: string): [string, string] {
  const colon = value.indexOf(':')
  if (colon < 1) throw new UsageError(`"${value}" is not of the form ${form}`)
  return [value.slice(0, colon), value.slice(colon + 1)]
}

/** A path on the host may hold a colon itself; what follows it in the guest begins with a slash. */
function hostAndGuest(value: string, form: string): [string, string] {
  const colon = value.lastIndexOf(':/')
  return colon < 1 ? split(value, form) : [value.slice(0, colon), value.slice(colon + 1)]
}

/** Every option that edits the guest. virt-customize's keep its names and forms. */
export const customizeOptions: readonly CustomizeOption[] = [
  {
    name: 'append-line',
    value: 'FILE:LINE',
    help: 'append a line to a file, unless it is there',
    plan: (value, { operations }) => {
      const [path, line] = split(value, 'FILE:LINE')
      return guest => operations['append-line'].run(guest, { path, line })
    },
  },
  {
    name: 'chmod',
    value: 'PERMISSIONS:FILE',
    help: 'set permission bits (octal)',
    plan: (value, { operations }) => {
      const [bits, path] = split(value, 'PERMISSIONS:FILE')
      if (!/^0?o?[0-7]{1,4}$/.test(bits))
        throw new UsageError(`"${bits}" are not octal permissions such as 0644`)
      return guest => operations.chmod.run(guest, { path, mode: Number.parseInt(bits.replace('o', ''), 8) })
    },
  },
  {
    name: 'chown',
    value: 'UID:GID:PATH',
    help: 'set owner and group, by number or by name in the guest',
    plan: (value, { operations }) => {
      const match = /^([^:/]*(?::[^:/]*)?):(\/.*)$/s.exec(value)
      const [, owner, path] = match ?? []
      if (!owner || !path) throw new UsageError(`"${value}" is not of the form UID:GID:PATH`)
      return guest => operations.chown.run(guest, { path, owner })
    },
  },
  {
    name: 'cloud-init',
    value: 'KEY=VALUE',
    help: 'set a value of cloud.cfg: KEY=VALUE, KEY+=ITEM, KEY-=ITEM',
    plan:
      (setting, { operations }) =>
      guest =>
        operations['cloud-init'].run(guest, { setting }),
  },
  {
    name: 'copy',
    value: 'SOURCE:DEST',
    help: 'copy within the guest',
    plan: (value, { operations }) => {
      const [from, to] = split(value, 'SOURCE:DEST')
      return guest => operations.copy.run(guest, { from, to })
    },
  },
  {
    name: 'copy-in',
    value: 'LOCALPATH:REMOTEDIR',
    help: 'copy a file or folder of the host into a directory of the guest',
    plan: (value, { operations }) => {
      const [local, folder] = hostAndGuest(value, 'LOCALPATH:REMOTEDIR')
      return async guest => {
        const name = toBytes(basename(resolve(local)))
        const source = await hostSource(Buffer.from(local), name, { archive: false, follow: false })
        return operations['copy-in'].run(guest, { source, folder })
      }
    },
  },
  {
    name: 'delete',
    value: 'PATH',
    help: 'delete files and directories; * ? [ ] match in the guest',
    plan:
      (pattern, { operations }) =>
      guest =>
        operations.delete.run(guest, { pattern }),
  },
  {
    name: 'edit',
    value: 'FILE:EXPR',
    help: 'edit each line of a file by s/PATTERN/REPLACEMENT/FLAGS',
    plan: (value, { operations, parseSubstitutions }) => {
      const [path, expression] = split(value, 'FILE:EXPR')
      parseSubstitutions(expression)
      return guest => operations.edit.run(guest, { path, expression })
    },
  },
  {
    name: 'hostname',
    value: 'HOSTNAME',
    help: 'set the host name',
    plan:
      (hostname, { operations }) =>
      guest =>
        operations.hostname.run(guest, { hostname }),
  },
  {
    name: 'kernel-arg',
    value: 'ARG',
    help: 'set a kernel argument (name=value), add one more (+arg) or remove one (-arg)',
    plan: (value, { operations, parseKernelArgumentChange }) => {
      const changes = [parseKernelArgumentChange(value)]
      return guest => operations['kernel-arg'].run(guest, { changes })
    },
  },
  {
    name: 'link',
    value: 'TARGET:LINK',
    help: 'make symbolic links to TARGET; TARGET:LINK:LINK… makes several',
    plan: (value, { operations }) => {
      const [target, ...links] = value.split(':')
      if (!target || links.length === 0)
        throw new UsageError(`"${value}" is not of the form TARGET:LINK[:LINK…]`)
      return guest => operations.link.run(guest, { target, links })
    },
  },
  {
    name: 'mkdir',
    value: 'DIR',
    help: 'make a directory, and those above it',
    plan:
      (path, { operations }) =>
      guest =>
        operations.mkdir.run(guest, { path }),
  },
  {
    name: 'move',
    value: 'SOURCE:DEST',
    help: 'move or rename within the guest',
    plan: (value, { operations }) => {
      const [from, to] = split(value, 'SOURCE:DEST')
      return guest => operations.move.run(guest, { from, to })
    },
  },
  {
    name: 'no-zeroconf',
    help: 'NOZEROCONF=yes in /etc/sysconfig/network',
    plan:
      (_, { operations }) =>
      guest =>
        operations['no-zeroconf'].run(guest, {}),
  },
  {
    name: 'password',
    value: 'USER:SELECTOR',
    help: `set a user's password; SELECTOR: ${SELECTOR_HELP}`,
    plan: (value, { operations, parsePasswordSelector }) => {
      const [user, text] = split(value.includes(':') ? value : '', 'USER:SELECTOR')
      const selector = passwordSelector(text, parsePasswordSelector)
      return guest => operations.password.run(guest, { user, selector })
    },
  },
  {
    name: 'qemu-ga',
    help: 'let the guest agent do what OpenStack asks of it, such as setting passwords',
    plan:
      (_, { operations }) =>
      guest =>
        operations['qemu-ga'].run(guest, {}),
  },
  {
    name: 'root-password',
    value: 'SELECTOR',
    help: "set root's password; SELECTOR as for --password",
    plan: (value, { operations, parsePasswordSelector }) => {
      const selector = passwordSelector(value, parsePasswordSelector)
      return guest => operations['root-password'].run(guest, { selector })
    },
  },
  {
    name: 'serial-console',
    value: 'DEVICE,SPEED',
    optional: true,
    help: 'kernel, boot menu and login on the serial console (=ttyS0,115200 when left out)',
    plan: (value, { operations }) => {
      const [, device, speed] = /^(?:([A-Za-z]\w*)(?:,(\d+)\w*)?)?$/.exec(value) ?? []
      if (value !== '' && device === undefined)
        throw new UsageError(`"${value}" is not of the form ttyS0,115200`)
      const args = { ...(device ? { device } : {}), ...(speed ? { speed: Number(speed) } : {}) }
      return guest => operations['serial-console'].run(guest, args)
    },
  },
  {
    name: 'ssh-inject',
    value: 'USER:SELECTOR',
    help: 'add an SSH key for a user; SELECTOR: string:KEY, file:NAME, env:VARIABLE, stdin; USER alone: the newest ~/.ssh/id*.pub',
    plan: (value, { operations }) => {
      const keys = sshKeys(value)
      return guest => operations['ssh-inject'].run(guest, keys)
    },
  },
  {
    name: 'sshd',
    value: 'KEY=VALUE',
    help: 'set a keyword of the SSH server where it wins',
    plan: (setting, { operations }) => {
      const match = /^\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$/s.exec(setting)
      const [, keyword, value] = match ?? []
      if (!keyword || !value) throw new UsageError(`"${setting}" is not of the form KEY=VALUE`)
      return guest => operations.sshd.run(guest, { keyword, value })
    },
  },
  {
    name: 'timezone',
    value: 'TIMEZONE',
    help: 'set the time zone, such as Europe/Berlin',
    plan:
      (timezone, { operations }) =>
      guest =>
        operations.timezone.run(guest, { timezone }),
  },
  {
    name: 'touch',
    value: 'FILE',
    help: 'make an empty file where there is none',
    plan:
      (path, { operations }) =>
      guest =>
        operations.touch.run(guest, { path }),
  },
  {
    name: 'truncate',
    value: 'FILE',
    help: 'empty a file',
    plan:
      (path, { operations }) =>
      guest =>
        operations.truncate.run(guest, { path }),
  },
  {
    name: 'truncate-recursive',
    value: 'PATH',
    help: 'empty every file below a directory',
    plan:
      (path, { operations }) =>
      guest =>
        operations['truncate-recursive'].run(guest, { path }),
  },
  {
    name: 'upload',
    value: 'FILE:DEST',
    help: 'put a file of the host into the guest, with its permissions',
    plan: (value, { operations }) => {
      const [local, path] = hostAndGuest(value, 'FILE:DEST')
      return async guest => {
        const mode = (await stat(local)).mode & 0o7777
        return operations.upload.run(guest, { source: fileSource(Buffer.from(local)), path, mode })
      }
    },
  },
  {
    name: 'write',
    value: 'FILE:CONTENT',
    help: 'write a text into a file, in place of what it held',
    plan: (value, { operations }) => {
      const [path, content] = split(value, 'FILE:CONTENT')
      return guest => operations.write.run(guest, { path, content })
    },
  },
]
