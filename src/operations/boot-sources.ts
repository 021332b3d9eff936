import {
  blsMenu,
  extlinuxMenu,
  grubLegacyMenu,
  type KernelLine,
  kernelCmdlineFile,
} from '../config/boot-entries.ts'
import { readGrubConfig } from '../config/grub-config.ts'
import type { DecodedText } from '../config/text.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { displayPath, listFolder, readConfig } from './guest-files.ts'
import { readUnifiedImage, type UnifiedImage } from './unified-images.ts'

export type BootSourceKind = 'grub' | 'grub-legacy' | 'extlinux' | 'bls' | 'kernel-cmdline'

/** A file that boot loaders, or the installers of kernels, take kernel arguments from. */
export interface BootSource {
  readonly path: string
  readonly kind: BootSourceKind
  /** `undefined` where the file is not there yet: a vendor's file under /usr decides so far. */
  readonly before: DecodedText | undefined
  /** What counted before. */
  readonly original: string
  text: string
  /** Not a menu by itself: a template that menus are made from, or a part that a menu reads. */
  readonly template: boolean
}

/** A GRUB environment block. */
export interface BootEnvironment {
  readonly path: string
  bytes: Uint8Array
}

export interface BootSources {
  /** Those with kernel arguments in them, and menus that take their entries from elsewhere (`blscfg`). */
  readonly files: BootSource[]
  readonly environments: BootEnvironment[]
  readonly unifiedImages: UnifiedImage[]
  /** systemd-boot's loader.conf, which names the default entry. */
  loaderConf: string | undefined
  /** SUSE's LOADER_TYPE. */
  readonly loaderType: string
  /** GRUB legacy's number of the entry that was saved as the default. */
  readonly savedLegacyDefault: string
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
]

/** grub.cfg's 41_custom reads these; files in /etc/grub.d that print themselves hold menu entries too (40_custom). */
const CUSTOM_MENUS = ['/boot/grub2/custom.cfg', '/boot/grub/custom.cfg']
const GRUB_TEMPLATES = '/etc/grub.d'
const PRINTS_ITSELF = /^exec tail -n \+\d+ (\$0|"\$0")\s*$/m

const ESPS = ['/boot/efi', '/efi', '/boot']
const BLS_FOLDERS = ['/boot/loader/entries', '/boot/efi/loader/entries', '/efi/loader/entries']

/** More files than this in one folder of boot entries are not boot entries. */
const MAX_ENTRIES = 1000

/** Reads every place of a guest that gives kernels their arguments; a file that two names lead to counts once. */
export async function findBootSources(guest: GuestFs): Promise<BootSources> {
  const sources: BootSources = {
    files: [],
    environments: [],
    unifiedImages: [],
    loaderConf: undefined,
    loaderType: await loaderType(guest),
    savedLegacyDefault: (await readConfig(guest, '/boot/grub/default'))?.text.split('\n')[0]?.trim() ?? '',
    unread: [],
  }
  const seen = new Set<string>()
  const add = async (path: string, kind: BootSourceKind, template = false) => {
    const before = await readConfig(guest, path)
    if (!before) return
    const real = displayPath(await guest.realpath(path))
    if (seen.has(real)) return
    seen.add(real)
    const source = { path: real, kind, before, original: before.text, text: before.text, template }
    // A stub on the ESP that only sources another file has no kernel lines, and is left alone.
    if (kernelLines(source).length > 0 || isBlsMenu(source)) sources.files.push(source)
  }
  for (const [path, kind] of SINGLE) await add(path, kind)
  for (const path of CUSTOM_MENUS) await add(path, 'grub', true)
  for (const path of (await listFolder(guest, GRUB_TEMPLATES, /^\w[\w.-]*$/)).slice(0, MAX_ENTRIES))
    if (PRINTS_ITSELF.test((await readConfig(guest, path))?.text ?? '')) await add(path, 'grub', true)
  await addKernelCmdline(guest, sources)
  for (const folder of BLS_FOLDERS)
    await whereReadable(sources, async () => {
      for (const path of (await listFolder(guest, folder, /\.conf$/)).slice(0, MAX_ENTRIES))
        await add(path, 'bls')
    })
  for (const path of ['/boot/grub2/grubenv', '/boot/grub/grubenv'])
    await whereReadable(sources, () => addEnvironment(guest, path, sources, seen))
  for (const esp of ESPS)
    await whereReadable(sources, async () => {
      sources.loaderConf ??= (await readConfig(guest, `${esp}/loader/loader.conf`))?.text
      for (const vendor of await folders(guest, `${esp}/EFI`)) {
        await add(`${esp}/EFI/${vendor}/grub.cfg`, 'grub')
        await addEnvironment(guest, `${esp}/EFI/${vendor}/grubenv`, sources, seen)
        if (vendor.toLowerCase() !== 'linux') continue
        const images = await listFolder(guest, `${esp}/EFI/${vendor}`, /\.efi$/i)
        for (const path of images.slice(0, MAX_ENTRIES)) {
          const real = displayPath(await guest.realpath(path))
          if (seen.has(real)) continue
          seen.add(real)
          await addUnifiedImage(guest, path, esp, sources)
        }
      }
    })
  return sources
}

