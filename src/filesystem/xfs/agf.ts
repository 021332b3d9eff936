import { type HeaderShape, headerView } from './ag-header.ts'
import { corrupt } from './errors.ts'
import type { Geometry } from './geometry.ts'
import type { Superblock } from './superblock.ts'

export const AGF_CRC_OFFSET = 216

const SHAPE: HeaderShape = {
  name: 'AGF',
  magic: 0x5841_4746,
  crcAt: AGF_CRC_OFFSET,
  uuidAt: 64,
  seqnoAt: 8,
  versionAt: 4,
}

/** struct xfs_agf: the free space of an allocation group (xfs_format.h). Blocks are numbered in the group. */
export interface Agf {
  readonly agf_length: number
  /** Of the free space by block number. */
  readonly bnoRoot: number
  readonly bnoLevel: number
  /** Of the free space by length. */
  readonly cntRoot: number
  readonly cntLevel: number
  /** Reverse mapping; 0 without rmapbt. */
  readonly rmapRoot: number
  readonly rmapLevel: number
  readonly agf_flfirst: number
  readonly agf_fllast: number
  readonly agf_flcount: number
  readonly agf_freeblks: number
  readonly agf_longest: number
  /** Blocks of the free-space and reverse-mapping trees without their roots; kept with lazy counters only. */
  readonly agf_btreeblks: number
  readonly agf_rmap_blocks: number
  readonly agf_refcount_blocks: number
  readonly agf_refcount_root: number
  readonly agf_refcount_level: number
  readonly agf_lsn: bigint
}

export function parseAgf(sector: Uint8Array, sb: Superblock, geometry: Geometry, agno: number): Agf {
  const view = headerView(sector, SHAPE, sb, agno)
  const length = geometry.agLength(agno)
  const wrong = (what: string) => corrupt('AGF', `the AGF of allocation group ${agno} has ${what}`, { agno })
  const agf = {
    agf_length: view.u32(12),
    bnoRoot: view.u32(16),
    cntRoot: view.u32(20),
    rmapRoot: sb.hasRmapbt ? view.u32(24) : 0,
    bnoLevel: view.u32(28),
    cntLevel: view.u32(32),
    rmapLevel: sb.hasRmapbt ? view.u32(36) : 0,
    agf_flfirst: view.u32(40),
    agf_fllast: view.u32(44),
    agf_flcount: view.u32(48),
    agf_freeblks: view.u32(52),
    agf_longest: view.u32(56),
    agf_btreeblks: view.u32(60),
    agf_rmap_blocks: view.u32(80),
    agf_refcount_blocks: view.u32(84),
    agf_refcount_root: sb.hasReflink ? view.u32(88) : 0,
    agf_refcount_level: sb.hasReflink ? view.u32(92) : 0,
    agf_lsn: sb.isV5 ? view.big(208) : 0n,
  }
  if (agf.agf_length !== length) throw wrong(`${agf.agf_length} blocks, expected ${length}`)
  if (agf.agf_freeblks > length || agf.agf_longest > agf.agf_freeblks)
    throw wrong(`${agf.agf_freeblks} of ${length} blocks free, ${agf.agf_longest} of them in a row`)
  return agf
}
