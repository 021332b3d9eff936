import { type HeaderShape, headerView } from './ag-header.ts'
import { corrupt } from './errors.ts'
import type { Geometry } from './geometry.ts'
import type { Superblock } from './superblock.ts'

export const AGI_CRC_OFFSET = 312
/** XFS_AGI_UNLINKED_BUCKETS */
export const UNLINKED_BUCKETS = 64
/** NULLAGINO: the end of a list of unlinked inodes. */
export const NULL_AGINO = 0xffff_ffff

const SHAPE: HeaderShape = {
  name: 'AGI',
  magic: 0x5841_4749,
  crcAt: AGI_CRC_OFFSET,
  uuidAt: 296,
  seqnoAt: 8,
  versionAt: 4,
}

/** struct xfs_agi: the inodes of an allocation group (xfs_format.h). Inodes and blocks are numbered in the group. */
export interface Agi {
  readonly agi_length: number
  readonly agi_count: number
  readonly agi_root: number
  readonly agi_level: number
  readonly agi_freecount: number
  readonly agi_newino: number
  readonly agi_dirino: number
  readonly agi_unlinked: readonly number[]
  /** 0 without finobt. */
  readonly agi_free_root: number
  readonly agi_free_level: number
  /** 0 without inobtcount. */
  readonly agi_iblocks: number
  readonly agi_fblocks: number
}

export function parseAgi(sector: Uint8Array, sb: Superblock, geometry: Geometry, agno: number): Agi {
  const view = headerView(sector, SHAPE, sb, agno)
  const length = geometry.agLength(agno)
  if (view.u32(12) !== length)
    throw corrupt(
      'AGI',
      `the AGI of allocation group ${agno} has ${view.u32(12)} blocks, expected ${length}`,
      {
        agno,
      },
    )
  return {
    agi_length: length,
    agi_count: view.u32(16),
    agi_root: view.u32(20),
    agi_level: view.u32(24),
    agi_freecount: view.u32(28),
    agi_newino: view.u32(32),
    agi_dirino: view.u32(36),
    agi_unlinked: Array.from({ length: UNLINKED_BUCKETS }, (_, index) => view.u32(40 + index * 4)),
    agi_free_root: sb.hasFinobt ? view.u32(328) : 0,
    agi_free_level: sb.hasFinobt ? view.u32(332) : 0,
    agi_iblocks: sb.hasInobtCounts ? view.u32(336) : 0,
    agi_fblocks: sb.hasInobtCounts ? view.u32(340) : 0,
  }
}
