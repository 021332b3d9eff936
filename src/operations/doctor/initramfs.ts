import { getShellValue } from '../../config/shell-assignments.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, readConfig, statOrUndefined } from '../guest-files.ts'
import { textsInInitramfs } from '../initramfs-content.ts'
import type { Check } from './check.ts'

/** Without one of these the root of a virtual machine is not found. */
const DRIVERS = ['virtio_blk', 'virtio_scsi'] as const
/** What kernel modules are packed by. */
const SUFFIXES = ['', '.xz', '.zst', '.gz']
/** Within an initramfs, a filesystem of its own that holds the modules (dracut's modules squash and squash-erofs). */
const NESTED = ['squash-root.img', 'squashfs-root.img', 'erofs-root.img']

/** What says which drivers an initramfs has. */
interface Evidence {
  readonly has: boolean
  readonly message: string
  readonly file: string
  readonly line?: number | undefined
}

/**
 * Whether the initramfs has the drivers of virtual disks: by the drivers that are in the kernel itself, by the configuration that the
 * initramfs was made with, and only where these do not tell, by what is in it, because unpacking takes a second.
 */
export const initramfsCheck: Check = {
  name: 'virtio',
  summary: 'kernels find their root on a virtio disk',
  profiles: ['openstack', 'kvm'],
  async run({ guest, facts, findings }) {
    const configured =
      (await fromInitramfsTools(guest)) ?? (await fromDracut(guest)) ?? (await fromMkinitfs(guest))
    for (const { release } of facts.kernels) {
      const builtin = await builtinDriver(guest, release)
      if (builtin !== undefined)
        findings.ok(`${builtin.driver} is in kernel ${release} itself`, { file: builtin.file })
      else if (configured?.has) findings.ok(`${release}: ${configured.message}`, configured)
      else {
        const content = await fromContent(guest, release)
        if (content?.has) findings.ok(`${release}: ${content.message}`, content)
        else if (content !== undefined) findings.fail(`${release}: ${content.message}`, content)
        else if (configured !== undefined)
          findings.warn(
            `${release}: ${configured.message}, so its initramfs has the drivers of the machine that made it: virtio among them only if that was a virtual one`,
            configured,
          )
        else findings.warn(`${release}: nothing tells whether its initramfs has the drivers of virtio disks`)
      }
    }
  },
}

/** `undefined` where the initramfs cannot be looked into, or what is not in it may be in the kernel. */
async function fromContent(guest: GuestFs, release: string): Promise<Evidence | undefined> {
  for (const file of [
    `/boot/initramfs-${release}.img`,
    `/boot/initrd.img-${release}`,
    `/boot/initrd-${release}`,
    `/boot/initramfs-${release.replace(/^[\d.-]*/, '')}`,
  ]) {
    if ((await statOrUndefined(guest, file))?.isFile() !== true) continue
    // The names of files, which end with a zero in a cpio archive: lists of modules that the kernel could have are in there too.
    const modules = DRIVERS.flatMap(name => SUFFIXES.map(suffix => `/${name}.ko${suffix}\0`))
    const nested = NESTED.map(name => `${name}\0`)
    const found = await textsInInitramfs(guest, file, [...modules, ...nested], 1)
    if (found === undefined || found.some(text => nested.includes(text))) return undefined
    const driver = DRIVERS.find(name => found.some(text => text.startsWith(`/${name}.`)))
    if (driver !== undefined) return { has: true, message: `${driver} is in its initramfs`, file }
    return (await builtinList(guest, release)) === undefined
      ? undefined
      : { has: false, message: 'no driver of virtio disks is in its initramfs or in the kernel', file }
  }
  return undefined
}

async function builtinDriver(
  guest: GuestFs,
  release: string,
): Promise<{ readonly driver: string; readonly file: string } | undefined> {
  const list = await builtinList(guest, release)
  const driver = DRIVERS.find(name => list?.text.includes(`/${name}.ko`))
  return driver === undefined || list === undefined ? undefined : { driver, file: list.file }
}

async function builtinList(
  guest: GuestFs,
  release: string,
): Promise<{ readonly text: string; readonly file: string } | undefined> {
  for (const folder of ['/usr/lib/modules', '/lib/modules']) {
    const file = `${folder}/${release}/modules.builtin`
    const config = await readConfig(guest, file)
    if (config !== undefined) return { text: config.text, file }
  }
  return undefined
}

/** initramfs.conf(5): `most` and `netboot` have every driver of disks, `dep` those of this machine. */
async function fromInitramfsTools(guest: GuestFs): Promise<Evidence | undefined> {
  const main = '/etc/initramfs-tools/initramfs.conf'
  let found: Evidence | undefined
  for (const file of [main, ...(await listFolder(guest, '/etc/initramfs-tools/conf.d', /^[\w.-]+$/))]) {
    const config = await readConfig(guest, file)
    const value = config && getShellValue(config.text, 'MODULES')
    if (value !== undefined)
      found = {
        has: value.text !== 'dep' && value.text !== 'list',
        message: `MODULES=${value.text}`,
        file,
        line: value.line,
      }
  }
  if (found?.has !== false) return found
  const modules = '/etc/initramfs-tools/modules'
  const listed = (await readConfig(guest, modules))?.text ?? ''
  const driver = DRIVERS.find(name => new RegExp(`^\\s*${name}\\b`, 'm').test(listed))
  return driver === undefined ? found : { has: true, message: `${driver} is listed`, file: modules }
}

/** dracut.conf(5): files in /etc come after those in /usr/lib, and the last one counts. */
async function fromDracut(guest: GuestFs): Promise<Evidence | undefined> {
  let hostonly: Evidence | undefined
  let added: Evidence | undefined
  let isThere = false
  const files = [
    ...(await listFolder(guest, '/usr/lib/dracut/dracut.conf.d', /\.conf$/)),
    '/etc/dracut.conf',
    ...(await listFolder(guest, '/etc/dracut.conf.d', /\.conf$/)),
  ]
  for (const file of files) {
    const config = await readConfig(guest, file)
    if (config === undefined) continue
    isThere = true
    for (const [index, line] of config.text.split('\n').entries()) {
      const [, name, value = ''] = /^\s*(hostonly|(?:add_|force_)?drivers)\+?=["']?([^"'#]*)/.exec(line) ?? []
      if (name === 'hostonly')
        hostonly = { has: value.trim() === 'no', message: `hostonly=${value.trim()}`, file, line: index + 1 }
      else if (name !== undefined && DRIVERS.some(driver => value.split(/\s+/).includes(driver)))
        added = { has: true, message: `${value.trim()} is added by dracut`, file, line: index + 1 }
    }
  }
  if (added !== undefined || hostonly !== undefined) return added ?? hostonly
  return isThere
    ? { has: false, message: 'dracut makes host-only images by default', file: '/etc/dracut.conf' }
    : undefined
}

/** Alpine: the feature `virtio` stands in mkinitfs.conf. */
async function fromMkinitfs(guest: GuestFs): Promise<Evidence | undefined> {
  const file = '/etc/mkinitfs/mkinitfs.conf'
  const config = await readConfig(guest, file)
  const value = config && getShellValue(config.text, 'features')
  if (value === undefined) return undefined
  const has = value.text.split(/\s+/).includes('virtio')
  return { has, message: has ? 'feature virtio' : 'no feature virtio', file, line: value.line }
}
