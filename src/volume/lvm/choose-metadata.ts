import { shownWord } from './names.ts'
import type { LabelledVolume } from './read-metadata.ts'
import type { VgMetadata } from './volume-group.ts'

/** A volume group as its newest metadata has it. */
export interface ChosenGroup {
  readonly metadata: VgMetadata
  /** Why none of its logical volumes can be used, in words that follow "volume group X". */
  readonly refused?: string
  /** Whether a copy of the metadata is damaged: it may have been the newest. */
  readonly damaged: boolean
}

/**
 * The newest metadata of each volume group: copies in several areas and on several physical volumes differ after a change that
 * did not reach all of them, and the highest sequence number is the one that counts (vg_read of LVM2).
 */
export function chooseMetadata(labelled: readonly LabelledVolume[], warnings: string[]): ChosenGroup[] {
  const newest = new Map<string, VgMetadata>()
  const torn = new Set<string>()
  for (const { copies } of labelled)
    for (const { group } of copies) {
      const known = newest.get(group.id)
      if (known === undefined || group.seqno > known.seqno) {
        newest.set(group.id, group)
        torn.delete(group.id)
      } else if (group.seqno === known.seqno && group !== known) torn.add(group.id)
    }
  for (const { volume, copies } of labelled) {
    const old = copies.find(({ group }) => group.seqno < (newest.get(group.id)?.seqno ?? 0))
    if (old !== undefined)
      warnings.push(
        `${volume.name} has old metadata of the volume group ${old.group.name} (number ${old.group.seqno}); that with number ` +
          `${newest.get(old.group.id)?.seqno} counts.`,
      )
  }
  const groups = [...newest.values()]
  const ids = new Set(labelled.filter(each => each.damaged).map(({ header }) => header.pv_uuid))
  const names = new Set<string>()
  const twice = new Set(
    groups.filter(({ name }) => names.has(name) || !names.add(name)).map(({ name }) => name),
  )
  return groups.map(metadata => {
    const damaged = metadata.physical_volumes.some(({ id }) => ids.has(id))
    const refused = whyRefused(metadata, twice.has(metadata.name), torn.has(metadata.id))
    if (refused !== undefined) warnings.push(`The volume group ${metadata.name} ${refused}.`)
    return { metadata, damaged, ...(refused === undefined ? {} : { refused }) }
  })
}

/** Status words of a volume group (lib/format_text/flags.c of LVM2), which refuses any other. */
const GROUP_STATUS = [
  ...[
    'EXPORTED',
    'RESIZEABLE',
    'PVMOVE',
    'READ',
    'WRITE',
    'WRITE_LOCKED',
    'NOAUTOACTIVATE',
    'CLUSTERED',
    'SHARED',
  ],
  'PARTIAL',
]

function whyRefused(group: VgMetadata, nameTaken: boolean, torn: boolean): string | undefined {
  const unknown = group.status.find(word => !GROUP_STATUS.includes(word))
  if (torn)
    return `has two different metadata with the number ${group.seqno} (vgck --updatemetadata in the guest)`
  if (unknown !== undefined) return `has the status ${shownWord(unknown)}, which drydisk does not know`
  if (group.status.includes('EXPORTED'))
    return 'is exported, so that no machine uses it (vgimport in the guest)'
  if (nameTaken) return 'shares its name with another one (vgrename in the guest)'
  if (new Set(group.physical_volumes.map(({ id }) => id)).size < group.physical_volumes.length)
    return 'names a physical volume twice'
  return undefined
}
