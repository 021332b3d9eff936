import type { Range } from '../../bytes/range-set.ts'
import { RefusedDevice } from '../../device/refused-device.ts'
import { SegmentDevice } from '../../device/segment-device.ts'
import { type Segment, SegmentMap } from '../../device/segment-map.ts'
import type { Volume } from '../volume.ts'
import type { ChosenGroup } from './choose-metadata.ts'
import { areaLength, type ExtentUse } from './extent-use.ts'
import { deviceFor, type Member, startOf } from './member.ts'
import { isSection, type MetadataNode } from './metadata-text.ts'
import { aliasesOf, mapperName, shownWord } from './names.ts'
import type { LvMetadata, LvSegment, VgMetadata } from './volume-group.ts'

/** Status words of a logical volume (lib/format_text/flags.c of LVM2), which refuses any other. */
const STATUS = [
  'READ',
  'WRITE',
  'WRITE_LOCKED',
  'FIXED_MINOR',
  'VISIBLE',
  'PVMOVE',
  'LOCKED',
  'NOTSYNCED',
  'NOAUTOACTIVATE',
]
/** Chunks of device-mapper stripes are powers of two (dm-stripe of Linux refuses others) of whole pages or sectors. */
const SECTOR = 512

/** A group with all that decides about its logical volumes. */
export interface GroupParts {
  readonly chosen: ChosenGroup
  readonly members: readonly Member[]
  readonly use: ExtentUse
}

/** The visible logical volumes of a group; those that cannot be read too. */
export function logicalVolumes(parts: GroupParts): Volume[] {
  const { metadata: group } = parts.chosen
  const byKey = new Map(parts.members.map(member => [member.metadata.key, member]))
  const ties = tiesOf(group)
  return group.logical_volumes
    .filter(({ status }) => status.includes('VISIBLE'))
    .map(volume => {
      const mapped = mapSegments(volume, byKey, parts)
      const tie = ties.get(volume.name)
      const unreadable =
        refusal(volume, parts) ?? tie?.unreadable ?? (typeof mapped === 'string' ? mapped : undefined)
      const segments = typeof mapped === 'string' || unreadable !== undefined ? [] : mapped
      const readOnly = whyReadOnly(volume, byKey, parts) ?? tie?.readOnly
      return toVolume(group, volume, segments, unreadable, readOnly)
    })
}

function toVolume(
  group: VgMetadata,
  { name, id, segments: lines }: LvMetadata,
  segments: readonly Segment<Volume>[],
  unreadable: string | undefined,
  readOnly: string | undefined,
): Volume {
  const path = `/dev/mapper/${mapperName(group.name, name)}`
  const length = lengthOf(group, lines)
  const map = new SegmentMap(segments)
  const [first] = lines
  const kind = first?.type === 'striped' && first.stripes.length === 1 ? 'linear' : (first?.type ?? 'empty')
  return {
    kind: 'logical',
    device:
      unreadable === undefined
        ? new SegmentDevice(
            segments.map(segment => ({
              ...segment,
              areas: segment.areas.map(({ device, offset }) => ({ device: device.device, offset })),
            })),
            readOnly === undefined ? {} : { readOnly },
          )
        : new RefusedDevice(length, 'ERR_UNSUPPORTED', `${path} ${unreadable}`),
    name: path,
    aliases: aliasesOf(group.name, name, group.id, id),
    number: undefined,
    type: '',
    typeName: `LVM ${shownWord(kind)}`,
    label: '',
    uuid: id,
    offset: undefined,
    length,
    *places(offset: number, size: number): Iterable<Range> {
      for (const { device, start, end } of map.places(offset, size)) yield* device.places(start, end - start)
    },
    ...(unreadable === undefined ? {} : { unreadable }),
    ...(readOnly === undefined ? {} : { readOnly }),
  }
}

/** Bytes; 0 for a volume larger than can be. */
function lengthOf(group: VgMetadata, segments: readonly LvSegment[]): number {
  const length =
    segments.reduce((sum, { extent_count }) => sum + extent_count, 0) * group.extent_size * SECTOR
  return Number.isSafeInteger(length) ? length : 0
}

