import type { BlockDevice } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import { hasRaidAtEnd } from '../raid-member.ts'
import type { Volume } from '../volume.ts'
import { lvmChecksum } from './checksum.ts'
import { findLabel, LABEL_SCAN_SIZE } from './label.ts'
import { MDA_HEADER_SIZE, parseMdaHeader, type RawLocn, textPieces } from './mda-header.ts'
import { type DiskLocn, type PvHeader, parsePvHeader } from './pv-header.ts'
import { parseVolumeGroup, type VgMetadata } from './volume-group.ts'

/** A volume with the label of a physical volume. */
export interface LabelledVolume {
  readonly volume: Volume
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
}

/** Some 70,000 logical volumes; LVM's default metadata area is 1 MiB. */
const MAX_TEXT = 32 << 20
/** Of all texts on a disk. */
const MAX_TEXTS = 256 << 20

/** Looks for physical volumes and reads their metadata areas. What is wrong with one becomes a warning. */
export class MetadataReader {
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
      const group = await this.#area(device, area)
      if (typeof group === 'string') {
        damaged = true
        this.#warnings.push(`${name}: the LVM metadata area at byte ${area.offset} does not count: ${group}.`)
      } else if (group !== undefined) copies.push({ group })
    }
    return { volume, header, copies, damaged, inRaid: await hasRaidAtEnd(device) }
  }

  /** @returns what is wrong with the area, as a string; `undefined` where it holds nothing. */
  async #area(device: BlockDevice, area: DiskLocn): Promise<VgMetadata | string | undefined> {
    if (area.offset + area.size > device.size || area.size < 2 * MDA_HEADER_SIZE)
      return `its ${area.size} bytes do not lie on the device of ${device.size}`
    const bytes = new Uint8Array(MDA_HEADER_SIZE)
    await device.read(area.offset, bytes)
    const locn = parseMdaHeader(bytes, area)
    if (locn === undefined || typeof locn === 'string') return locn
    return locn.ignored ? undefined : this.#text(device, area, locn)
  }

  async #text(device: BlockDevice, area: DiskLocn, locn: RawLocn): Promise<VgMetadata | string> {
    if (locn.size > MAX_TEXT) return `its text has ${locn.size} bytes, and drydisk reads up to ${MAX_TEXT}`
    this.#budget -= locn.size
    if (this.#budget < 0) return `with it the disk has more than ${MAX_TEXTS} bytes of metadata`
    const text = new Uint8Array(locn.size)
    let at = 0
    for (const { offset, size } of textPieces(locn, area)) {
      await device.read(offset, text.subarray(at, at + size))
      at += size
    }
    const checksum = lvmChecksum(text)
    if (checksum !== locn.checksum)
      return `the checksum of its text is 0x${checksum.toString(16)}, expected 0x${locn.checksum.toString(16)}`
    const key = `${locn.size} ${checksum}`
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
