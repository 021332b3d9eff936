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
  /** Why its command line cannot be changed. */
  readonly fixed: string | undefined
}

export async function readUnifiedImage(guest: GuestFs, path: string): Promise<UnifiedImage> {
  try {
    const { size } = await guest.stat(path)
    const head = new Uint8Array(Math.min(size, PE_HEADERS_SIZE))
    const headers = readPeHeaders(head.subarray(0, await guest.readAt(path, 0, head)), size)
    const texts = async (name: string): Promise<CommandLineSection[]> => {
      const found: CommandLineSection[] = []
      for (const { section, offset, length } of peSections(headers, name)) {
        const bytes = new Uint8Array(length)
        await guest.readAt(path, offset, bytes)
        found.push({ section, text: decodeText(bytes, path).text })
      }
      return found
    }
    const release = (await texts('.osrel'))[0]?.text ?? ''
    const uname = (await texts('.uname'))[0]?.text.replace(/\0.*$/s, '').trim() ?? ''
    const name = /^PRETTY_NAME="?([^"\n]*)"?/m.exec(release)?.[1] ?? path.slice(path.lastIndexOf('/') + 1)
    return {
      path,
      size,
      headers,
      commandLines: await texts('.cmdline'),
      title: uname === '' ? name : `${name} (${uname})`,
      fixed: whyPeIsFixed(headers),
    }
  } catch (error) {
    if (!(error instanceof DrydiskError)) throw error
    throw new DrydiskError(error.code, `${path}: ${error.message}`, { ...error.context, path }, error)
  }
}

/** The text without what ends it: NUL bytes and white space. */
export function commandLineText(text: string): string {
  return text.replace(/[\s\0]+$/, '').trimStart()
}

/** Sections whose command line changes, with what they are to hold. */
export function planUnifiedImage(
  image: UnifiedImage,
  changes: readonly KernelArgumentChange[],
): { section: PeSection; before: string; after: string; content: Uint8Array }[] {
  return image.commandLines.flatMap(({ section, text }) => {
    const before = commandLineText(text)
    const after = changeKernelArguments(before, changes)
    // The stub takes the section to its end: what ended the text before (a newline, a NUL) ends it now.
    const ending = /[\s\0]*$/.exec(text)?.[0].slice(0, 1) ?? ''
    return after === before ? [] : [{ section, before, after, content: encodeText(after + ending) }]
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