/** What is no unified kernel image, or a damaged one, is told of and passed over. */
async function addUnifiedImage(
  guest: GuestFs,
  path: string,
  esp: string,
  sources: BootSources,
): Promise<void> {
  try {
    sources.unifiedImages.push(await readUnifiedImage(guest, path, esp))
  } catch (error) {
    if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')) throw error
    sources.unread.push(error.message)
  }
}

/** kernel-install(8): /usr/lib/kernel/cmdline counts where /etc has none. */
async function addKernelCmdline(guest: GuestFs, sources: BootSources): Promise<void> {
  const path = '/etc/kernel/cmdline'
  const before = await readConfig(guest, path)
  const text = before?.text ?? (await readConfig(guest, '/usr/lib/kernel/cmdline'))?.text
  if (text === undefined) return
  sources.files.push({ path, kind: 'kernel-cmdline', before, original: text, text, template: true })
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

async function loaderType(guest: GuestFs): Promise<string> {
  const text = (await readConfig(guest, '/etc/sysconfig/bootloader'))?.text ?? ''
  return /^LOADER_TYPE=["']?([\w-]+)/m.exec(text)?.[1] ?? ''
}

/** A grub.cfg that takes its entries from /boot/loader/entries. */
function isBlsMenu(source: { kind: BootSourceKind; text: string }): boolean {
  return source.kind === 'grub' && /^[ \t]*blscfg\b/m.test(source.text)
}

/** Reads with the file's name in errors. */
export function inSource<T>(source: { path: string }, action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (!(error instanceof DrydiskError) || error.context.path !== undefined) throw error
    const context = { ...error.context, path: source.path }
    throw new DrydiskError(error.code, `${source.path}: ${error.message}`, context, error)
  }
}

/** The kernel arguments in a source as it is now, each place once. */
export function kernelLines(source: { path: string; kind: BootSourceKind; text: string }): KernelLine[] {
  const lines = inSource(source, (): KernelLine[] => {
    switch (source.kind) {
      case 'grub':
        return [...readGrubConfig(source.text).kernelLines]
      case 'grub-legacy':
        return grubLegacyMenu(source.text).flatMap(entry => entry.kernel ?? [])
      case 'extlinux':
        return extlinuxMenu(source.text).flatMap(entry => entry.kernel ?? [])
      case 'bls':
        return [blsMenu(source.text, '').kernel ?? []].flat()
      case 'kernel-cmdline':
        return kernelCmdlineFile(source.text)
    }
  })
  // Labels of an extlinux.conf may share one APPEND.
  return [...new Map(lines.map(line => [line.start, line])).values()]
}
