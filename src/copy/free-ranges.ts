import type { RangeSet } from '../bytes/range-set.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { ByteRange } from '../filesystem/filesystem.ts'
import { isSupported, openFileSystem, whyUnsupported } from '../filesystem/open.ts'
import { type Probe, probe } from '../filesystem/probe.ts'
import { rivalSignature } from '../filesystem/rival-signature.ts'
import { findSwap, type SwapSignature, swapContent } from '../filesystem/swap.ts'
import { unownedGaps } from '../volume/gaps.ts'
import { readVolumes } from '../volume/read-volumes.ts'
import type { Volume, VolumeList } from '../volume/volume.ts'
import { DroppableRanges } from './droppable-ranges.ts'
import { VolumeOwners } from './volume-owners.ts'

/** What `freeRanges` takes. */
export interface FreeRangesOptions {
  /** What is on the disk, where the caller has read it already. */
  readonly volumes?: VolumeList
  /** Names of volumes (`/dev/sda2`, `/dev/mapper/vg-root`) to leave as they are. */
  readonly ignore?: readonly string[]
  /** Whether space that no partition and no logical volume owns is dropped; `true` when left out. */
  readonly gaps?: boolean
  /** Whether the content of swap areas is dropped; `true` when left out. */
  readonly swap?: boolean
}

/** What of a volume nobody wants. */
export interface VolumeFreeSpace {
  readonly name: string
  /** As blkid(8) names what is there; empty where nothing known is. */
  readonly type: string
  /** Bytes. */
  readonly dropped: number
  /** Why nothing is dropped, where drydisk decided so: words that follow the volume's name. */
  readonly reason?: string
}

/** What of a disk nobody uses: its ranges, in bytes of the disk, and how they came about. */
export interface DiskFreeSpace {
  /** Bytes of the disk, in multiples of 512: their content can become zeros, and nobody will miss it. */
  readonly ranges: RangeSet
  /** In the order of the table. */
  readonly volumes: readonly VolumeFreeSpace[]
  /** Bytes between and behind partitions. */
  readonly gaps: number
  /** Whole sentences. */
  readonly warnings: readonly string[]
}

interface Examined {
  readonly volume: Volume
  readonly found: Probe | undefined
  readonly swap: SwapSignature | undefined
}

/** What keeps a volume whole, rather than ends the work. */
const DOUBTS = ['ERR_CORRUPT', 'ERR_UNSUPPORTED', 'ERR_IN_USE'] as const

/**
 * What on a disk nobody wants: free space of filesystems, content of swap areas, space between partitions and extents of LVM that
 * no logical volume has. It is found by
 * maps and headers alone: the space itself is not read, and nothing is written.
 *
 * A range counts only where its owner says so. A volume with unknown content stays whole, and so does what lies in a
 * partition behind the end of its filesystem, where RAID and the like keep what they know. Swap files stay. A volume whose
 * accounting is in doubt stays whole, with a reason. Errors of input and output are thrown.
 */
export async function freeRanges(disk: BlockDevice, options: FreeRangesOptions = {}): Promise<DiskFreeSpace> {
  const warnings: string[] = []
  const dropped = new DroppableRanges()
  const list = options.volumes ?? (await readTable(disk, warnings))
  if (list === undefined) return { ranges: dropped.ranges, volumes: [], gaps: 0, warnings }

  const examined: Examined[] = []
  for (const volume of list.volumes)
    examined.push(
      volume.unreadable === undefined
        ? { volume, found: await probe(volume.device), swap: await findSwap(volume.device) }
        : { volume, found: undefined, swap: undefined },
    )
  // It goes on with the bitmaps and the files that it has in its memory, and never looks at those on the disk.
  const asleep = examined.find(({ swap }) => swap?.kind === 'hibernation')?.volume.name
  const asleepReason = asleep && `belongs to a hibernated machine, whose memory is on ${asleep}`
  const owners = new VolumeOwners(list, options.ignore ?? [])
  const reasons = new Map<Volume, string>()
  for (const each of [...examined].sort((a, b) => firstByte(a.volume) - firstByte(b.volume))) {
    const reason =
      owners.whyLeft(each.volume) ?? asleepReason ?? (await drop(each, owners, options, dropped, warnings))
    if (reason !== undefined) reasons.set(each.volume, reason)
  }
  // A whole disk with a signature of its own (an ISO image for a USB stick, a member of a RAID) is not what its table says.
  const gaps =
    options.gaps !== false && asleep === undefined && (await probe(disk)) === undefined
      ? await unownedGaps(disk, list)
      : []
  for (const { start, end } of gaps) dropped.add(start, end)
  if (dropped.cut)
    warnings.push(
      `The free space is in so many pieces that only those of ${dropped.shortest} bytes and more are dropped.`,
    )
  return {
    ranges: dropped.ranges,
    volumes: examined.map(({ volume, found, swap }) => {
      const reason = reasons.get(volume)
      return {
        name: volume.name,
        type: found?.type ?? typeOfSwap(swap),
        dropped: reason === undefined ? droppedOf(volume, owners, dropped) : 0,
        ...(reason === undefined ? {} : { reason }),
      }
    }),
    gaps: gaps.reduce((sum, { start, end }) => sum + dropped.within(start, end), 0),
    warnings,
  }
}

