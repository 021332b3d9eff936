import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { type HeaderShape, headerView } from './ag-header.ts'
import { corrupt } from './errors.ts'
import type { Geometry } from './geometry.ts'
import type { Superblock } from './superblock.ts'

export const AGI_CRC_OFFSET = 312
/** XFS_AGI_UNLINKED_BUCKETS */
export const UNLINKED_BUCKETS = 64
/** NULLAGINO: the end of a list of unlinked inodes. */
export const NULL_AGINO = 0xffff_ffff

/** agi_unlinked */
const UNLINKED_AT = 40

const SHAPE: HeaderShape = {
  name: 'AGI',
  magic: 0x5841_4749,
  crcAt: AGI_CRC_OFFSET,
  uuidAt: 296,
  seqnoAt: 8,
  versionAt: 4,
}

/** struct xfs_agi: the inodes of an allocation group (xfs_format.h), in its sector. Inodes and blocks are numbered in the group. */
export class Agi {
  readonly #view: ByteView
  readonly #sb: Superblock

  /** @param sector checked before. */
  constructor(sector: Uint8Array, sb: Superblock) {
    this.#view = bigEndian(sector, 'xfs AGI')
    this.#sb = sb
  }

  get agi_length(): number {
    return this.#view.u32(12)
  }
  get agi_count(): number {
    return this.#view.u32(16)
  }
  set agi_count(value: number) {
    this.#view.setU32(16, value)
  }
  get agi_root(): number {
    return this.#view.u32(20)
  }
  set agi_root(value: number) {
    this.#view.setU32(20, value)
  }
  get agi_level(): number {
    return this.#view.u32(24)
  }
  set agi_level(value: number) {
    this.#view.setU32(24, value)
  }
  get agi_freecount(): number {
    return this.#view.u32(28)
  }
  set agi_freecount(value: number) {
    this.#view.setU32(28, value)
  }
  get agi_newino(): number {
    return this.#view.u32(32)
  }
  set agi_newino(value: number) {
    this.#view.setU32(32, value)
  }
  get agi_dirino(): number {
    return this.#view.u32(36)
  }
  set agi_dirino(value: number) {
    this.#view.setU32(36, value)
  }
  /** 0 without finobt. */
  get agi_free_root(): number {
    return this.#sb.hasFinobt ? this.#view.u32(328) : 0
  }
  set agi_free_root(value: number) {
    if (this.#sb.hasFinobt) this.#view.setU32(328, value)
  }
  get agi_free_level(): number {
    return this.#sb.hasFinobt ? this.#view.u32(332) : 0
  }
  set agi_free_level(value: number) {
    if (this.#sb.hasFinobt) this.#view.setU32(332, value)
  }
  /** Blocks of the inobt; 0 without inobtcount. */
  get agi_iblocks(): number {
    return this.#sb.hasInobtCounts ? this.#view.u32(336) : 0
  }
  set agi_iblocks(value: number) {
    if (this.#sb.hasInobtCounts) this.#view.setU32(336, value)
  }
  /** Blocks of the finobt; 0 without inobtcount. */
  get agi_fblocks(): number {
    return this.#sb.hasInobtCounts ? this.#view.u32(340) : 0
  }
  set agi_fblocks(value: number) {
    if (this.#sb.hasInobtCounts) this.#view.setU32(340, value)
  }
  /** The first inode of a list of unlinked ones, or `NULL_AGINO`. */
  unlinked(bucket: number): number {
    return this.#view.u32(UNLINKED_AT + bucket * 4)
  }
  setUnlinked(bucket: number, agino: number): void {
    this.#view.setU32(UNLINKED_AT + bucket * 4, agino)
  }
}

export function checkAgi(sector: Uint8Array, sb: Superblock, geometry: Geometry, agno: number): void {
  headerView(sector, SHAPE, sb, agno)
  const [found, length] = [new Agi(sector, sb).agi_length, geometry.agLength(agno)]
  if (found !== length)
    throw corrupt('AGI', `the AGI of allocation group ${agno} has ${found} blocks, expected ${length}`, {
      agno,
    })
}
