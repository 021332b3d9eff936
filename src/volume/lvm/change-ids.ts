import { RangeSet } from '../../bytes/range-set.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { Volume } from '../volume.ts'
import { lvmChecksum } from './checksum.ts'
import { type ChosenGroup, chooseMetadata } from './choose-metadata.ts'
import { LABEL_SCAN_SIZE, LABEL_SECTOR, withPvUuid } from './label.ts'
import { bareLvmId, randomLvmId } from './lvm-id.ts'
import { withCommitted } from './mda-header.ts'
import { indexMembers, type Member, type MemberIndex, membersOf } from './member.ts'
import { placeText, textPieces } from './metadata-ring.ts'
import { mapperName } from './names.ts'
import { readAreaHeader, readAreaText } from './read-area.ts'
import { type LabelledVolume, readLabelled } from './read-metadata.ts'
import { withNewIds } from './rename-ids.ts'

/** A new id, both as tools show them. */
export interface NewLvmId {
  readonly of: 'volume group' | 'physical volume'
  /** Of the group, or of the volume that the physical volume is. */
  readonly name: string
  readonly before: string
  readonly after: string
}

/** A volume group, or a physical volume of none, whose ids can be changed. */
export interface LvmIdChange {
  readonly name: string
  readonly ids: readonly NewLvmId[]
  /** Names of its visible logical volumes, as those of a `Volume`. */
  readonly logicalVolumes: readonly string[]
  /** Writes them: texts, then the headers that name them, then labels. It is not atomic: the device's own commit has to make it so. */
  apply(): Promise<void>
}

/** What can be changed, and why the rest cannot: `ERR_CORRUPT`, `ERR_UNSUPPORTED`, `ENOSPC`. */
export interface LvmIdPlan {
  readonly changes: readonly LvmIdChange[]
  readonly kept: readonly DrydiskError[]
}

interface Write {
  readonly device: BlockDevice
  readonly offset: number
  readonly bytes: Uint8Array
}

/**
 * New ids for all volume groups and physical volumes of LVM2 on the volumes of a disk, as `vgchange --uuid` and `pvchange --uuid` give
 * them. Nothing is written before `apply`. Logical volumes keep theirs.
 */
export async function planLvmIds(volumes: readonly Volume[]): Promise<LvmIdPlan> {
  const labelled = await readLabelled(
    volumes.filter(({ kind }) => kind !== 'logical'),
    [],
  )
  const chosen = chooseMetadata(labelled, [])
  const index = indexMembers(chosen, labelled)
  const changes: LvmIdChange[] = []
  const kept: DrydiskError[] = []
  const attempt = async (what: string, plan: () => Promise<LvmIdChange>) => {
    try {
      changes.push(await plan())
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      kept.push(
        new DrydiskError(error.code, `${what} keeps its UUID: ${error.message}`, error.context, error),
      )
    }
  }
  for (const each of chosen)
    await attempt(`the volume group ${each.metadata.name}`, () => planGroup(each, index))
  for (const each of labelled)
    if (!index.groups.has(each.header.pv_uuid))
      await attempt(`the physical volume ${each.volume.name}`, () => planOrphan(each, index))
  return { changes, kept }
}

async function planGroup(chosen: ChosenGroup, index: MemberIndex): Promise<LvmIdChange> {
  const { metadata: group } = chosen
  if (chosen.refused !== undefined) throw unsupported(`it ${chosen.refused}`)
  if (chosen.damaged)
    throw new DrydiskError(
      'ERR_CORRUPT',
      'a copy of its metadata is damaged (vgck --updatemetadata in the guest)',
    )
  if (
    (group.lock_type !== '' && group.lock_type !== 'none') ||
    group.status.some(word => word === 'CLUSTERED' || word === 'SHARED')
  )
    throw unsupported('several machines share it')
  const members = membersOf(chosen, index).map(memberFound)
  const ids: NewLvmId[] = [
    { of: 'volume group', name: group.name, before: group.id, after: randomLvmId() },
    ...members.map(({ volume, header }) => newPvId(volume, header.pv_uuid)),
  ]
  const text = withNewIds(
    await committedText(chosen, members),
    new Map(ids.map(({ before, after }) => [before, after])),
  )
  const texts: Write[] = []
  const headers: Write[] = []
  for (const member of members) {
    const other = member.copies.find(copy => copy.group.id !== group.id)
    if (other !== undefined)
      throw unsupported(
        `${member.volume.name} also holds metadata of the volume group ${other.group.name} (vgck --updatemetadata in the guest)`,
      )
    await planAreas(member, text, texts, headers)
  }
  const labels = await Promise.all(
    members.map((member, number) => relabelled(member, ids[number + 1]?.after ?? '')),
  )
  return {
    name: group.name,
    ids,
    logicalVolumes: group.logical_volumes.map(({ name }) => `/dev/mapper/${mapperName(group.name, name)}`),
    apply: () => writeAll([...texts, ...headers, ...labels]),
  }
}

