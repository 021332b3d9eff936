import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import { checksumIsRight } from './checksum.ts'
import { corrupt } from './errors.ts'
import type { Superblock } from './superblock.ts'

/** Sectors of an allocation group's headers, behind its copy of the superblock. */
export const AG_SECTOR = { SUPERBLOCK: 0, AGF: 1, AGI: 2, AGFL: 3 } as const

export interface HeaderShape {
  readonly name: string
  readonly magic: number
  readonly crcAt: number
  readonly uuidAt: number
  /** Where the number of the allocation group is. */
  readonly seqnoAt: number
  /** Where the version is, which is 1; a free list has none. */
  readonly versionAt?: number
}

/** Checks what AGF, AGI and AGFL have in common: magic number, checksum, filesystem, and which group it is. */
export function headerView(sector: Uint8Array, shape: HeaderShape, sb: Superblock, agno: number): ByteView {
  const { name, magic, crcAt, uuidAt, seqnoAt, versionAt } = shape
  const wrong = (what: string) => corrupt(name, `the ${name} of allocation group ${agno} ${what}`, { agno })
  const view = bigEndian(sector, `xfs ${name}`)
  if (view.u32(0) !== magic)
    throw wrong(`has the magic number 0x${view.u32(0).toString(16)}, expected 0x${magic.toString(16)}`)
  if (versionAt !== undefined && view.u32(versionAt) !== 1)
    throw wrong(`has version ${view.u32(versionAt)}, expected 1`)
  if (sb.isV5 && !checksumIsRight(sector, crcAt)) throw wrong('has a wrong checksum')
  if (sb.isV5 && !equalBytes(view.slice(uuidAt, 16), sb.metaUuid))
    throw wrong('belongs to another filesystem')
  if (view.u32(seqnoAt) !== agno) throw wrong(`says that it is of group ${view.u32(seqnoAt)}`)
  return view
}
