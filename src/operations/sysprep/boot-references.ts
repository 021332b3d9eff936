import { byteKey, bytesOfKey } from '../../bytes/names.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { displayPath } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'
import { GuestTree } from './guest-tree.ts'

/** What the boot reads from the root: mounts, swap, encryption, and what menus and initramfs are made from the next time. */
const ROOT_FILES = [
  '/etc/fstab',
  '/etc/fstab.d/*',
  '/etc/crypttab',
  '/etc/cmdline.d/*',
  '/etc/default/grub',
  '/etc/default/grub.d/*',
  '/etc/default/grub_installdevice',
  '/etc/dracut.conf',
  '/etc/dracut.conf.d/*',
  '/etc/grub.d/*',
  '/etc/initramfs-tools/conf.d/*',
  '/etc/initramfs-tools/initramfs.conf',
  '/etc/kernel/cmdline',
  '/etc/mkinitfs/mkinitfs.conf',
  '/etc/sysconfig/bootloader',
  '/etc/sysconfig/grub',
  '/etc/systemd/system/*.automount',
  '/etc/systemd/system/*.mount',
  '/etc/systemd/system/*.service',
  '/etc/systemd/system/*.swap',
  '/etc/update-extlinux.conf',
  '/etc/uswsusp.conf',
  '/usr/lib/kernel/cmdline',
  '/extlinux.conf',
  '/syslinux.cfg',
]

/** What a boot loader reads, below the folder where /boot or an EFI system partition is mounted. */
const BOOT_FILES = [
  '/EFI/*/*.cfg',
  '/EFI/*/*.conf',
  '/EFI/*/grubenv',
  '/cmdline.txt',
  '/extlinux.conf',
  '/extlinux/extlinux.conf',
  '/grub*/*.cfg',
  '/grub*/*/load.cfg',
  '/grub*/grub.conf',
  '/grub*/grubenv',
  '/grub*/menu.lst',
  '/loader/entries/*.conf',
  '/startup.nsh',
  '/syslinux.cfg',
  '/syslinux/*.cfg',
]

/** GRUB images without a signature hold the search for their filesystem, unified kernel images their command line. */
const PROGRAMS = ['/EFI/*/*.efi', '/EFI/*/*.EFI']

const INITRAMFS = ['/initr*', '/*/*/initrd*', '/EFI/*/initr*']

/** Where a guest has /boot and its EFI system partition. */
const BOOT_FOLDERS = ['/boot', '/boot/efi', '/boot/firmware', '/efi']

/** More than these files have. */
const MOST_TEXT = 16 << 20
const MOST_PROGRAM = 256 << 20

/** Other names for what the boot finds by its id. */
export interface Renaming {
  /** In reports: `filesystem UUIDs`. */
  readonly setting: string
  /** Files of the root that may hold them beside those that the boot reads. */
  readonly files?: readonly string[]
  /** The same length: a GRUB environment block and a program stay as long as they are. */
  replace(text: string): { text: string; count: number }
}

/** A file that holds such names. */
export interface Reference {
  /** One character per byte. */
  readonly path: string
  /** Path as it is shown. */
  readonly shown: string
  /** A program with a signature, which a change would break. */
  readonly signed: boolean
}

/** A tree that the boot reads: the guest, or an EFI system partition that it does not mount. */
export class BootReferences {
  readonly #guest: GuestFs
  readonly #tree: GuestTree
  readonly #folders: readonly string[]
  /** Whether it is the guest itself. */
  readonly #isRoot: boolean
  /** What the tree is called in reports, before a path. */
  readonly #name: string

  private constructor(guest: GuestFs, isRoot: boolean, folders: readonly string[], name: string) {
    this.#guest = guest
    this.#tree = new GuestTree(guest)
    this.#isRoot = isRoot
    this.#folders = folders
    this.#name = name
  }

  static ofGuest(guest: GuestFs): BootReferences {
    return new BootReferences(guest, true, BOOT_FOLDERS, '')
  }

