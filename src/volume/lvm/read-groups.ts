import { type Range, RangeSet } from '../../bytes/range-set.ts'
import type { PhysicalVolume, Volume, VolumeGroup } from '../volume.ts'
import { chooseMetadata } from './choose-metadata.ts'
import { extentUse } from './extent-use.ts'
import { type GroupParts, logicalVolumes } from './logical-volume.ts'
import { indexMembers, type Member, membersOf, startOf } from './member.ts'
import { type LabelledVolume, MetadataReader } from './read-metadata.ts'

export interface VolumeGroups {
  readonly groups: readonly VolumeGroup[]
  /** Visible logical volumes, in the order of the metadata. */
  readonly volumes: readonly Volume[]
}

/**
 * The LVM2 volume groups on the volumes of a disk. Nothing is an error: what cannot be used is a volume that says why, or a warning.
 * @param warnings gets whole sentences.
 */
export async function readVolumeGroups(
  partitions: readonly Volume[],
  warnings: string[],
): Promise<VolumeGroups> {
  const reader = new MetadataReader(warnings)
  const labelled: LabelledVolume[] = []
  for (const volume of partitions) {
    const found = await reader.read(volume)
    if (found !== undefined) labelled.push(found)
  }
  const chosen = chooseMetadata(labelled, warnings)
  const index = indexMembers(chosen, labelled)
  const groups: VolumeGroup[] = []
  const volumes: Volume[] = []
  for (const each of chosen) {
    const { metadata } = each
    const use = extentUse(metadata)
    const parts: GroupParts = { chosen: each, members: membersOf(each, index), use }
    for (const { name, reason } of metadata.unreadable)
      warnings.push(
        `The volume group ${metadata.name} has a logical volume ${JSON.stringify(name)} that cannot be understood: ${reason}.`,
      )
    for (const { unreadable } of parts.members)
      if (unreadable !== undefined) warnings.push(`The volume group ${metadata.name} ${unreadable}.`)
    const logical = logicalVolumes(parts)
    for (const { name, readOnly } of logical)
      if (use.overlaps.size > 0 && readOnly !== undefined) warnings.push(`${name} ${readOnly}.`)
    volumes.push(...logical)
    groups.push({
      name: metadata.name,
      uuid: metadata.id,
      seqno: metadata.seqno,
      extentSize: metadata.extent_size * 512,
      physicalVolumes: parts.members.map(member => physicalVolume(member, parts)),
      logicalVolumes: logical.map(({ name }) => name),
    })
  }
  return { groups, volumes }
}

function physicalVolume(member: Member, { chosen, use }: GroupParts): PhysicalVolume {
  const { metadata, found } = member
  const free = [...(use.used.get(metadata.key) ?? new RangeSet()).segments(0, metadata.pe_count)].filter(
    ({ inside }) => !inside,
  )
  const certain =
    use.complete &&
    chosen.refused === undefined &&
    !chosen.damaged &&
    member.unreadable === undefined &&
    member.readOnly === undefined
  return {
    uuid: metadata.id,
    name: found?.volume.name,
    extents: metadata.pe_count,
    freeExtents: free.reduce((sum, { start, end }) => sum + end - start, 0),
    free: certain ? free.map(range => bytesOf(member, range)) : [],
  }
}

function bytesOf(member: Member, { start, end }: Range): Range {
  const size = member.found?.volume.length ?? 0
  return { start: Math.min(size, startOf(member, start)), end: Math.min(size, startOf(member, end)) }
}