/** Free space is added in the order of the disk, which is cheap. */
function firstByte({ places, length }: Volume): number {
  let first = Number.POSITIVE_INFINITY
  for (const { start } of places(0, length)) first = Math.min(first, start)
  return first
}

function droppedOf(volume: Volume, owners: VolumeOwners, dropped: DroppableRanges): number {
  let total = 0
  // What logical volumes give back is theirs.
  const pieces = owners.member(volume)?.free ?? [{ start: 0, end: volume.length }]
  for (const piece of pieces)
    for (const { start, end } of volume.places(piece.start, piece.end - piece.start))
      total += dropped.within(start, end)
  return total
}

/** A table that cannot be read leaves everything as it is. */
async function readTable(disk: BlockDevice, warnings: string[]): Promise<VolumeList | undefined> {
  try {
    const list = await readVolumes(disk)
    warnings.push(...list.warnings)
    return list
  } catch (error) {
    if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
    warnings.push(`${error.message}.`)
    return undefined
  }
}

/** As libblkid names what a sleeping machine leaves. */
function typeOfSwap(swap: SwapSignature | undefined): string {
  if (swap === undefined) return ''
  return swap.kind === 'hibernation' ? 'swsuspend' : 'swap'
}

/** @returns why nothing of the volume is dropped, where that is so. */
async function drop(
  { volume, found, swap }: Examined,
  owners: VolumeOwners,
  options: FreeRangesOptions,
  dropped: DroppableRanges,
  warnings: string[],
): Promise<string | undefined> {
  const add = ({ offset, length }: ByteRange): void => {
    for (const { start, end } of volume.places(offset, length)) dropped.add(start, end)
  }
  if (found?.type === 'LVM2_member') return dropFreeExtents(volume, owners, options, add)
  const isSwap = swap !== undefined && (found === undefined || found.usage === 'swap')
  if (isSwap && options.swap === false) return 'is left as it is: it is swap space'
  if (!isSwap && !(found && isSupported(found.type))) return whyUnsupported(found)
  const rival = await rivalSignature(
    volume.device,
    isSwap ? { usage: 'swap' } : { usage: 'filesystem', type: found?.type ?? '' },
  )
  if (rival !== undefined)
    return `has signatures of both ${found?.type ?? 'swap'} and ${rival}: wipefs(8) removes the stale one`
  const told: string[] = []
  try {
    const runs = isSwap ? [await swapContent(volume.device, swap)] : freeSpaceOf(volume, found, told)
    for await (const run of runs) {
      const { offset, length } = run
      if (!(offset >= 0 && length >= 0 && offset + length <= volume.length))
        throw new DrydiskError('ERR_CORRUPT', `its free space reaches past its end, to ${offset + length}`)
      add(run)
    }
  } catch (error) {
    for (const { start, end } of volume.places(0, volume.length)) dropped.withdraw(start, end)
    if (!isDrydiskError(error, ...DOUBTS)) throw error
    return `is left as it is: ${error.message}`
  }
  warnings.push(...told.map(warning => `${volume.name}: ${warning}`))
  return undefined
}

/** What of a physical volume no logical volume has; with the space between partitions, it is nobody's. */
async function dropFreeExtents(
  volume: Volume,
  owners: VolumeOwners,
  options: FreeRangesOptions,
  add: (range: ByteRange) => void,
): Promise<string | undefined> {
  const member = owners.member(volume)
  if (member === undefined) return 'is a physical volume of LVM in no volume group'
  if (options.gaps === false) return 'is left as it is: it is a physical volume of LVM'
  if (member.freeExtents > 0 && member.free.length === 0)
    return 'is a physical volume of LVM, and which of its extents are free is in doubt'
  const rival = await rivalSignature(volume.device, { usage: 'container', type: 'LVM2_member' })
  if (rival !== undefined)
    return `has signatures of both LVM2_member and ${rival}: wipefs(8) removes the stale one`
  for (const { start, end } of member.free) add({ offset: start, length: end - start })
  return undefined
}

async function* freeSpaceOf(
  volume: Volume,
  found: Probe | undefined,
  warnings: string[],
): AsyncIterable<ByteRange> {
  const fs = await openFileSystem(volume.device, { writable: false, found })
  try {
    if (fs.freeRanges === undefined)
      throw new DrydiskError('ERR_UNSUPPORTED', `what is free in ${fs.type} is not known`, { type: fs.type })
    yield* fs.freeRanges(warning => warnings.push(warning))
  } finally {
    await fs.close()
  }
}
