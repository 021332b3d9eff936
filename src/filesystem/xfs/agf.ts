import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
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

/** struct xfs_agf: the free space of an allocation group (xfs_format.h), in its sector. Blocks are numbered in the group. */
export class Agf {
  readonly #view: ByteView
  readonly #sb: Superblock

  /** @param sector checked before. */
  constructor(sector: Uint8Array, sb: Superblock) {
    this.#view = bigEndian(sector, 'xfs AGF')
    this.#sb = sb
  }

  get agf_length(): number {
    return this.#view.u32(12)
  }
  /** Of the free space by block number. */
  get bnoRoot(): number {
    return this.#view.u32(16)
  }
  set bnoRoot(value: number) {
    this.#view.setU32(16, value)
  }
  /** Of the free space by length. */
  get cntRoot(): number {
    return this.#view.u32(20)
  }
  set cntRoot(value: number) {
    this.#view.setU32(20, value)
  }
  /** Reverse mapping; 0 without rmapbt. */
  get rmapRoot(): number {
    return this.#sb.hasRmapbt ? this.#view.u32(24) : 0
  }
  set rmapRoot(value: number) {
    if (this.#sb.hasRmapbt) this.#view.setU32(24, value)
  }
  get bnoLevel(): number {
    return this.#view.u32(28)
  }
  set bnoLevel(value: number) {
    this.#view.setU32(28, value)
  }
  get cntLevel(): number {
    return this.#view.u32(32)
  }
  set cntLevel(value: number) {
    this.#view.setU32(32, value)
  }
  get rmapLevel(): number {
    return this.#sb.hasRmapbt ? this.#view.u32(36) : 0
  }
  set rmapLevel(value: number) {
    if (this.#sb.hasRmapbt) this.#view.setU32(36, value)
  }
  get agf_flfirst(): number {
    return this.#view.u32(40)
  }
  set agf_flfirst(value: number) {
    this.#view.setU32(40, value)
  }
  get agf_fllast(): number {
    return this.#view.u32(44)
  }
  set agf_fllast(value: number) {
    this.#view.setU32(44, value)
  }
  get agf_flcount(): number {
    return this.#view.u32(48)
  }
  set agf_flcount(value: number) {
    this.#view.setU32(48, value)
  }
  get agf_freeblks(): number {
    return this.#view.u32(52)
  }
  set agf_freeblks(value: number) {
    this.#view.setU32(52, value)
  }
  get agf_longest(): number {
    return this.#view.u32(56)
  }
  set agf_longest(value: number) {
    this.#view.setU32(56, value)
  }
  /** Blocks of the free-space and reverse-mapping trees without their roots; kept with lazy counters only. */
  get agf_btreeblks(): number {
    return this.#sb.hasLazyCounts ? this.#view.u32(60) : 0
  }
  set agf_btreeblks(value: number) {
    if (this.#sb.hasLazyCounts) this.#view.setU32(60, value)
  }
  /** Blocks of the reverse-mapping tree, its root among them; 0 without rmapbt. */
  get agf_rmap_blocks(): number {
    return this.#sb.hasRmapbt ? this.#view.u32(80) : 0
  }
  set agf_rmap_blocks(value: number) {
    if (this.#sb.hasRmapbt) this.#view.setU32(80, value)
  }
  /** Blocks of the reference counts, the root among them; 0 without reflink. */
  get agf_refcount_blocks(): number {
    return this.#sb.hasReflink ? this.#view.u32(84) : 0
  }
  set agf_refcount_blocks(value: number) {
    if (this.#sb.hasReflink) this.#view.setU32(84, value)
  }
  get agf_refcount_root(): number {
    return this.#sb.hasReflink ? this.#view.u32(88) : 0
  }
  set agf_refcount_root(value: number) {
    if (this.#sb.hasReflink) this.#view.setU32(88, value)
  }
  get agf_refcount_level(): number {
    return this.#sb.hasReflink ? this.#view.u32(92) : 0
  }
  set agf_refcount_level(value: number) {
    if (this.#sb.hasReflink) this.#view.setU32(92, value)
  }
}

export function checkAgf(sector: Uint8Array, sb: Superblock, geometry: Geometry, agno: number): void {
  headerView(sector, SHAPE, sb, agno)
  const agf = new Agf(sector, sb)
  const length = geometry.agLength(agno)
  const wrong = (what: string) => corrupt('AGF', `the AGF of allocation group ${agno} has ${what}`, { agno })
  if (agf.agf_length !== length) throw wrong(`${agf.agf_length} blocks, expected ${length}`)
  if (agf.agf_freeblks > length || agf.agf_longest > agf.agf_freeblks)
    throw wrong(`${agf.agf_freeblks} of ${length} blocks free, ${agf.agf_longest} of them in a row`)
}
