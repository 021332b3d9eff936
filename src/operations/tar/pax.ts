import { DrydiskError } from '../../errors.ts'
import { ascii } from './header.ts'

/** Values by keyword; a value is bytes: names need not be UTF-8, extended attributes seldom are. */
export type PaxRecords = ReadonlyMap<string, Uint8Array>

/** One pair of a sparse map of GNU's formats 0.0: `GNU.sparse.offset` and `.numbytes` repeat. */
export type SparsePairs = number[]

const MAX_RECORDS = 100_000

/**
 * Reads the body of an extended header: `LENGTH KEYWORD=VALUE\n` again and again (pax(1), "pax Extended Header").
 * @param pairs takes the numbers of a sparse map in the order of the file, which a map by keyword would lose.
 */
export function parsePax(body: Uint8Array, offset: number, pairs: SparsePairs): PaxRecords {
  const records = new Map<string, Uint8Array>()
  let count = 0
  for (let at = 0; at < body.length; ) {
    if (body[at] === 0) break
    const blank = body.indexOf(0x20, at)
    const digits = blank < 0 || blank - at > 10 ? '' : ascii(body.subarray(at, blank))
    const length = /^\d+$/.test(digits) ? Number(digits) : 0
    const end = at + length
    const equals = body.indexOf(0x3d, blank)
    if (++count > MAX_RECORDS || end > body.length || equals < 0 || equals >= end || body[end - 1] !== 0x0a)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `the extended header at byte ${offset} of the archive is damaged`,
        { offset },
      )
    const keyword = ascii(body.subarray(blank + 1, Math.min(equals, blank + 4096)))
    const value = body.slice(equals + 1, end - 1)
    if (keyword === 'GNU.sparse.offset' || keyword === 'GNU.sparse.numbytes')
      pairs.push(paxNumber(value, keyword))
    records.set(keyword, value)
    at = end
  }
  return records
}

/** Decimal digits. */
export function paxNumber(value: Uint8Array, keyword: string): number {
  const text = value.length > 20 ? '' : ascii(value)
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number))
    throw new DrydiskError('ERR_CORRUPT', `${keyword} in an extended header is no number`)
  return number
}

/** Seconds with a fraction, before 1970 with a minus sign. */
export function paxTime(value: Uint8Array, keyword: string): bigint {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(value.length > 64 ? '' : ascii(value))
  if (!match) throw new DrydiskError('ERR_CORRUPT', `${keyword} in an extended header is no time`)
  const ns = BigInt(match[2] ?? 0) * 1_000_000_000n + BigInt((match[3] ?? '').slice(0, 9).padEnd(9, '0'))
  return match[1] ? -ns : ns
}
