import { littleEndian } from '../bytes/byte-view.ts'
import { isZero } from '../bytes/compare.ts'
import { formatGuid } from '../bytes/guid.ts'

/** A GPT partition entry, UEFI 5.3.3, table 5.6. */
export interface GptEntry {
  readonly PartitionTypeGUID: string
  readonly UniquePartitionGUID: string
  readonly StartingLBA: number
  /** The last sector, inclusive. */
  readonly EndingLBA: number
  readonly Attributes: bigint
  /** Up to 36 UTF-16 code units. */
  readonly PartitionName: string
}

export const GPT_ENTRY_SIZE = 128
export const MAX_NAME_LENGTH = 36

/** @returns `undefined` for an unused entry. */
export function parseGptEntry(bytes: Uint8Array): GptEntry | undefined {
  const view = littleEndian(bytes, 'GPT partition entry')
  if (isZero(view.slice(0, 16))) return undefined
  let name = ''
  for (let unit = 0; unit < MAX_NAME_LENGTH; unit++) {
    const code = view.u16(56 + unit * 2)
    if (code === 0) break
    name += String.fromCharCode(code)
  }
  return {
    PartitionTypeGUID: formatGuid(view.slice(0, 16)),
    UniquePartitionGUID: formatGuid(view.slice(16, 16)),
    // A value of 2^53 or more lies on no disk: it is not to be an error before the entry is compared with the disk.
    StartingLBA: Number(view.big(32)),
    EndingLBA: Number(view.big(40)),
    Attributes: view.big(48),
    PartitionName: name,
  }
}

/** @param type and @param unique 16 bytes in GPT's order. */
export function serialiseGptEntry(
  type: Uint8Array,
  unique: Uint8Array,
  entry: Pick<GptEntry, 'StartingLBA' | 'EndingLBA' | 'Attributes' | 'PartitionName'>,
): Uint8Array {
  const bytes = new Uint8Array(GPT_ENTRY_SIZE)
  const view = littleEndian(bytes, 'GPT partition entry')
  bytes.set(type, 0)
  bytes.set(unique, 16)
  view.setU64(32, entry.StartingLBA)
  view.setU64(40, entry.EndingLBA)
  view.setBig(48, entry.Attributes)
  for (let unit = 0; unit < Math.min(entry.PartitionName.length, MAX_NAME_LENGTH); unit++)
    view.setU16(56 + unit * 2, entry.PartitionName.charCodeAt(unit))
  return bytes
}
