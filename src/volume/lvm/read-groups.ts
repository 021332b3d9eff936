import { type Range, RangeSet } from '../../bytes/range-set.ts'
import type { PhysicalVolume, Volume, VolumeGroup } from '../volume.ts'
import { chooseMetadata } from './choose-metadata.ts'
import { extentUse } from './extent-use.ts'
import { type GroupParts, logicalVolumes } from './logical-volume.ts'
import { indexMembers, type Member, membersOf, startOf } from './member.ts'
import { shownWord } from './names.ts'
import { readLabelled } from './read-metadata.ts'

/** Warnings of one group. */
const MOST_TOLD = 16

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
  const labelled = await readLabelled(partitions, warnings)
  const chosen = chooseMetadata(labelled, warnings)
  const index = indexMembers(chosen, labelled)
  const groups: VolumeGroup[] = []
  const volumes: Volume[] = []
  for (const each of chosen) {
    const { metadata } = each
    const use = extentUse(metadata)
    const parts: GroupParts = { chosen: each, members: membersOf(each, index), use }
    const logical = logicalVolumes(parts)
    const told = [...problemsOf(parts, logical)]
    warnings.push(...told.slice(0, MOST_TOLD))
    if (told.length > MOST_TOLD)
      warnings.push(
        `The volume group ${metadata.name} has ${told.length - MOST_TOLD} more problems like these.`,
      )
    for (const volume of logical) volumes.push(volume)
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

function* problemsOf({ chosen, members, use }: GroupParts, logical: readonly Volume[]): Iterable<string> {
  const { name: group, unreadable } = chosen.metadata
  for (const { name, reason } of unreadable)
    yield `The volume group ${group} has a logical volume ${shownWord(name)} that cannot be understood: ${reason}.`
  for (const member of members)
    if (member.unreadable !== undefined) yield `The volume group ${group} ${member.unreadable}.`
  for (const { name, readOnly } of logical)
    if (use.overlaps.size > 0 && readOnly !== undefined) yield `${name} ${readOnly}.`
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
