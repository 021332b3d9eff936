import { DrydiskError } from '../../errors.ts'
import { LVM_ID } from './lvm-id.ts'
import { isSection, type MetadataNode, type MetadataSection, parseMetadataText } from './metadata-text.ts'

/** A run of extents of a physical volume or of another logical volume. */
export interface SegmentArea {
  /** Key of the physical volume in the metadata, or name of a logical volume. */
  readonly on: string
  /** Its first extent there. */
  readonly extent: number
}

/** A segment of a logical volume. */
export interface LvSegment {
  readonly start_extent: number
  readonly extent_count: number
  /** `striped` (also with one stripe), `raid1`, `thin`, … */
  readonly type: string
  /** Sectors; 0 with one stripe. */
  readonly stripe_size: number
  /** Of a striped segment; else none. */
  readonly stripes: readonly SegmentArea[]
  /** All that the section says: other types have their own fields. */
  readonly section: MetadataSection
}

/** A section of `logical_volumes`. */
export interface LvMetadata {
  readonly name: string
  readonly id: string
  /** `VISIBLE`, `READ`, `WRITE`, …: an unknown one means that the volume cannot be used. */
  readonly status: readonly string[]
  /** In order of `start_extent`. */
  readonly segments: readonly LvSegment[]
}

/** A section of `physical_volumes`. */
export interface PvMetadata {
  /** Name of the section, by which segments refer to it: `pv0`. */
  readonly key: string
  readonly id: string
  readonly status: readonly string[]
  /** Where it was when the metadata was written; a hint. */
  readonly device: string
  /** Sectors from the device's beginning. */
  readonly pe_start: number
  readonly pe_count: number
}

/** A volume group, as the metadata text has it. */
export interface VgMetadata {
  readonly name: string
  readonly id: string
  readonly seqno: number
  readonly status: readonly string[]
  /** Sectors. */
  readonly extent_size: number
  /** `sanlock`, `dlm`, …; empty for a volume group of one machine. */
  readonly lock_type: string
  readonly physical_volumes: readonly PvMetadata[]
  readonly logical_volumes: readonly LvMetadata[]
  /** Logical volumes whose sections cannot be understood, and why. */
  readonly unreadable: readonly { readonly name: string; readonly reason: string }[]
}

const MAX_EXTENTS = 2 ** 32
/** Of LVM2, lib/config/defaults.h. */
const MAX_STRIPES = 128
/** Names of groups and volumes (lvm(8), "Valid names"). */
const NAME = /^(?!-|\.\.?$)[A-Za-z0-9+_.-]{1,127}$/

/**
 * Parses the text of a metadata area, as lib/format_text/import_vsn1.c of LVM2 does. A logical volume that cannot be understood
 * does not take the others with it.
 * Errors: `ERR_CORRUPT`; `ERR_UNSUPPORTED` for another format or version.
 */
export function parseVolumeGroup(text: string): VgMetadata {
  const top = parseMetadataText(text)
  const [contents, version] = [top.get('contents'), top.get('version')]
  if (contents !== 'Text Format Volume Group' || version !== 1)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `LVM metadata: contents ${shown(contents)} in version ${shown(version)}, expected "Text Format Volume Group" in version 1`,
    )
  const [found] = [...top].filter((entry): entry is [string, MetadataSection] => isSection(entry[1]))
  if (found === undefined) throw corrupt('there is no volume group in it')
  const [name, section] = found
  if (!NAME.test(name)) throw corrupt(`the volume group's name is ${shown(name)}`)
  const extent_size = whole(section, 'extent_size', 1, MAX_EXTENTS)
  const unreadable: { name: string; reason: string }[] = []
  const logical_volumes: LvMetadata[] = []
  for (const [lvName, lv] of sections(section, 'logical_volumes'))
    try {
      logical_volumes.push(parseLogicalVolume(lvName, lv))
    } catch (error) {
      if (!(error instanceof DrydiskError)) throw error
      unreadable.push({ name: lvName, reason: error.message })
    }
  return {
    name,
    id: id(section),
    seqno: whole(section, 'seqno', 0, MAX_EXTENTS),
    status: words(section, 'status'),
    extent_size,
    lock_type: optionalText(section, 'lock_type'),
    physical_volumes: sections(section, 'physical_volumes').map(([key, pv]) => ({
      key,
      id: id(pv),
      status: [...words(pv, 'status'), ...words(pv, 'flags')],
      device: optionalText(pv, 'device'),
      pe_start: whole(pv, 'pe_start', 0, 2 ** 43),
      pe_count: whole(pv, 'pe_count', 0, MAX_EXTENTS),
    })),
    logical_volumes,
    unreadable,
  }
}

