/** PE32+ files such as ukify makes them, without a program inside. */

const FILE_ALIGNMENT = 512
const SECTION_ALIGNMENT = 4096

export interface UnifiedImageOptions {
  /** `null`: no such section. */
  readonly commandLine: string | null
  /** An attribute certificate, as sbsign appends it. */
  readonly signed?: boolean
  /** Signed PCR values, as systemd-measure makes them. */
  readonly pcrSignature?: boolean
  /** A checksum in the optional header, as some linkers write it. */
  readonly checkSum?: number
  /** Further sections behind `.cmdline`. */
  readonly more?: readonly (readonly [name: string, content: string])[]
}

const up = (value: number, unit: number) => Math.ceil(value / unit) * unit

export function unifiedImage(options: UnifiedImageOptions): Uint8Array {
  const encoder = new TextEncoder()
  const sections: [string, Uint8Array][] = [
    ['.text', new Uint8Array(100).fill(0x90)],
    ['.osrel', encoder.encode('ID=fedora\nPRETTY_NAME="Fedora Linux 41 (Cloud Edition)"\n')],
    ['.uname', encoder.encode('6.11.4-301.fc41.x86_64')],
    ...(options.commandLine === null
      ? []
      : [['.cmdline', encoder.encode(options.commandLine)] satisfies [string, Uint8Array]]),
    ...(options.more ?? []).map(([name, text]): [string, Uint8Array] => [name, encoder.encode(text)]),
    ['.linux', encoder.encode('kernel'.repeat(1000))],
    ...(options.pcrSignature
      ? [['.pcrsig', encoder.encode('{"sha256":[]}')] satisfies [string, Uint8Array]]
      : []),
  ]
  const optional = 0x80 + 24
  const headerEnd = up(optional + 240 + sections.length * 40, FILE_ALIGNMENT)
  const placed = sections.map(([name, content]) => ({ name, content, file: 0, memory: 0 }))
  let file = headerEnd
  let memory = up(headerEnd, SECTION_ALIGNMENT)
  for (const section of placed) {
    section.file = file
    section.memory = memory
    file += up(section.content.length, FILE_ALIGNMENT)
    memory += up(section.content.length, SECTION_ALIGNMENT)
  }
  const bytes = new Uint8Array(file + (options.signed ? 16 : 0))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0x5a4d, true)
  view.setUint32(0x3c, 0x80, true)
  view.setUint32(0x80, 0x4550, true)
  view.setUint16(0x84, 0x8664, true)
  view.setUint16(0x86, sections.length, true)
  view.setUint16(0x94, 240, true)
  view.setUint16(0x96, 0x0206, true)
  view.setUint16(optional, 0x20b, true)
  view.setUint32(optional + 32, SECTION_ALIGNMENT, true)
  view.setUint32(optional + 36, FILE_ALIGNMENT, true)
  view.setUint32(optional + 56, memory, true)
  view.setUint32(optional + 60, headerEnd, true)
  view.setUint32(optional + 64, options.checkSum ?? 0, true)
  // EFI application
  view.setUint16(optional + 68, 10, true)
  view.setUint32(optional + 108, 16, true)
  if (options.signed) {
    view.setUint32(optional + 112 + 32, file, true)
    view.setUint32(optional + 112 + 36, 16, true)
  }
  placed.forEach(({ name, content, file: at, memory: address }, i) => {
    const header = optional + 240 + i * 40
    bytes.set(encoder.encode(name), header)
    view.setUint32(header + 8, content.length, true)
    view.setUint32(header + 12, address, true)
    view.setUint32(header + 16, up(content.length, FILE_ALIGNMENT), true)
    view.setUint32(header + 20, at, true)
    // Initialised data, readable.
    view.setUint32(header + 36, 0x4000_0040, true)
    bytes.set(content, at)
  })
  return bytes
}
