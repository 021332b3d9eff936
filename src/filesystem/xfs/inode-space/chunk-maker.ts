import { bigEndian } from '../../../bytes/byte-view.ts'
import { NULL_AGINO } from '../agi.ts'
import { DINODE_CRC_OFFSET } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import type { XfsVolume } from '../volume.ts'
import { type Extent, OWN, type Space, structureOwner } from '../writer.ts'
import { initFreeInode } from './dinode-init.ts'
import type { GroupInodes } from './group-inodes.ts'
import { CHUNK, type InodeGeometry } from './inode-geometry.ts'
import { merged, sparseChunk, wholeChunk } from './inode-record.ts'

const OWNER = structureOwner(OWN.INODES)

/** Makes new inodes in an allocation group. */
export class ChunkMaker {
  readonly #volume: XfsVolume
  readonly #space: Space
  readonly #inodes: InodeGeometry

  constructor(volume: XfsVolume, space: Space, inodes: InodeGeometry) {
    this.#volume = volume
    this.#space = space
    this.#inodes = inodes
  }

  /** A whole chunk behind the one that was made last (xfs_ialloc_ag_alloc). `ENOSPC` when there is no room. */
  async makeWhole(agno: number, trees: GroupInodes): Promise<void> {
    const { geometry, superblock } = this.#volume
    const { blocks, inodes, alignment } = this.#inodes
    const { agi_newino, agi_root } = await this.#volume.readAgi(agno)
    const behind = Math.floor(agi_newino / superblock.sb_inopblock) + blocks
    const goal = agi_newino !== NULL_AGINO && geometry.isBlock(agno, behind) ? behind : agi_root
    const extent = await this.#space.allocate({
      goal: geometry.fsBlock(agno, goal),
      wanted: blocks,
      least: blocks,
      alignment,
      sameGroup: true,
      owner: OWNER,
    })
    const first = geometry.agBlockOf(extent.start) * superblock.sb_inopblock
    this.#init(agno, extent)
    for (let agino = first; agino < first + inodes; agino += CHUNK) await trees.insert(wholeChunk(agino))
    await this.#count(agno, inodes, first)
  }

  /** A part of a chunk, which may fill up one of which a part is there. `ENOSPC` when there is no room. */
  async makeSparse(agno: number, trees: GroupInodes): Promise<void> {
    const { geometry, superblock } = this.#volume
    const { blocks } = this.#inodes
    const extent = await this.#sparseExtent(agno)
    const agbno = geometry.agBlockOf(extent.start)
    const [first, start] = [agbno, agbno - (agbno % blocks)].map(block => block * superblock.sb_inopblock)
    if (first === undefined || start === undefined) return
    const count = extent.count * superblock.sb_inopblock
    this.#init(agno, extent)
    const made = sparseChunk(start, first, count)
    const before = await trees.chunkOf(start)
    if (before === undefined || before.ir_startino + CHUNK <= start) await trees.insert(made)
    else {
      const both = merged(before, made)
      if (both === undefined)
        throw corrupt(
          'inobt',
          `inodes from ${first} of allocation group ${agno} are to be made, and the record of those from ${before.ir_startino} has them already`,
          { agno },
        )
      await trees.replace(before, both)
    }
    await this.#count(agno, count, start)
  }

  /**
   * The record is of the whole chunk, all of which has to lie in the group, behind its first blocks (min_agbno and max_agbno of
   * Linux). What lies elsewhere is held until what does not is found, and given back.
   */
  async #sparseExtent(agno: number): Promise<Extent> {
    const { geometry } = this.#volume
    const { blocks, sparse = blocks } = this.#inodes
    const { agi_root } = await this.#volume.readAgi(agno)
    const held: Extent[] = []
    for (;;) {
      const extent = await this.#space.allocate({
        goal: geometry.fsBlock(agno, agi_root),
        wanted: sparse,
        least: sparse,
        alignment: sparse,
        sameGroup: true,
        owner: OWNER,
      })
      const agbno = geometry.agBlockOf(extent.start)
      const start = agbno - (agbno % blocks)
      if (start > 0 && start + blocks <= geometry.agLength(agno)) {
        for (const unfit of held) await this.#space.free(unfit, OWNER)
        return extent
      }
      held.push(extent)
    }
  }

  /** Generations begin at random, so that those of a chunk that was here before do not come again (xfs_ialloc_ag_alloc). */
  #init(agno: number, { start, count }: Extent): void {
    const { geometry, superblock, buffers } = this.#volume
    const { sb_inopblock, sb_inodesize } = superblock
    const [generation = 0] = globalThis.crypto.getRandomValues(new Uint32Array(1))
    for (let index = 0; index < count; index++) {
      const agbno = geometry.agBlockOf(start) + index
      const block = geometry.inAg(agno, agbno)
      const bytes = buffers.fresh([block], { at: 0, length: sb_inodesize, crcAt: DINODE_CRC_OFFSET })
      const view = bigEndian(bytes, 'xfs inodes')
      for (let slot = 0; slot < sb_inopblock; slot++) {
        const at = slot * sb_inodesize
        buffers.editHeld(block, { at, length: sb_inodesize, crcAt: DINODE_CRC_OFFSET })
        const ino = geometry.inodeNumber(agno, agbno * sb_inopblock + slot)
        initFreeInode(view, at, { ino, generation }, superblock)
        // Their checksums are not stored yet: see Inodes.
        this.#volume.trust(bytes, at)
        this.#volume.trust(bytes, at + 1)
      }
    }
  }

  async #count(agno: number, count: number, newino: number): Promise<void> {
    const agi = await this.#volume.editAgi(agno)
    agi.agi_count += count
    agi.agi_freecount += count
    agi.agi_newino = newino
    await this.#volume.count({ icount: count, ifree: count })
  }
}