/** @returns why the volume cannot be read, as a string, where that is so. */
function mapSegments(
  volume: LvMetadata,
  members: ReadonlyMap<string, Member>,
  { chosen }: GroupParts,
): Segment<Volume>[] | string {
  const extentSize = chosen.metadata.extent_size * SECTOR
  const segments: Segment<Volume>[] = []
  if (volume.segments.length === 0) return 'has no extents'
  for (const segment of volume.segments) {
    if (segment.type !== 'striped')
      return `is of type ${shownWord(segment.type)}: drydisk reads and writes linear and striped logical volumes`
    const chunk = segment.stripe_size * SECTOR
    const length = areaLength(segment) * extentSize
    if (segment.stripes.length > 1 && (!isPowerOfTwo(segment.stripe_size) || length % chunk !== 0))
      return `has stripes of ${chunk} bytes, which do not fill its areas of ${length}`
    const areas: { device: Volume; offset: number }[] = []
    for (const { on, extent } of segment.stripes) {
      const member = members.get(on)
      if (member === undefined)
        return `lies on the logical volume ${shownWord(on)}, which drydisk does not follow`
      if (member.unreadable !== undefined) return member.unreadable
      if (member.found === undefined || deviceFor(member, extent, areaLength(segment)) === undefined)
        return `has extents past the end of the physical volume ${member.found?.volume.name} (was the image cut?)`
      areas.push({ device: member.found.volume, offset: startOf(member, extent) })
    }
    const last = segments.at(-1)
    const [area] = areas
    const [before] = last?.areas ?? []
    // Extents that follow one another, but were added one after the other, are one run.
    if (
      last?.areas.length === 1 &&
      areas.length === 1 &&
      before?.device === area?.device &&
      (before?.offset ?? 0) + last.length === area?.offset
    )
      segments[segments.length - 1] = { ...last, length: last.length + length }
    else segments.push({ length: length * areas.length, areas, chunk })
  }
  return segments
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value))
}

function refusal({ status }: LvMetadata, { chosen }: GroupParts): string | undefined {
  if (chosen.refused !== undefined)
    return `is in the volume group ${chosen.metadata.name}, which ${chosen.refused}`
  const unknown = status.find(word => !STATUS.includes(word))
  return unknown === undefined
    ? undefined
    : `has the status ${shownWord(unknown)}, which drydisk does not know`
}

function whyReadOnly(
  { name, status, segments }: LvMetadata,
  members: ReadonlyMap<string, Member>,
  { chosen, use }: GroupParts,
): string | undefined {
  const { metadata: group } = chosen
  const overlap = use.overlaps.get(name)
  if (overlap !== undefined)
    return `shares extents with ${overlap === name ? 'itself' : overlap}, so that LVM refuses it`
  if (group.lock_type !== '' && group.lock_type !== 'none')
    return `is in a volume group that several machines share (lock type ${shownWord(group.lock_type)})`
  if (group.status.includes('CLUSTERED') || group.status.includes('SHARED'))
    return 'is in a volume group that several machines share'
  if (!status.includes('WRITE') && !status.includes('WRITE_LOCKED'))
    return 'is read-only for LVM (lvchange --permission rw in the guest)'
  for (const { stripes } of segments)
    for (const { on } of stripes) {
      const reason = members.get(on)?.readOnly
      if (reason !== undefined) return reason
    }
  return undefined
}

interface Tie {
  readonly unreadable?: string
  readonly readOnly?: string
}

/** Logical volumes that others are made of: a snapshot is the difference to what its origin was, and so on. */
function tiesOf(group: VgMetadata): Map<string, Tie> {
  const names = new Set(group.logical_volumes.map(({ name }) => name))
  const ties = new Map<string, Tie>()
  for (const { name, segments } of group.logical_volumes)
    for (const segment of segments) {
      if (segment.type === 'snapshot') addSnapshot(ties, segment)
      else if (segment.type !== 'striped')
        for (const other of volumesNamed(segment, names))
          if (!ties.has(other))
            ties.set(other, { readOnly: `is what ${name} (${shownWord(segment.type)}) is made of` })
    }
  return ties
}

/** `origin` and `cow_store` or, while it is merged back, `merging_store` (lib/snapshot/snapshot.c of LVM2). */
function addSnapshot(ties: Map<string, Tie>, { section }: LvSegment): void {
  const [origin, cow, merging] = [
    section.get('origin'),
    section.get('cow_store'),
    section.get('merging_store'),
  ]
  if (typeof origin !== 'string') return
  const snapshot = typeof cow === 'string' ? cow : merging
  if (typeof snapshot === 'string')
    ties.set(snapshot, { unreadable: `is a snapshot of ${shownWord(origin)}, which drydisk does not read` })
  ties.set(
    origin,
    typeof merging === 'string'
      ? { unreadable: `is being merged with its snapshot ${shownWord(merging)}` }
      : {
          readOnly: `has the snapshot ${shownWord(String(snapshot))}, which needs what it holds now (lvremove in the guest)`,
        },
  )
}

function volumesNamed({ section }: LvSegment, names: ReadonlySet<string>): string[] {
  const found: string[] = []
  const look = (node: MetadataNode): void => {
    if (typeof node === 'string' && names.has(node)) found.push(node)
    else if (Array.isArray(node)) for (const each of node) look(each)
  }
  for (const [key, node] of section) if (key !== 'tags' && !isSection(node)) look(node)
  return found
}
