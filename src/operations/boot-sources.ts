import {
  blsOptions,
  extlinuxEntries,
  grubEntries,
  grubKernelopts,
  grubLegacyEntries,
  type KernelLine,
  kernelCmdlineFile,
} from '../config/boot-entries.ts'
import type { DecodedText } from '../config/text.ts'
import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { displayPath, listFolder, readConfig } from './guest-files.ts'

export type BootSourceKind = 'grub' | 'grub-legacy' | 'extlinux' | 'bls' | 'kernel-cmdline'

/** A file that boot loaders, or the installers of kernels, take kernel arguments from. */
export interface BootSource {
  readonly path: string
  readonly kind: BootSourceKind
  readonly before: DecodedText
  text: string
}

/** A GRUB environment block that holds `kernelopts` (EL8's boot entries refer to it). */
export interface BootEnvironment {
  readonly path: string
  bytes: Uint8Array
}

export interface BootSources {
  readonly files: BootSource[]
  readonly environments: BootEnvironment[]
  /** Unified kernel images: their command line is inside a PE section. */
  readonly unifiedImages: string[]
  /** Why a place that may hold boot entries could not be looked into: an EFI system partition that cannot be read. */
  readonly unread: string[]
}

const SINGLE: readonly (readonly [string, BootSourceKind])[] = [
  ['/boot/grub2/grub.cfg', 'grub'],
  ['/boot/grub/grub.cfg', 'grub'],
  ['/boot/grub/grub.conf', 'grub-legacy'],
  ['/boot/grub/menu.lst', 'grub-legacy'],
  ['/boot/extlinux.conf', 'extlinux'],
  ['/boot/extlinux/extlinux.conf', 'extlinux'],
  ['/boot/syslinux/syslinux.cfg', 'extlinux'],
  ['/boot/syslinux.cfg', 'extlinux'],
  ['/syslinux.cfg', 'extlinux'],
  ['/etc/kernel/cmdline', 'kernel-cmdline'],
]

const BLS_FOLDERS = ['/boot/loader/entries', '/boot/efi/loader/entries', '/efi/loader/entries']
const ESP_VENDOR_FOLDERS = ['/boot/efi/EFI', '/boot/EFI', '/efi/EFI']

/** More files than this in one folder of boot entries are not boot entries. */
const MAX_ENTRIES = 1000

/** Reads every place of a guest that gives kernels their arguments; a file that two names lead to counts once. */
export async function findBootSources(guest: GuestFs): Promise<BootSources> {
  const sources: BootSources = { files: [], environments: [], unifiedImages: [], unread: [] }
  const seen = new Set<string>()
  const add = async (path: string, kind: BootSourceKind) => {
    const before = await readConfig(guest, path)
    if (!before) return
    const real = displayPath(await guest.realpath(path))
    if (seen.has(real)) return
    seen.add(real)
    const source = { path: real, kind, before, text: before.text }
    // A stub on the ESP that only sources another file has no kernel lines, and is left alone.
    if (kernelLines(source).length > 0) sources.files.push(source)
  }
  for (const [path, kind] of SINGLE) await add(path, kind)
  for (const folder of BLS_FOLDERS)
    await whereReadable(sources, async () => {
      for (const path of (await listFolder(guest, folder, /\.conf$/)).slice(0, MAX_ENTRIES))
        await add(path, 'bls')
    })
  for (const esp of ESP_VENDOR_FOLDERS)
    await whereReadable(sources, async () => {
      for (const vendor of await folders(guest, esp)) {
        await add(`${esp}/${vendor}/grub.cfg`, 'grub')
        await addEnvironment(guest, `${esp}/${vendor}/grubenv`, sources, seen)
        if (vendor.toLowerCase() === 'linux')
          sources.unifiedImages.push(...(await listFolder(guest, `${esp}/${vendor}`, /\.efi$/i)))
      }
    })
  for (const path of ['/boot/grub2/grubenv', '/boot/grub/grubenv'])
    await addEnvironment(guest, path, sources, seen)
  return sources
}

/** A guest that boots by BIOS as well need not be refused because its EFI system partition cannot be read. */
async function whereReadable(sources: BootSources, step: () => Promise<void>): Promise<void> {
  try {
    await step()
  } catch (error) {
    if (!isDrydiskError(error, 'ERR_UNSUPPORTED')) throw error
    if (!sources.unread.includes(error.message)) sources.unread.push(error.message)
  }
}

async function addEnvironment(
  guest: GuestFs,
  path: string,
  sources: BootSources,
  seen: Set<string>,
): Promise<void> {
  try {
    if ((await guest.stat(path)).size > 1 << 16) return
    const real = displayPath(await guest.realpath(path))
    if (seen.has(real)) return
    seen.add(real)
    sources.environments.push({ path: real, bytes: await guest.readFile(path) })
  } catch (error) {
    if (!isDrydiskError(error, 'ENOENT', 'ENOTDIR')) throw error
  }
}

async function folders(guest: GuestFs, path: string): Promise<string[]> {
  try {
    const entries = await guest.readdir(path)
    return entries
      .filter(entry => entry.type === 'directory')
      .slice(0, MAX_ENTRIES)
      .map(entry => displayPath(entry.name))
      .sort()
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}

/** The kernel arguments in a source as it is now. */
export function kernelLines(source: { kind: BootSourceKind; text: string }): KernelLine[] {
  switch (source.kind) {
    case 'grub':
      return [...grubEntries(source.text), ...grubKernelopts(source.text)]
    case 'grub-legacy':
      return grubLegacyEntries(source.text)
    case 'extlinux':
      return extlinuxEntries(source.text)
    case 'bls':
      return blsOptions(source.text)
    case 'kernel-cmdline':
      return kernelCmdlineFile(source.text)
  }
}
