import { decodeUtf8, printable, printableText } from '../bytes/names.ts'

/** Writes and waits while the reader is slow, so that memory stays bounded however much is printed. */
export function print(data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(data, error => (error ? reject(error) : resolve()))
  })
}

export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value, jsonValue, 2)}\n`)
}

/** One JSON document on one line: commands that take long print several, of which the last is the result. */
export function printEvent(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value, jsonValue)}\n`)
}

function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

/** One line on standard error. Names from an image may be in it that nobody has escaped yet. */
export function warn(message: string): void {
  process.stderr.write(`drydisk: ${printableText(message.replaceAll('\n', ' '))}\n`)
}

/** A name in JSON: the text itself where the bytes are UTF-8, else escaped text and the bytes. */
export function jsonName(name: Uint8Array): { name: string; nameBase64?: string } {
  const text = decodeUtf8(name)
  if (text !== undefined) return { name: text }
  return { name: printable(name), nameBase64: Buffer.from(name).toString('base64') }
}

/** As `jsonName`, for a whole path. */
export function jsonPath(path: Uint8Array): { path: string; pathBase64?: string } {
  const { name, nameBase64 } = jsonName(path)
  return { path: name, ...(nameBase64 === undefined ? {} : { pathBase64: nameBase64 }) }
}

/** Bytes with a binary unit: `1.5 GiB`. */
export function humanSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit] ?? 'B'}`
}

/** `2026-01-31T12:00:00Z`; the seconds as a number where no calendar holds them. */
export function isoTime(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n))
  return Number.isNaN(date.getTime()) ? `@${ns / 1_000_000_000n}` : date.toISOString().replace('.000Z', 'Z')
}
