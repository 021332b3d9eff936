import type { BlockDevice } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import { hasRaidAtEnd } from '../raid-member.ts'
import type { Volume } from '../volume.ts'
import { findLabel, LABEL_SCAN_SIZE } from './label.ts'
import type { RawLocn } from './mda-header.ts'
import { type DiskLocn, type PvHeader, parsePvHeader } from './pv-header.ts'
import { readAreaHeader, readAreaText } from './read-area.ts'
import { parseVolumeGroup, type VgMetadata } from './volume-group.ts'

/** A volume with the label of a physical volume. */
export interface LabelledVolume {
  readonly volume: Volume
  /** Sector of its label. */
  readonly sector: number
  readonly header: PvHeader
  /** What its metadata areas hold; none where it is in no group, or the group keeps its metadata elsewhere. */
  readonly copies: readonly MetadataCopy[]
  /** Whether a metadata area could not be read. */
  readonly damaged: boolean
  /** Whether it may be half of a mirror: what is written to one half alone is lost or, worse, is not. */
  readonly inRaid: boolean
}

/** The text in one metadata area. Equal texts have the same object as `group`. */
export interface MetadataCopy {
  readonly group: VgMetadata
  readonly area: DiskLocn
  readonly locn: RawLocn
}

/** Some 70,000 logical volumes; LVM's default metadata area is 1 MiB. */
const MAX_TEXT = 32 << 20
/** Of all texts on a disk. */
const MAX_TEXTS = 256 << 20

/** The physical volumes among the volumes of a disk, with their metadata. What is wrong with one becomes a warning. */
export async function readLabelled(
  partitions: readonly Volume[],
  warnings: string[],
): Promise<LabelledVolume[]> {
  const reader = new MetadataReader(warnings)
  const labelled: LabelledVolume[] = []
  for (const volume of partitions) {
    const found = await reader.read(volume)
    if (found !== undefined) labelled.push(found)
  }
  return labelled
}

class MetadataReader {
  readonly #warnings: string[]
  readonly #seen = new Set<string>()
  readonly #parsed = new Map<string, VgMetadata | string>()
  #budget = MAX_TEXTS

  constructor(warnings: string[]) {
    this.#warnings = warnings
  }

  /** @returns `undefined` for a volume that is no physical volume. */
  async read(volume: Volume): Promise<LabelledVolume | undefined> {
    try {
      return await this.#read(volume)
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      this.#warnings.push(`${volume.name} is not looked at as an LVM physical volume: ${error.message}.`)
      return undefined
    }
  }

  async #read(volume: Volume): Promise<LabelledVolume | undefined> {
    const { device, name } = volume
    const head = new Uint8Array(Math.min(LABEL_SCAN_SIZE, device.size))
    await device.read(0, head)
    const label = findLabel(head)
    if (label === undefined) return undefined
    if (typeof label === 'string') {
      this.#warnings.push(`${name} looks like an LVM physical volume, but ${label}.`)
      return undefined
    }
    const header = parsePvHeader(label.content)
    const copies: MetadataCopy[] = []
    let damaged = false
    // A second one with the same id is an error for whoever needs it; its metadata is the same or worse.
    const areas = this.#seen.has(header.pv_uuid) ? [] : header.metadata_areas
    this.#seen.add(header.pv_uuid)
    for (const area of areas) {
      const copy = await this.#area(device, area)
      if (typeof copy === 'string') {
        damaged = true
        this.#warnings.push(`${name}: the LVM metadata area at byte ${area.offset} does not count: ${copy}.`)
      } else if (copy !== undefined) copies.push(copy)
    }
    return { volume, sector: label.sector, header, copies, damaged, inRaid: await hasRaidAtEnd(device) }
  }

  /** @returns what is wrong with the area, as a string; `undefined` where it holds nothing. */
  async #area(device: BlockDevice, area: DiskLocn): Promise<MetadataCopy | string | undefined> {
    const header = await readAreaHeader(device, area)
    if (typeof header === 'string') return header
    const { locn } = header
    if (locn === undefined || locn.ignored) return undefined
    const group = await this.#text(device, area, locn)
    return typeof group === 'string' ? group : { group, area, locn }
  }

  async #text(device: BlockDevice, area: DiskLocn, locn: RawLocn): Promise<VgMetadata | string> {
    if (locn.size > MAX_TEXT) return `its text has ${locn.size} bytes, and drydisk reads up to ${MAX_TEXT}`
    this.#budget -= locn.size
    if (this.#budget < 0) return `with it the disk has more than ${MAX_TEXTS} bytes of metadata`
    const text = await readAreaText(device, area, locn)
    if (typeof text === 'string') return text
    const key = `${locn.size} ${locn.checksum}`
    const group = this.#parsed.get(key) ?? parsed(text)
    this.#parsed.set(key, group)
    return group
  }
}

function parsed(text: Uint8Array): VgMetadata | string {
  try {
    return parseVolumeGroup(new TextDecoder().decode(text))
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return error.message
  }
}
