import { bytesOfKey } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
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

/** A tree that may name UUIDs: the guest, or an EFI system partition that it does not mount. */
export class UuidReferences {
  readonly #guest: GuestFs
  readonly #tree: GuestTree
  readonly #folders: readonly string[]
  readonly #files: readonly string[]
  /** What the tree is called in reports, before a path. */
  readonly #name: string

  private constructor(guest: GuestFs, files: readonly string[], folders: readonly string[], name: string) {
    this.#guest = guest
    this.#tree = new GuestTree(guest)
    this.#files = files
    this.#folders = folders
    this.#name = name
  }

  static ofGuest(guest: GuestFs): UuidReferences {
    return new UuidReferences(guest, ROOT_FILES, BOOT_FOLDERS, '')
  }

  static ofEsp(guest: GuestFs, name: string): UuidReferences {
    return new UuidReferences(guest, [], [''], `${name}:`)
  }

  /** Paths of every initramfs; symlinks lead to one of them. */
  async initramfs(): Promise<string[]> {
    const found: string[] = []
    for (const path of await this.#find(INITRAMFS))
      if ((await this.#tree.typeOf(path)) === 'file') found.push(path)
    return found
  }

  /** Files that tell what is built into an image of GRUB that is compressed (grub-install leaves them beside it), and the UUIDs in them. */
  async embedded(uuids: readonly string[]): Promise<{ path: string; uuid: string }[]> {
    const found: { path: string; uuid: string }[] = []
    for (const path of await this.#find(['/grub*/*-pc/load.cfg', '/grub*/*-ieee1275/load.cfg'])) {
      const text = (await this.#read(path, MOST_TEXT))?.toLowerCase() ?? ''
      for (const uuid of uuids) if (text.includes(uuid)) found.push({ path, uuid })
    }
    return found
  }

  /** Writes the new name of each UUID where the old one stands: in texts, and in programs that are not signed. */
  async rename(renamed: ReadonlyMap<string, string>, report: ReportBuilder): Promise<void> {
    const paths = new Set([
      ...(await this.#each(this.#files)),
      ...(await this.#find(BOOT_FILES)),
      ...(await this.#find(PROGRAMS)),
    ])
    const done = new Set<string>()
    for (const path of paths) {
      const real = displayPath(await this.#guest.realpath(bytesOfKey(path)).catch(() => bytesOfKey(path)))
      if (done.has(real)) continue
      done.add(real)
      const isProgram = /\.efi$/i.test(path)
      const before = await this.#read(path, isProgram ? MOST_PROGRAM : MOST_TEXT)
      if (before === undefined) continue
      const { text, count } = replaceUuids(before, renamed)
      if (count === 0) continue
      if (isProgram && isSigned(before))
        throw new DrydiskError(
          'ERR_NOT_EFFECTIVE',
          `${this.#shown(path)} names a filesystem by its UUID and is signed, so it cannot be changed: the guest would not find that filesystem. Leave fs-uuids out`,
          { path: this.#shown(path) },
        )
      // The same length: a GRUB environment block and a program stay as long as they are.
      await this.#guest.writeFile(bytesOfKey(path), latin1Bytes(text))
      const times = `${count} time${count === 1 ? '' : 's'}`
      report.always('filesystem UUIDs', `old ones, ${times}`, `new ones, ${times}`, this.#shown(path))
    }
  }

  #find(patterns: readonly string[]): Promise<string[]> {
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
    return latin1Text(await this.#guest.readFile(bytes))
  }

  #shown(path: string): string {
    return `${this.#name}${displayPath(bytesOfKey(path))}`
  }
}

/** As written in text, and in names of systemd's units, where a dash is `\x2d` (systemd-escape). */
export function spellings(uuid: string): string[] {
  return [uuid, uuid.replaceAll('-', '\\x2d')]
}

/** @param renamed lower-case UUIDs, to ones of the same length. */
export function replaceUuids(
  text: string,
  renamed: ReadonlyMap<string, string>,
): { text: string; count: number } {
  let count = 0
  const replaced = text.replace(
    /(?<![0-9a-f])[0-9a-f]{8}(-|\\x2d)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}(?![0-9a-f])/gi,
    (uuid, dash: string) => {
      const next = renamed.get(uuid.replaceAll(dash, '-').toLowerCase())
      if (next === undefined) return uuid
      count++
      return next.replaceAll('-', dash)
    },
  )
  return { text: replaced, count }
}

/** The certificate table is entry 4 of the optional header's data directories (PE format, Microsoft). */
function isSigned(program: string): boolean {
  const u16 = (at: number) => (program.charCodeAt(at) || 0) + ((program.charCodeAt(at + 1) || 0) << 8)
  const u32 = (at: number) => u16(at) + u16(at + 2) * 0x1_0000
  const optional = u32(0x3c) + 24
  const directories = optional + (u16(optional) === 0x20b ? 112 : 96)
  return u32(directories + 4 * 8 + 4) > 0
}

const PIECE = 8192

/** TextDecoder's latin1 is windows-1252, which does not keep every byte. */
function latin1Text(bytes: Uint8Array): string {
  const pieces: string[] = []
  for (let at = 0; at < bytes.length; at += PIECE)
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + PIECE)))
  return pieces.join('')
}

function latin1Bytes(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length }, (_, at) => text.charCodeAt(at))
}
