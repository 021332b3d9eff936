import { bigEndian } from '../../bytes/byte-view.ts'
import { unsupported } from './corruption.ts'
import { FEATURES } from './create.ts'
import type { Header } from './header.ts'
import { EXTENSION, serializeFeatureNames, serializeHeaderExtensions } from './header-extensions.ts'

/** A disk writes it whole or not at all. */
const SECTOR = 512
const V2_LENGTH = 72
/** As qemu writes it: up to the compression type and its padding. */
const V3_LENGTH = 112

type Extension = { readonly type: number; readonly data: Uint8Array }

/** A header cluster of another shape, in two steps. */
export interface HeaderLayout {
  readonly version: 2 | 3
  readonly headerLength: number
  readonly backingOffset: number
  /** The first sector from `headerLength` on: header extensions and, if it lies there, the backing file's name. */
  readonly sector: Uint8Array
  /** What must be in the header cluster behind the sector before the sector is written. The old header does not reach it. */
  readonly behind: readonly { readonly offset: number; readonly bytes: Uint8Array }[]
}

/**
 * Lays out a header for another version or other extensions, so that one write of the first sector switches to it.
 * @param cluster the header cluster as it is.
 * @param extensions of the new header, without the table of feature names, which is added where there is room.
 * Errors: `ERR_UNSUPPORTED` where old and new header cannot be in one cluster at the same time.
 */
export function layoutHeader(
  name: string,
  cluster: Uint8Array,
  header: Header,
  version: 2 | 3,
  extensions: readonly Extension[],
): HeaderLayout {
  const names = { type: EXTENSION.featureNames, data: featureNames(header) }
  const headerLength = version === 2 ? V2_LENGTH : header.version === 3 ? header.header_length : V3_LENGTH
  const backing = backingName(cluster, header)
  const reached = reachOf(cluster, header)
  for (const some of version === 3 ? [[...extensions, names], extensions] : [extensions]) {
    const area = serializeHeaderExtensions(some)
    const end = headerLength + area.length
    const places =
      backing.length === 0
        ? [0]
        : [header.backing_file_offset, end, Math.max(end, Math.ceil(reached.length / 8) * 8, SECTOR)]
    for (const place of places) {
      if (end > cluster.length || place + backing.length > cluster.length) continue
      if (backing.length > 0 && place < end) continue
      const next = cluster.slice()
      next.fill(0, headerLength, end)
      next.set(area, headerLength)
      next.set(backing, place)
      const behind = changesBehind(cluster, next, reached)
      if (behind === undefined) continue
      const sector = next.slice(headerLength, SECTOR)
      return { version, headerLength, backingOffset: place, sector, behind }
    }
  }
  throw unsupported(
    name,
    'the header has no room for what it is to become beside what it is, so one write cannot change it; convert the image, or give ' +
      'its backing file a shorter name first with "drydisk rebase -u"',
    { structure: 'header' },
  )
}

/** The table that the image has, or the one that drydisk gives new images. */
function featureNames(header: Header): Uint8Array {
  const own = header.extensions.find(({ type }) => type === EXTENSION.featureNames)
  return own?.data ?? serializeFeatureNames(FEATURES)
}

function backingName(cluster: Uint8Array, header: Header): Uint8Array {
  if (header.backing_file_offset === 0) return new Uint8Array()
  const size = bigEndian(cluster, 'header').u32(16)
  return cluster.slice(header.backing_file_offset, header.backing_file_offset + size)
}

/** 1 for each byte of the cluster that the header reaches: itself, its extensions with their end marker, and the backing name. */
function reachOf(cluster: Uint8Array, header: Header): Uint8Array {
  const last = header.extensions.at(-1)
  const end =
    (last === undefined ? header.header_length : last.offset + Math.ceil(last.data.length / 8) * 8) + 8
  const name = backingName(cluster, header)
  const reached = new Uint8Array(
    Math.min(cluster.length, Math.max(end, header.backing_file_offset + name.length)),
  )
  reached.fill(1, 0, end)
  if (name.length > 0) reached.fill(1, header.backing_file_offset, header.backing_file_offset + name.length)
  return reached
}

/** The runs behind the sector that differ; `undefined` where the old header reaches one of them. */
function changesBehind(
  old: Uint8Array,
  next: Uint8Array,
  reached: Uint8Array,
): { readonly offset: number; readonly bytes: Uint8Array }[] | undefined {
  const runs: { offset: number; bytes: Uint8Array }[] = []
  for (let at = SECTOR; at < next.length; at++) {
    if (next[at] === old[at]) continue
    const start = at
    for (; at < next.length && next[at] !== old[at]; at++) if (reached[at] === 1) return undefined
    runs.push({ offset: start, bytes: next.slice(start, at) })
  }
  return runs
}
