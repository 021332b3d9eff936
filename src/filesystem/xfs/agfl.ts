import type { ByteView } from '../../bytes/byte-view.ts'
import { type HeaderShape, headerView } from './ag-header.ts'
import type { Agf } from './agf.ts'
import { corrupt } from './errors.ts'
import type { Superblock } from './superblock.ts'

export const AGFL_CRC_OFFSET = 32
/** Bytes of struct xfs_agfl, which only version 5 has before the block numbers. */
export const AGFL_HEADER = 36

const SHAPE: HeaderShape = {
  name: 'AGFL',
  magic: 0x5841_464c,
  crcAt: AGFL_CRC_OFFSET,
  uuidAt: 8,
  seqnoAt: 4,
}

/** How many block numbers a free list holds (xfs_agfl_size). */
export function agflSize(sb: Superblock): number {
  return Math.floor((sb.sb_sectsize - (sb.isV5 ? AGFL_HEADER : 0)) / 4)
}

/** Checks the header, which only version 5 has. */
export function checkAgfl(sector: Uint8Array, sb: Superblock, agno: number): void {
  if (sb.isV5) headerView(sector, SHAPE, sb, agno)
}

/**
 * The blocks that an allocation group keeps for its trees, in the order of use: a ring in a sector, from agf_flfirst to
 * agf_fllast. Kernels before 4.5 made the ring one shorter on 64-bit machines, which is put right at a mount
 * (xfs_agfl_needs_reset): a ring whose count does not fit is an error here.
 */
export function agflBlocks(view: ByteView, sb: Superblock, agf: Agf, agno: number): number[] {
  const start = sb.isV5 ? AGFL_HEADER : 0
  const size = agflSize(sb)
  const { agf_flfirst, agf_fllast, agf_flcount } = agf
  const active =
    agf_fllast >= agf_flfirst ? agf_fllast - agf_flfirst + 1 : size - agf_flfirst + agf_fllast + 1
  const wrong = (what: string) =>
    corrupt('AGFL', `the free list of allocation group ${agno} ${what}`, { agno })
  if (agf_flfirst >= size || agf_fllast >= size || agf_flcount > size)
    throw wrong(
      `goes from ${agf_flfirst} to ${agf_fllast} with ${agf_flcount} blocks, and has room for ${size}`,
    )
  if (agf_flcount !== 0 && active !== agf_flcount)
    throw wrong(`goes from ${agf_flfirst} to ${agf_fllast}, which are not ${agf_flcount} blocks`)
  const blocks: number[] = []
  for (let index = 0; index < agf_flcount; index++) {
    const block = view.u32(start + ((agf_flfirst + index) % size) * 4)
    if (block === 0 || block >= agf.agf_length) throw wrong(`holds block ${block}, which does not exist`)
    blocks.push(block)
  }
  return blocks
}
