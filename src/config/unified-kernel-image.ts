import { DrydiskError } from '../errors.ts'

/**
 * A unified kernel image is a PE file (Microsoft's PE format specification) with the kernel, its initrd and its command line in
 * sections; systemd-stub(7) and the UAPI group's "Unified Kernel Image" name them. `.cmdline` is text, as long as VirtualSize says.
 */
export interface PeSection {
  readonly name: string
  readonly virtualSize: number
  readonly virtualAddress: number
  readonly sizeOfRawData: number
  readonly pointerToRawData: number
  /** Of its header, in the file. */
  readonly headerOffset: number
}

export interface PeHeaders {
  readonly sectionAlignment: number
  readonly fileAlignment: number
  readonly sizeOfImage: number
  /** File offsets of SizeOfImage and CheckSum. */
  readonly sizeOfImageOffset: number
  readonly checkSumOffset: number
  /** The attribute certificate table holds a signature. */
  readonly signed: boolean
  readonly sections: readonly PeSection[]
}

/** The most that is read of a file to find its section headers. */
export const PE_HEADERS_SIZE = 64 << 10
/** COMMAND_LINE_SIZE of the kernel is 4096 at most; what is far longer is no command line. */
const MAX_COMMAND_LINE = 32 << 10
const MAX_ALIGNMENT = 1 << 20

const corrupt = (what: string) => new DrydiskError('ERR_CORRUPT', `not a PE file that can be booted: ${what}`)

/** Reads the headers; `head` is the file's beginning, up to `PE_HEADERS_SIZE` bytes. */
export function readPeHeaders(head: Uint8Array, fileSize: number): PeHeaders {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  const need = (end: number) => {
    if (end > head.length) throw corrupt(`its headers end at byte ${end}, and ${head.length} could be read`)
  }
  need(0x40)
  if (view.getUint16(0, true) !== 0x5a4d) throw corrupt('it does not begin with MZ')
  const pe = view.getUint32(0x3c, true)
  need(pe + 24)
  if (view.getUint32(pe, true) !== 0x4550) throw corrupt('no PE signature where the MZ header says')
  const count = view.getUint16(pe + 6, true)
  const optionalSize = view.getUint16(pe + 20, true)
  const optional = pe + 24
  need(optional + optionalSize + count * 40)
  const magic = optionalSize < 2 ? 0 : view.getUint16(optional, true)
  if (magic !== 0x20b && magic !== 0x10b) throw corrupt('no optional header of PE32 or PE32+')
  const directories = optional + (magic === 0x20b ? 112 : 96)
  if (directories > optional + optionalSize) throw corrupt('its optional header is too short')
  const directoryCount = view.getUint32(directories - 4, true)
  const certificate = directories + 4 * 8
  const signed =
    directoryCount > 4 &&
    certificate + 8 <= optional + optionalSize &&
    view.getUint32(certificate + 4, true) > 0
  const sections: PeSection[] = []
  for (let i = 0; i < count; i++) {
    const headerOffset = optional + optionalSize + i * 40
    const name = String.fromCharCode(...head.subarray(headerOffset, headerOffset + 8)).replace(/\0.*$/s, '')
    const section = {
      name,
      virtualSize: view.getUint32(headerOffset + 8, true),
      virtualAddress: view.getUint32(headerOffset + 12, true),
      sizeOfRawData: view.getUint32(headerOffset + 16, true),
      pointerToRawData: view.getUint32(headerOffset + 20, true),
      headerOffset,
    }
    if (section.sizeOfRawData > 0 && section.pointerToRawData + section.sizeOfRawData > fileSize)
      throw corrupt(`section ${JSON.stringify(name)} ends past the end of the file`)
    sections.push(section)
  }
  return {
    sectionAlignment: view.getUint32(optional + 32, true),
    fileAlignment: view.getUint32(optional + 36, true),
    sizeOfImage: view.getUint32(optional + 56, true),
    sizeOfImageOffset: optional + 56,
    checkSumOffset: optional + 64,
    signed,
    sections,
  }
}

