import { changeKernelArguments, type KernelArgumentChange } from '../config/kernel-arguments.ts'
import { decodeText, encodeText } from '../config/text.ts'
import {
  PE_HEADERS_SIZE,
  type PeHeaders,
  type PeSection,
  peSections,
  readPeHeaders,
  replacePeSection,
  whyPeIsFixed,
} from '../config/unified-kernel-image.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { listFolder } from './guest-files.ts'

export interface CommandLineSection {
  readonly section: PeSection
  readonly text: string
}

/** A unified kernel image of a guest: its command lines (one for each profile) and what it says of itself. */
export interface UnifiedImage {
  readonly path: string
  readonly size: number
  readonly headers: PeHeaders
  readonly commandLines: readonly CommandLineSection[]
  /** PRETTY_NAME and kernel release. */
  readonly title: string
  /** Command lines of addons, in the order in which systemd-stub(7) appends them. */
  readonly addons: readonly { readonly path: string; readonly text: string }[]
  /** Why its command line cannot be changed. */
  readonly fixed: string | undefined
}

/** More addons than this are none. */
const MAX_ADDONS = 100

/** Reads an image; `esp` is where the EFI system partition is mounted, which holds addons for every image. */
export async function readUnifiedImage(guest: GuestFs, path: string, esp: string): Promise<UnifiedImage> {
  const { size, headers, texts } = await readPe(guest, path)
  const release = (await texts('.osrel'))[0]?.text ?? ''
  const uname = (await texts('.uname'))[0]?.text.replace(/\0.*$/s, '').trim() ?? ''
  const name = /^PRETTY_NAME="?([^"\n]*)"?/m.exec(release)?.[1] ?? path.slice(path.lastIndexOf('/') + 1)
  const addons: { path: string; text: string }[] = []
  for (const folder of [`${esp}/loader/addons`, `${path}.extra.d`])
    for (const addon of (await listFolder(guest, folder, /\.addon\.efi$/i)).slice(0, MAX_ADDONS))
      for (const { text } of await (await readPe(guest, addon)).texts('.cmdline'))
        addons.push({ path: addon, text: commandLineText(text) })
  return {
    path,
    size,
    headers,
    commandLines: await texts('.cmdline'),
    title: uname === '' ? name : `${name} (${uname})`,
    addons,
    fixed: whyPeIsFixed(headers),
  }
}

async function readPe(guest: GuestFs, path: string) {
  const named = async <T>(read: () => Promise<T>): Promise<T> => {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof DrydiskError)) throw error
      throw new DrydiskError(error.code, `${path}: ${error.message}`, { ...error.context, path }, error)
    }
  }
  return named(async () => {
    const { size } = await guest.stat(path)
    const head = new Uint8Array(Math.min(size, PE_HEADERS_SIZE))
    const headers = readPeHeaders(head.subarray(0, await guest.readAt(path, 0, head)), size)
    const texts = (name: string): Promise<CommandLineSection[]> =>
      named(async () => {
        const found: CommandLineSection[] = []
        for (const { section, offset, length } of peSections(headers, name)) {
          const bytes = new Uint8Array(length)
          await guest.readAt(path, offset, bytes)
          found.push({ section, text: decodeText(bytes, path).text })
        }
        return found
      })
    return { size, headers, texts }
  })
}

/** What the kernel gets: the image's own command line, then those of its addons. */
export function effectiveCommandLine(image: UnifiedImage, text: string): string {
  return [text, ...image.addons.map(addon => addon.text)].filter(part => part !== '').join(' ')
}

/** The text without what ends it: NUL bytes and white space. */
export function commandLineText(text: string): string {
  return text.replace(/[\s\0]+$/, '').trimStart()
}

/** Sections whose command line changes, with what they are to hold. `ERR_NOT_EFFECTIVE` where an addon decides otherwise. */
export function planUnifiedImage(
  image: UnifiedImage,
  changes: readonly KernelArgumentChange[],
): { section: PeSection; before: string; after: string; content: Uint8Array }[] {
  return image.commandLines.flatMap(({ section, text }) => {
    const own = commandLineText(text)
    const before = effectiveCommandLine(image, own)
    if (changeKernelArguments(before, changes) === before) return []
    const changed = changeKernelArguments(own, changes)
    const after = effectiveCommandLine(image, changed)
    if (changeKernelArguments(after, changes) !== after)
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `${image.path} would still start with ${JSON.stringify(after)}, by its addon ${image.addons.map(addon => addon.path).join(', ')}; remove the addon or build it anew`,
        { path: image.addons[0]?.path ?? image.path },
      )
    // The stub takes the section to its end: what ended the text before (a newline, a NUL) ends it now.
    const ending = /[\s\0]*$/.exec(text)?.[0].slice(0, 1) ?? ''
    return [{ section, before, after, content: encodeText(changed + ending) }]
  })
}

/** Writes one section's new content: first what nothing points to yet, then the headers. */
export async function writeUnifiedImage(
  guest: GuestFs,
  image: UnifiedImage,
  section: PeSection,
  content: Uint8Array,
): Promise<void> {
  const { size } = await guest.stat(image.path)
  for (const { offset, bytes } of replacePeSection(image.headers, section, content, size))
    await guest.writeAt(image.path, offset, bytes)
}
