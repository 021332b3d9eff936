import { bigEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { Header } from './header.ts'
import {
  EXTENSION,
  FEATURE_NAME_ENTRY,
  type HeaderExtension,
  serializeHeaderExtensions,
} from './header-extensions.ts'

/** What a disk writes whole or not at all. */
const SECTOR = 512
const MAX_BACKING_NAME = 1023

/** Byte offsets of the fields that say where the backing file's name is. */
const BACKING_FILE_OFFSET = 8
const BACKING_FILE_SIZE = 16

export interface BackingName {
  readonly name: string
  readonly format: string
}

/** A change of the header cluster that one write of its first sector switches. */
export interface HeaderChange {
  /** Bytes behind the first sector that the old header does not reach; to be on disk before the switch. */
  readonly ahead: { readonly offset: number; readonly bytes: Uint8Array } | undefined
  /** Changes the first sector. */
  readonly edit: (sector: Uint8Array) => void
}

/**
 * Plans how the header comes to name another backing file, or none. The extensions begin at a fixed place, so those that reach
 * beyond the first sector stay as they are; where they would move, names are left off the table of feature names, which serve
 * messages alone.
 * @param cluster the header cluster.
 * Errors: `ERR_INVALID_ARGUMENT` for a name that is too long; `ERR_UNSUPPORTED` where the header cluster has no room.
 */
export function planBackingName(
  image: string,
  cluster: Uint8Array,
  header: Header,
  backing: BackingName | undefined,
): HeaderChange {
  const name = new TextEncoder().encode(backing?.name ?? '')
  if (name.length > MAX_BACKING_NAME)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `the name of the backing file has ${name.length} bytes; at most ${MAX_BACKING_NAME} are possible`,
      { path: image },
    )
  const { header_length: start } = header
  const reached = reachedBytes(cluster, header)
  for (const extensions of extensionLists(header, backing?.format)) {
    const bytes = serializeHeaderExtensions(extensions)
    const end = start + bytes.length
    if (end > cluster.length) continue
    // What lies behind the first sector cannot change together with it.
    const behind = bytes.subarray(Math.max(0, SECTOR - start))
    if (!behind.every((byte, index) => byte === cluster[Math.max(start, SECTOR) + index])) continue
    const at = name.length === 0 ? 0 : placeFor(name.length, end, cluster.length, reached)
    if (at === undefined) continue
    return {
      ahead:
        at + name.length <= SECTOR
          ? undefined
          : { offset: Math.max(at, SECTOR), bytes: name.subarray(Math.max(0, SECTOR - at)) },
      edit: sector => {
        const view = bigEndian(sector, 'header')
        view.setU64(BACKING_FILE_OFFSET, at)
        view.setU32(BACKING_FILE_SIZE, name.length)
        sector.fill(0, start)
        sector.set(bytes.subarray(0, Math.max(0, SECTOR - start)), start)
        if (at > 0 && at < SECTOR) sector.set(name.subarray(0, SECTOR - at), at)
      },
    }
  }
  throw new DrydiskError(
    'ERR_UNSUPPORTED',
    `${image}: the header cluster of ${cluster.length} bytes has no room for a backing file name of ${name.length} bytes beside the old ` +
      'one; take a shorter name, or a copy of the image with larger clusters (drydisk convert --cluster-size)',
    { path: image },
  )
}

interface Span {
  readonly start: number
  readonly end: number
}

/** What the old header reaches behind the first sector: the extensions with their end mark, and the name. */
function reachedBytes(cluster: Uint8Array, header: Header): Span[] {
  const last = header.extensions.at(-1)
  const end = last === undefined ? header.header_length : last.offset + Math.ceil(last.data.length / 8) * 8
  const size = bigEndian(cluster, 'header').u32(BACKING_FILE_SIZE)
  return [
    { start: header.header_length, end: end + 8 },
    { start: header.backing_file_offset, end: header.backing_file_offset + size },
  ].filter(({ end }) => end > SECTOR)
}

/** Where a name goes: from `end` on, in the first sector or in bytes that the old header does not reach. */
function placeFor(
  length: number,
  end: number,
  clusterSize: number,
  reached: readonly Span[],
): number | undefined {
  const isFree = (at: number): boolean =>
    at + length <= clusterSize &&
    reached.every(span => Math.max(at, SECTOR) >= span.end || at + length <= Math.max(span.start, SECTOR))
  return [end, ...reached.map(span => Math.max(end, span.end))].find(isFree)
}

/** The extensions of the new header: all, and then with ever fewer feature names. */
function* extensionLists(header: Header, format: string | undefined): IterableIterator<HeaderExtension[]> {
  const wanted =
    format === undefined
      ? undefined
      : { type: EXTENSION.backingFormat, offset: 0, data: new TextEncoder().encode(format) }
  const list = header.extensions.filter(({ type }) => type !== EXTENSION.backingFormat)
  if (wanted !== undefined) {
    const index = header.extensions.findIndex(({ type }) => type === EXTENSION.backingFormat)
    list.splice(Math.max(0, index), 0, wanted)
  }
  yield list
  const names = list.find(({ type }) => type === EXTENSION.featureNames)
  if (names === undefined) return
  for (let most = Math.floor(names.data.length / FEATURE_NAME_ENTRY) - 1; most >= 0; most--)
    yield list.flatMap(extension => {
      if (extension !== names) return [extension]
      return most === 0 ? [] : [{ ...names, data: names.data.subarray(0, most * FEATURE_NAME_ENTRY) }]
    })
}