/** The sections of a name, each with the number of its bytes that count. */
export function peSections(
  headers: PeHeaders,
  name: string,
): { section: PeSection; offset: number; length: number }[] {
  return headers.sections
    .filter(section => section.name === name)
    .map(section => {
      const length =
        section.virtualSize === 0
          ? section.sizeOfRawData
          : Math.min(section.virtualSize, section.sizeOfRawData)
      if (length > MAX_COMMAND_LINE)
        throw new DrydiskError(
          'ERR_UNSUPPORTED',
          `section ${name} has ${length} bytes, which is too long for a command line (at most ${MAX_COMMAND_LINE})`,
        )
      return { section, offset: section.pointerToRawData, length }
    })
}

/** Why a change of the image would make it worthless; `undefined` where nothing speaks against it. */
export function whyPeIsFixed(headers: PeHeaders): string | undefined {
  if (headers.signed) return 'it is signed for Secure Boot, and a change would break the signature'
  if (headers.sections.some(section => section.name === '.pcrsig'))
    return 'it has signed PCR values (.pcrsig), which a change would make wrong: disks that a TPM unlocks would stay locked'
  return undefined
}

export interface PieceToWrite {
  readonly offset: number
  readonly bytes: Uint8Array
}

/**
 * What to write, in this order, so that a section holds `content`: in place where it fits, else at the end of the file. `ENOSPC`
 * where the section's place in memory, up to the next one, is too small.
 */
export function replacePeSection(
  headers: PeHeaders,
  section: PeSection,
  content: Uint8Array,
  fileSize: number,
): PieceToWrite[] {
  const alignment = Math.max(headers.sectionAlignment, 1)
  const fileAlignment = Math.max(headers.fileAlignment, 1)
  if (alignment > MAX_ALIGNMENT || fileAlignment > MAX_ALIGNMENT) throw corrupt('its alignments are absurd')
  const room = headers.sections
    .filter(other => other !== section && other.virtualAddress >= section.virtualAddress)
    .reduce((least, other) => Math.min(least, other.virtualAddress - section.virtualAddress), 1 << 20)
  if (content.length > room)
    throw new DrydiskError(
      'ENOSPC',
      `the command line needs ${content.length} bytes, and the next section of the image begins ${room} bytes after it`,
    )
  const u32 = (offset: number, value: number): PieceToWrite => {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, value, true)
    return { offset, bytes }
  }
  const pieces: PieceToWrite[] = []
  if (content.length <= section.sizeOfRawData) {
    // What it held before is overwritten; the rest is zeros already.
    const old = Math.min(section.virtualSize || section.sizeOfRawData, section.sizeOfRawData)
    const padded = new Uint8Array(Math.max(content.length, Math.min(old, MAX_COMMAND_LINE)))
    padded.set(content)
    pieces.push({ offset: section.pointerToRawData, bytes: padded })
  } else {
    const start = Math.ceil(fileSize / fileAlignment) * fileAlignment
    const size = Math.ceil(content.length / fileAlignment) * fileAlignment
    const appended = new Uint8Array(start - fileSize + size)
    appended.set(content, start - fileSize)
    pieces.push({ offset: fileSize, bytes: appended })
    // SizeOfRawData and PointerToRawData are neighbours.
    const both = new Uint8Array(8)
    new DataView(both.buffer).setUint32(0, size, true)
    new DataView(both.buffer).setUint32(4, start, true)
    pieces.push({ offset: section.headerOffset + 16, bytes: both })
  }
  pieces.push(u32(section.headerOffset + 8, content.length))
  const end = section.virtualAddress + Math.ceil(content.length / alignment) * alignment
  if (end > headers.sizeOfImage) pieces.push(u32(headers.sizeOfImageOffset, end))
  // Zero says that it was not computed; firmware does not look at it.
  pieces.push(u32(headers.checkSumOffset, 0))
  return pieces
}
