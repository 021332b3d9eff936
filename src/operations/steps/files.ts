import { checkThere, hostAndGuest, invalid, library, planned, type Step, split } from './step.ts'

/** Files and folders of the guest. virt-customize's options keep their names and forms. */
export const fileSteps: readonly Step[] = [
  {
    name: 'append-line',
    value: 'FILE:LINE',
    help: 'append a line to a file, unless it is there',
    async plan(value) {
      const [path, line] = split(value, 'FILE:LINE')
      const { operations } = await library()
      return planned(operations['append-line'], { path, line })
    },
  },
  {
    name: 'chmod',
    value: 'PERMISSIONS:FILE',
    help: 'set permission bits (octal)',
    async plan(value) {
      const [bits, path] = split(value, 'PERMISSIONS:FILE')
      if (!/^0?o?[0-7]{1,4}$/.test(bits)) throw invalid(`"${bits}" are not octal permissions such as 0644`)
      const { operations } = await library()
      return guest => operations.chmod.run(guest, { path, mode: Number.parseInt(bits.replace('o', ''), 8) })
    },
  },
  {
    name: 'chown',
    value: 'UID:GID:PATH',
    help: 'set owner and group, by number or by name in the guest',
    async plan(value) {
      const match = /^([^:/]*(?::[^:/]*)?):(\/.*)$/s.exec(value)
      const [, owner, path] = match ?? []
      if (!owner || !path) throw invalid(`"${value}" is not of the form UID:GID:PATH`)
      const { operations } = await library()
      return planned(operations.chown, { path, owner })
    },
  },
  {
    name: 'copy',
    value: 'SOURCE:DEST',
    help: 'copy within the guest',
    async plan(value) {
      const [from, to] = split(value, 'SOURCE:DEST')
      const { operations } = await library()
      return planned(operations.copy, { from, to })
    },
  },
  {
    name: 'copy-in',
    value: 'LOCALPATH:REMOTEDIR',
    help: 'copy a file or folder of the host into a directory of the guest',
    async plan(value, host) {
      const [local, folder] = hostAndGuest(value, 'LOCALPATH:REMOTEDIR')
      await checkThere(local, host)
      const { operations } = await library()
      return async guest => operations['copy-in'].run(guest, { source: await host.tree(local), folder })
    },
  },
  {
    name: 'delete',
    value: 'PATH',
    help: 'delete files and directories; * ? [ ] match in the guest',
    async plan(pattern) {
      const { operations } = await library()
      return planned(operations.delete, { pattern })
    },
  },
  {
    name: 'edit',
    value: 'FILE:EXPR',
    help: 'edit each line of a file by s/PATTERN/REPLACEMENT/FLAGS; $_ = "" if /PATTERN/ takes lines out',
    async plan(value) {
      const [path, expression] = split(value, 'FILE:EXPR')
      const { operations, parseSubstitutions } = await library()
      parseSubstitutions(expression)
      return planned(operations.edit, { path, expression })
    },
  },
  {
    name: 'link',
    value: 'TARGET:LINK',
    help: 'make symbolic links to TARGET; TARGET:LINK:LINK… makes several',
    async plan(value) {
      const [target, ...links] = value.split(':')
      if (!target || links.length === 0) throw invalid(`"${value}" is not of the form TARGET:LINK[:LINK…]`)
      const { operations } = await library()
      return planned(operations.link, { target, links })
    },
  },
  {
    name: 'mkdir',
    value: 'DIR',
    help: 'make a directory, and those above it',
    async plan(path) {
      const { operations } = await library()
      return planned(operations.mkdir, { path })
    },
  },
  {
    name: 'move',
    value: 'SOURCE:DEST',
    help: 'move or rename within the guest',
    async plan(value) {
      const [from, to] = split(value, 'SOURCE:DEST')
      const { operations } = await library()
      return planned(operations.move, { from, to })
    },
  },
  {
    name: 'touch',
    value: 'FILE',
    help: 'make an empty file where there is none',
    async plan(path) {
      const { operations } = await library()
      return planned(operations.touch, { path })
    },
  },
  {
    name: 'truncate',
    value: 'FILE',
    help: 'empty a file',
    async plan(path) {
      const { operations } = await library()
      return planned(operations.truncate, { path })
    },
  },
  {
    name: 'truncate-recursive',
    value: 'PATH',
    help: 'empty every file below a directory',
    async plan(path) {
      const { operations } = await library()
      return planned(operations['truncate-recursive'], { path })
    },
  },
  {
    name: 'upload',
    value: 'FILE:DEST',
    help: 'put a file of the host into the guest, with its permissions',
    async plan(value, host) {
      const [local, path] = hostAndGuest(value, 'FILE:DEST')
      await checkThere(local, host)
      const { operations } = await library()
      return async guest => {
        const mode = await host.mode(local)
        return operations.upload.run(guest, { source: host.source(local), path, mode })
      }
    },
  },
  {
    name: 'write',
    value: 'FILE:CONTENT',
    help: 'write a text into a file, in place of what it held',
    async plan(value) {
      const [path, content] = split(value, 'FILE:CONTENT')
      const { operations } = await library()
      return planned(operations.write, { path, content })
    },
  },
]
