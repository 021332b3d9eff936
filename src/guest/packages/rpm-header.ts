/**
 * The header of a package as rpm's database keeps it (rpm's documentation, "Package format", without the magic): the number of index
 * entries and of data bytes, big-endian; entries of tag, type, offset and count; the data.
 */
const NAME = 1000
const VERSION = 1001
const RELEASE = 1002
const EPOCH = 1003
const INT32 = 4
const STRING = 6
/** rpm's own limit (lib/header.cc, HEADER_TAGS_MAX). */
const MAX_ENTRIES = 65_535
/** Names and versions are far shorter; they stand at the beginning of the data. */
const MAX_STRING = 1024

export interface RpmPackage {
  readonly name: string
  /** `EPOCH:VERSION-RELEASE`; without the epoch where there is none. */
  readonly version: string
}

/** Reads the beginning of a header; `undefined` where it is none, or where what is asked for lies behind `bytes`. */
export function readRpmHeader(bytes: Uint8Array): RpmPackage | undefined {
  if (bytes.length < 8) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = view.getUint32(0)
  if (count === 0 || count > MAX_ENTRIES) return undefined
  const data = 8 + count * 16
  const values = new Map<number, string>()
  for (let at = 8; at < data && at + 16 <= bytes.length && values.size < 4; at += 16) {
    const tag = view.getUint32(at)
    const type = view.getUint32(at + 4)
    const start = data + view.getUint32(at + 8)
    if (tag === EPOCH && type === INT32 && start + 4 <= bytes.length)
      values.set(tag, String(view.getUint32(start)))
    if (type !== STRING || (tag !== NAME && tag !== VERSION && tag !== RELEASE)) continue
    const end = bytes.subarray(start, start + MAX_STRING).indexOf(0)
    if (end >= 0) values.set(tag, new TextDecoder().decode(bytes.subarray(start, start + end)))
  }
  const name = values.get(NAME)
  const version = values.get(VERSION)
  if (name === undefined || version === undefined) return undefined
  const epoch = values.get(EPOCH)
  const release = values.get(RELEASE)
  return {
    name,
    version: `${epoch === undefined ? '' : `${epoch}:`}${version}${release === undefined ? '' : `-${release}`}`,
  }
}
