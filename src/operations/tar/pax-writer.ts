import { decodeUtf8 } from '../../bytes/names.ts'
import { concatBytes } from '../../config/text.ts'

const encoder = new TextEncoder()

/** What the fields of a header have no room for, as records of a pax extended header (POSIX.1-2001, pax, "pax Extended Header"). */
export class PaxWriter {
  readonly #records: Uint8Array[] = []

  /** @param key of extended attributes may hold any byte but `=`. */
  add(key: string, value: Uint8Array | string): void {
    const bytes = typeof value === 'string' ? encoder.encode(value) : value
    // POSIX wants UTF-8; where it is not, hdrcharset says that bytes are to be taken as they are.
    if (key.endsWith('path') && decodeUtf8(bytes) === undefined && this.#records.length === 0)
      this.#records.push(record('hdrcharset', encoder.encode('BINARY')))
    this.#records.push(record(key, bytes))
  }

  get isEmpty(): boolean {
    return this.#records.length === 0
  }

  bytes(): Uint8Array {
    return concatBytes(this.#records)
  }
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts its own digits too. */
function record(key: string, value: Uint8Array): Uint8Array {
  const rest = encoder.encode(` ${key}=`)
  const body = rest.length + value.length + 1
  let length = body + String(body).length
  if (String(length).length > String(body).length) length = body + String(length).length
  return concatBytes([encoder.encode(String(length)), rest, value, encoder.encode('\n')])
}