  static ofEsp(guest: GuestFs, name: string): BootReferences {
    return new BootReferences(guest, false, [''], `${name}:`)
  }

  /** Paths of every initramfs; symlinks lead to one of them. */
  async initramfs(): Promise<string[]> {
    const found: string[] = []
    for (const path of await this.find(INITRAMFS))
      if ((await this.#tree.typeOf(path)) === 'file') found.push(path)
    return found
  }

  /** Files that tell what is built into an image of GRUB that is compressed (grub-install leaves them beside it), and the UUIDs in them. */
  async embedded(uuids: readonly string[]): Promise<{ path: string; uuid: string }[]> {
    const found: { path: string; uuid: string }[] = []
    for (const path of await this.find(['/grub*/*-pc/load.cfg', '/grub*/*-ieee1275/load.cfg'])) {
      const text = (await this.#read(path, MOST_TEXT))?.toLowerCase() ?? ''
      for (const uuid of uuids) if (text.includes(uuid)) found.push({ path, uuid })
    }
    return found
  }

  /** Texts and programs that hold one of the names, each once. */
  async references({ files = [], replace }: Renaming): Promise<Reference[]> {
    const paths = new Set([
      ...(this.#isRoot ? await this.#each([...ROOT_FILES, ...files]) : []),
      ...(await this.find(BOOT_FILES)),
      ...(await this.find(PROGRAMS)),
    ])
    const done = new Set<string>()
    const found: Reference[] = []
    for (const path of paths) {
      const real = displayPath(await this.#guest.realpath(bytesOfKey(path)).catch(() => bytesOfKey(path)))
      if (done.has(real)) continue
      done.add(real)
      const isProgram = /\.efi$/i.test(path)
      const before = await this.#read(path, isProgram ? MOST_PROGRAM : MOST_TEXT)
      if (before === undefined) continue
      if (replace(before).count === 0) continue
      const shown = `${this.#name}${displayPath(bytesOfKey(path))}`
      found.push({ path, shown, signed: isProgram && isSigned(before) })
    }
    return found
  }

  /** Writes the new names. */
  async write(
    found: readonly Reference[],
    { setting, replace }: Renaming,
    report: ReportBuilder,
  ): Promise<void> {
    for (const { path, shown } of found) {
      const { text, count } = replace((await this.#read(path, MOST_PROGRAM)) ?? '')
      await this.#guest.writeFile(bytesOfKey(path), bytesOfKey(text))
      const times = `${count} time${count === 1 ? '' : 's'}`
      report.always(setting, `old ones, ${times}`, `new ones, ${times}`, shown)
    }
  }

  /** Paths below the folders of /boot and EFI system partitions. */
  find(patterns: readonly string[]): Promise<string[]> {
    return this.#each(this.#folders.flatMap(folder => patterns.map(pattern => `${folder}${pattern}`)))
  }

  async #each(patterns: readonly string[]): Promise<string[]> {
    const found = new Set<string>()
    for (const pattern of patterns) for (const path of await this.#tree.glob(pattern)) found.add(path)
    return [...found]
  }

  async #read(path: string, most: number): Promise<string | undefined> {
    const bytes = bytesOfKey(path)
    const stats = await this.#guest.stat(bytes).catch(() => undefined)
    if (stats === undefined || !stats.isFile() || stats.size > most) return undefined
    return byteKey(await this.#guest.readFile(bytes))
  }
}

/** The certificate table is entry 4 of the optional header's data directories (PE format, Microsoft). */
function isSigned(program: string): boolean {
  const u16 = (at: number) => (program.charCodeAt(at) || 0) + ((program.charCodeAt(at + 1) || 0) << 8)
  const u32 = (at: number) => u16(at) + u16(at + 2) * 0x1_0000
  const optional = u32(0x3c) + 24
  const directories = optional + (u16(optional) === 0x20b ? 112 : 96)
  return u32(directories + 4 * 8 + 4) > 0
}
