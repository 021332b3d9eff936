import type { BlockDevice } from '../../device/block-device.ts'
import type { ChosenGroup } from './choose-metadata.ts'
import { shownWord } from './names.ts'
import type { LabelledVolume } from './read-metadata.ts'
import type { PvMetadata, VgMetadata } from './volume-group.ts'

const SECTOR = 512
/** Label and header of a physical volume lie in its first four sectors. */
const LABEL_END = 4 * SECTOR

/** A physical volume of a group, with where its extents are. */
export interface Member {
  readonly metadata: PvMetadata
  /** The volume that it is, where it is on the disk at all. */
  readonly found: LabelledVolume | undefined
  /** Bytes. */
  readonly extentSize: number
  /** Why logical volumes with extents on it cannot be read, in words that follow their name. */
  readonly unreadable?: string
  /** Why nothing is written there, in words that follow their name. */
  readonly readOnly?: string
}

/** What is on the disk, by the id of a physical volume. */
export interface MemberIndex {
  readonly labelled: ReadonlyMap<string, readonly LabelledVolume[]>
  /** Groups that have it. */
  readonly groups: ReadonlyMap<string, readonly VgMetadata[]>
}

export function indexMembers(
  groups: readonly ChosenGroup[],
  labelled: readonly LabelledVolume[],
): MemberIndex {
  const byId = new Map<string, LabelledVolume[]>()
  for (const each of labelled) {
    const { pv_uuid } = each.header
    byId.set(pv_uuid, [...(byId.get(pv_uuid) ?? []), each])
  }
  const claims = new Map<string, VgMetadata[]>()
  for (const { metadata } of groups)
    for (const { id } of metadata.physical_volumes) claims.set(id, [...(claims.get(id) ?? []), metadata])
  return { labelled: byId, groups: claims }
}

/** Finds a group's physical volumes among those with a label. */
export function membersOf({ metadata: group }: ChosenGroup, index: MemberIndex): Member[] {
  const extentSize = group.extent_size * SECTOR
  return group.physical_volumes.map(metadata => {
    const having = index.labelled.get(metadata.id) ?? []
    const [found] = having
    const unreadable = whyUnreadable(metadata, group, index.groups.get(metadata.id) ?? [], having)
    const member = { metadata, found, extentSize, ...(unreadable === undefined ? {} : { unreadable }) }
    const readOnly = found && whyReadOnly(member, found)
    return readOnly === undefined ? member : { ...member, readOnly }
  })
}

function whyUnreadable(
  metadata: PvMetadata,
  group: VgMetadata,
  claimants: readonly VgMetadata[],
  having: readonly LabelledVolume[],
): string | undefined {
  const where = metadata.device === '' ? '' : `, which was ${shownWord(metadata.device)},`
  if (having.length === 0)
    return `needs the physical volume ${metadata.id}${where} of ${group.name}, which is not on this disk`
  if (having.length > 1)
    return `needs the physical volume ${metadata.id}, which is there twice: ${having.map(({ volume }) => volume.name).join(', ')}`
  if (metadata.status.includes('MISSING'))
    return `needs the physical volume ${metadata.id}, which ${group.name} counts as missing (vgextend --restoremissing in the guest)`
  const other = claimants.find(each => each !== group)
  if (other !== undefined)
    return `needs the physical volume ${metadata.id}, which two volume groups claim: ${group.name}, ${other.name}`
  return undefined
}

function whyReadOnly(member: Member, found: LabelledVolume): string | undefined {
  const { name } = found.volume
  if (found.inRaid)
    return `lies on ${name}, which is also a member of an md RAID (mdadm --zero-superblock removes a stale one)`
  return liesOverMetadata(member, found) ? `lies over LVM's own metadata on ${name}` : undefined
}

function liesOverMetadata(member: Member, { header }: LabelledVolume): boolean {
  const start = startOf(member, 0)
  const end = startOf(member, member.metadata.pe_count)
  return (
    start < LABEL_END ||
    [...header.metadata_areas, ...header.bootloader_areas].some(
      ({ offset, size }) => offset < end && offset + size > start,
    )
  )
}

/** Byte of the physical volume where an extent begins. */
export function startOf({ metadata, extentSize }: Member, extent: number): number {
  return metadata.pe_start * SECTOR + extent * extentSize
}

/** The device of a member, where the run of extents lies in it and within what the metadata gives the group. */
export function deviceFor(member: Member, extent: number, count: number): BlockDevice | undefined {
  const device = member.found?.volume.device
  if (device === undefined || extent + count > member.metadata.pe_count) return undefined
  return startOf(member, extent + count) <= device.size ? device : undefined
}