function parseLogicalVolume(name: string, section: MetadataSection): LvMetadata {
  if (!NAME.test(name)) throw corrupt(`a logical volume's name is ${shown(name)}`)
  const segments = [...section]
    .filter((entry): entry is [string, MetadataSection] => isSection(entry[1]))
    .map(([, segment]) => parseSegment(segment))
    .sort((a, b) => a.start_extent - b.start_extent)
  if (whole(section, 'segment_count', 0, MAX_EXTENTS) !== segments.length)
    throw corrupt(
      `segment_count of ${name} is ${shown(section.get('segment_count'))}, not ${segments.length}`,
    )
  let next = 0
  for (const { start_extent, extent_count } of segments) {
    if (start_extent !== next)
      throw corrupt(`a segment of ${name} begins at extent ${start_extent}, expected ${next}`)
    next += extent_count
  }
  return { name, id: id(section), status: words(section, 'status'), segments }
}

function parseSegment(section: MetadataSection): LvSegment {
  // "linear" is another name of it (get_segtype_from_string in lib/metadata/segtype.c).
  const named = section.get('type') ?? 'striped'
  const type = named === 'linear' ? 'striped' : named
  if (typeof type !== 'string') throw corrupt(`a segment's type is ${shown(named)}`)
  const place = {
    start_extent: whole(section, 'start_extent', 0, MAX_EXTENTS),
    extent_count: whole(section, 'extent_count', 1, MAX_EXTENTS),
    type,
    section,
  }
  if (type !== 'striped') return { ...place, stripe_size: 0, stripes: [] }
  const stripes = areas(section.get('stripes'))
  const count = whole(section, 'stripe_count', 1, MAX_STRIPES)
  if (stripes.length !== count)
    throw corrupt(`stripe_count is ${count}, but there are ${stripes.length} stripes`)
  if (place.extent_count % count !== 0)
    throw corrupt(`${place.extent_count} extents cannot be spread evenly over ${count} stripes`)
  const stripe_size = count === 1 ? 0 : whole(section, 'stripe_size', 1, MAX_EXTENTS)
  return { ...place, stripe_size, stripes }
}

/** `["pv0", 0, "pv1", 0]`: pairs of a volume and an extent. */
function areas(node: MetadataNode | undefined): SegmentArea[] {
  const pairs: SegmentArea[] = []
  if (!Array.isArray(node)) throw corrupt('a striped segment has no array of stripes')
  for (let index = 0; index < node.length; index += 2) {
    const [on, extent] = [node[index], node[index + 1]]
    if (typeof on !== 'string' || !isWhole(extent, 0, MAX_EXTENTS))
      throw corrupt(
        `a stripe is ${shown(on)}, ${shown(extent)}; expected a volume and the number of an extent`,
      )
    pairs.push({ on, extent })
  }
  return pairs
}

function sections(parent: MetadataSection, key: string): [string, MetadataSection][] {
  const node = parent.get(key)
  if (node === undefined) return []
  if (!isSection(node)) throw corrupt(`${key} is no section`)
  return [...node].map(([name, child]) => {
    if (!isSection(child)) throw corrupt(`${shown(name)} of ${key} is no section`)
    return [name, child]
  })
}

function whole(section: MetadataSection, key: string, least: number, most: number): number {
  const value = section.get(key)
  if (!isWhole(value, least, most))
    throw corrupt(`${key} is ${shown(value)}, expected a whole number from ${least} to ${most}`)
  return value
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most
}

function id(section: MetadataSection): string {
  const value = section.get('id')
  if (typeof value !== 'string' || !LVM_ID.test(value)) throw corrupt(`an id is ${shown(value)}`)
  return value
}

/** One value is as good as an array of one. */
function words(section: MetadataSection, key: string): string[] {
  const node = section.get(key)
  if (node === undefined && key === 'flags') return []
  const list = Array.isArray(node) ? node : [node]
  return list.map(word => {
    if (typeof word !== 'string') throw corrupt(`${key} is ${shown(node)}, expected words`)
    return word
  })
}

function optionalText(section: MetadataSection, key: string): string {
  const value = section.get(key)
  return typeof value === 'string' ? value : ''
}

function shown(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value instanceof Map) return 'a section'
  return (JSON.stringify(value) ?? '').slice(0, 80)
}

function corrupt(what: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `LVM metadata: ${what}`)
}