/** The volume that a member of a group is, where nothing is wrong with it. */
function memberFound({ found, unreadable, readOnly }: Member): LabelledVolume {
  const why = unreadable ?? readOnly
  if (why !== undefined) throw unsupported(`it ${why}`)
  if (found === undefined) throw unsupported('a physical volume is not on this disk')
  return writable(found)
}

function writable(found: LabelledVolume): LabelledVolume {
  const { name, unreadable, readOnly } = found.volume
  const why = unreadable ?? readOnly
  if (why !== undefined) throw unsupported(`${name} ${why}`)
  return found
}

/** The newest text, of any area that has it. */
async function committedText(chosen: ChosenGroup, members: readonly LabelledVolume[]): Promise<Uint8Array> {
  for (const { volume, copies } of members) {
    const copy = copies.find(({ group }) => group === chosen.metadata)
    if (copy === undefined) continue
    const text = await readAreaText(volume.device, copy.area, copy.locn)
    if (typeof text === 'string') throw new DrydiskError('ERR_CORRUPT', `${volume.name}: ${text}`)
    return text
  }
  throw unsupported('its metadata is on a physical volume that it does not name')
}

/** All areas in use get the new text, those with an old one too, as with any change of LVM's. */
async function planAreas(
  { volume, header }: LabelledVolume,
  text: Uint8Array,
  texts: Write[],
  headers: Write[],
): Promise<void> {
  const { device, name } = volume
  const taken = new RangeSet()
  taken.add(0, LABEL_SCAN_SIZE)
  const [size, checksum] = [text.length, lvmChecksum(text)]
  for (const area of header.metadata_areas) {
    const found = await readAreaHeader(device, area)
    if (typeof found === 'string') throw new DrydiskError('ERR_CORRUPT', `${name}: ${found}`)
    const end = area.offset + area.size
    if (taken.intersects(area.offset, end))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${name}: its metadata areas lie over one another or over its label`,
      )
    taken.add(area.offset, end)
    if (found.locn?.ignored) continue
    const offset = placeText(size, found.locn, area)
    let at = 0
    for (const piece of textPieces({ offset, size }, area)) {
      texts.push({ device, offset: piece.offset, bytes: text.subarray(at, at + piece.size) })
      at += piece.size
    }
    headers.push({
      device,
      offset: area.offset,
      bytes: withCommitted(found.bytes, { offset, size, checksum }),
    })
  }
}

/** A physical volume in no group has its id in the label alone. */
async function planOrphan(found: LabelledVolume, index: MemberIndex): Promise<LvmIdChange> {
  const { volume, header, copies, damaged, inRaid } = writable(found)
  if (damaged) throw new DrydiskError('ERR_CORRUPT', 'a metadata area of it is damaged')
  if (inRaid) throw unsupported('it is also a member of an md RAID')
  if ((index.labelled.get(header.pv_uuid)?.length ?? 0) > 1)
    throw unsupported('another volume has the same one')
  if (copies.length > 0) throw unsupported('it holds metadata of a volume group that does not name it')
  // Whoever is in no group has an area that waits for the metadata of one.
  if (header.used ?? !(await hasAreaInUse(found)))
    throw unsupported('a volume group may have it whose metadata is on another disk')
  const id = newPvId(volume, header.pv_uuid)
  const label = await relabelled(found, id.after)
  return { name: volume.name, ids: [id], logicalVolumes: [], apply: () => writeAll([label]) }
}

async function hasAreaInUse({ volume, header }: LabelledVolume): Promise<boolean> {
  for (const area of header.metadata_areas) {
    const found = await readAreaHeader(volume.device, area)
    if (typeof found === 'object' && !found.locn?.ignored) return true
  }
  return false
}

function newPvId({ name }: Volume, before: string): NewLvmId {
  return { of: 'physical volume', name, before, after: randomLvmId() }
}

async function relabelled({ volume: { device }, sector }: LabelledVolume, id: string): Promise<Write> {
  const offset = sector * LABEL_SECTOR
  const bytes = new Uint8Array(LABEL_SECTOR)
  await device.read(offset, bytes)
  return { device, offset, bytes: withPvUuid(bytes, bareLvmId(id)) }
}

async function writeAll(writes: readonly Write[]): Promise<void> {
  for (const { device, offset, bytes } of writes) await device.write(offset, bytes)
}

function unsupported(what: string): DrydiskError {
  return new DrydiskError('ERR_UNSUPPORTED', what)
}
