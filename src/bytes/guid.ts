/** Bytes as lower-case hexadecimal. */
function hex(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

function hyphenate(digits: string): string {
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20),
  ].join('-')
}

const TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** The first three fields of a GUID are little-endian on disk (UEFI appendix A); a UUID of RFC 9562 is big-endian. */
function swapFields(bytes: Uint8Array): Uint8Array {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
  return Uint8Array.from(order, index => bytes[index] ?? 0)
}

/** 16 bytes in RFC 9562 order (ext4, XFS, LVM) as lower-case text. */
export function formatUuid(bytes: Uint8Array): string {
  return hyphenate(hex(bytes.subarray(0, 16)))
}

/** Text to 16 bytes in RFC 9562 order; `undefined` when it is no UUID. */
export function parseUuid(text: string): Uint8Array | undefined {
  if (!TEXT.test(text)) return undefined
  const digits = text.replaceAll('-', '')
  return Uint8Array.from({ length: 16 }, (_, index) =>
    Number.parseInt(digits.slice(index * 2, index * 2 + 2), 16),
  )
}

/** 16 bytes in GPT's mixed order as lower-case text, as Linux and lsblk print it. */
export function formatGuid(bytes: Uint8Array): string {
  return formatUuid(swapFields(bytes))
}

/** Text to 16 bytes in GPT's mixed order; `undefined` when it is no GUID. */
export function parseGuid(text: string): Uint8Array | undefined {
  const bytes = parseUuid(text)
  return bytes === undefined ? undefined : swapFields(bytes)
}

/** A random UUID (version 4). */
export function randomUuid(): string {
  return globalThis.crypto.randomUUID()
}
