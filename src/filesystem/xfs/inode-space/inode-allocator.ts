import { DrydiskError } from '../../../errors.ts'
import type { InodeNumber, Timestamp } from '../../filesystem.ts'
import { NULL_AGINO } from '../agi.ts'
import type { InobtRecord } from '../btree-kinds.ts'
import type { Dinode } from '../dinode.ts'
import { corrupt } from '../errors.ts'
import type { Inodes } from '../inodes.ts'
import { after, type Soon } from '../soon.ts'
import { attempt } from '../transaction.ts'
import type { XfsVolume } from '../volume.ts'
import { type InodeAllocator, OWN, type Space, structureOwner } from '../writer.ts'
import { ChunkMaker } from './chunk-maker.ts'
import { initUsedInode, releaseInode } from './dinode-init.ts'
import { GroupInodes } from './group-inodes.ts'
import { CHUNK, type InodeGeometry, inodeGeometry } from './inode-geometry.ts'
import { blocksOf, firstFree, isAllFree, stateOf, withFree, withUsed } from './inode-record.ts'
import { nearestFree } from './nearest-chunk.ts'

export function createInodeAllocator(
  volume: XfsVolume,
  inodes: Inodes,
  space: Space,
  now: () => Timestamp,
): InodeAllocator {
  return new XfsInodeAllocator(volume, inodes, space, now)
}

class XfsInodeAllocator implements InodeAllocator {
  readonly #volume: XfsVolume
  readonly #inodes: Inodes
  readonly #space: Space
  readonly #now: () => Timestamp
  readonly #geometry: InodeGeometry
  readonly #maker: ChunkMaker
  /** Inodes that the filesystem itself needs; where there is none, no inode has the number. */
  readonly #reserved: ReadonlySet<number>
  readonly #groups = new Map<number, GroupInodes>()
  /** Where a free inode was found last, near which one, in groups without a finobt. Only hints: a chunk is looked at before it is used. */
  readonly #found = new Map<number, { readonly near: number | undefined; readonly chunk: number }>()

  constructor(volume: XfsVolume, inodes: Inodes, space: Space, now: () => Timestamp) {
    this.#volume = volume
    this.#inodes = inodes
    this.#space = space
    this.#now = now
    this.#geometry = inodeGeometry(volume.superblock)
    this.#maker = new ChunkMaker(volume, space, this.#geometry)
    const { sb_rootino, sb_rbmino, sb_rsumino, sb_uquotino, sb_gquotino, sb_pquotino } = volume.superblock
    const others = [sb_rbmino, sb_rsumino, sb_uquotino, sb_gquotino, sb_pquotino]
    this.#reserved = new Set([sb_rootino, ...others.map(Number)])
  }

  allocate(parent: InodeNumber, mode: number): Soon<Dinode> {
    const { geometry, superblock } = this.#volume
    const place = geometry.inodePlace(parent)
    if (place === undefined)
      throw corrupt('inode', `inode ${parent} is a parent and lies outside the volume`, { inode: parent })
    const { agno } = place
    const near = place.agbno * superblock.sb_inopblock + place.index
    // Mostly the parent's group has a free one.
    return after(this.#volume.readAgi(agno), ({ agi_freecount }) =>
      agi_freecount > 0 ? this.#use(agno, near, mode) : this.#allocateBehind(agno, near, mode),
    )
  }

  /** In the group, with more inodes in it, or in the groups behind. */
  async #allocateBehind(first: number, near: number, mode: number): Promise<Dinode> {
    const { geometry, superblock } = this.#volume
    const { icount } = await this.#volume.counters()
    const mayGrow = this.#geometry.most === 0 || icount + this.#geometry.inodes <= this.#geometry.most
    for (let step = 0; step < geometry.agCount; step++) {
      const agno = (first + step) % geometry.agCount
      const { agi_freecount } = await this.#volume.readAgi(agno)
      if (agi_freecount > 0 || (mayGrow && (await this.#grow(agno, this.#trees(agno)))))
        return this.#use(agno, step === 0 ? near : undefined, mode)
    }
    throw new DrydiskError(
      'ENOSPC',
      mayGrow
        ? 'xfs: no inode is free, and there is no room for more'
        : `xfs: the filesystem has ${icount} inodes, none of them is free, and only ${superblock.sb_imax_pct} % of its space are for inodes (xfs_growfs -m changes that)`,
      { inodes: icount },
    )
  }

  free(inode: Dinode): Soon<void> {
    const { ino } = inode
    const { geometry, superblock } = this.#volume
    const wrong = (what: string) =>
      corrupt('inode', `inode ${ino} is to be freed, and ${what}`, { inode: ino })
    const place = geometry.inodePlace(ino)
    if (place === undefined) throw wrong('lies outside the volume')
    if (this.#reserved.has(ino)) throw wrong('is one that the filesystem itself needs')
    if (inode.di_nblocks !== 0) throw wrong(`counts ${inode.di_nblocks} blocks that are still its own`)
    const { agno } = place
    const agino = place.agbno * superblock.sb_inopblock + place.index
    return after(this.#trees(agno).chunkOf(agino), before => {
      if (before === undefined || stateOf(before, agino) !== 'used')
        throw wrong('is free already or does not exist')
      return after(this.#release(inode), () => this.#giveBack(agno, before, agino))
    })
  }

  #release(inode: Dinode): Soon<void> {
    const { ino } = inode
    return after(this.#inodes.edit(ino), open => {
      releaseInode(open, this.#volume.superblock)
      inode.rebind(open.bytes)
      this.#inodes.forget(ino)
    })
  }

  /** The inode is free in its chunk from now on. */
  #giveBack(agno: number, before: InobtRecord, agino: number): Soon<void> {
    const trees = this.#trees(agno)
    const now = withFree(before, agino)
    if (this.#geometry.chunksGo && isAllFree(now)) return this.#removeChunk(agno, trees, before)
    return after(trees.replace(before, now), () => this.#count(agno, 1))
  }

  /** Free inodes more, or less. */
  #count(agno: number, free: number): Soon<void> {
    return after(this.#volume.editAgi(agno), agi => {
      agi.agi_freecount += free
      return this.#volume.count({ ifree: free })
    })
  }

  /** The chunk of an inode that was the last one in use. */
  async #removeChunk(agno: number, trees: GroupInodes, before: InobtRecord): Promise<void> {
    const { geometry, superblock } = this.#volume
    const { ir_startino, ir_count, ir_freecount } = before
    await trees.remove(before)
    const agi = await this.#volume.editAgi(agno)
    this.#requireCounted(agno, agi.agi_count >= ir_count && agi.agi_freecount >= ir_freecount)
    agi.agi_count -= ir_count
    agi.agi_freecount -= ir_freecount
    await this.#volume.count({ icount: -ir_count, ifree: -ir_freecount })
    for (let agino = ir_startino; agino < ir_startino + CHUNK; agino++)
      this.#inodes.forget(geometry.inodeNumber(agno, agino))
    for (const { agbno, count } of blocksOf(before, superblock.sb_inopblock))
      await this.#space.free({ start: geometry.fsBlock(agno, agbno), count }, structureOwner(OWN.INODES))
  }

  /** Makes inodes in the group, a part of a chunk where there is no room for a whole one. */
  async #grow(agno: number, trees: GroupInodes): Promise<boolean> {
    const writer = { volume: this.#volume, inodes: this.#inodes }
    const make = async (sparse: boolean) => {
      if (sparse) await this.#maker.makeSparse(agno, trees)
      else await this.#maker.makeWhole(agno, trees)
      return true
    }
    const { blocks, sparse } = this.#geometry
    // What is certain not to fit is not tried: when groups are full, this is asked for every new inode.
    const { agf_longest } = await this.#volume.readAgf(agno)
    if (agf_longest >= blocks && (await attempt(writer, () => make(false)))) return true
    if (sparse === undefined || agf_longest < sparse) return false
    return (await attempt(writer, () => make(true))) ?? false
  }

  /** A free inode of a group that has some, in use from now on. */
  #use(agno: number, near: number | undefined, mode: number): Soon<Dinode> {
    return after(this.#nearestFree(agno, near), chunk => {
      const trees = this.#trees(agno)
      if (!trees.hasFreeTree) this.#found.set(agno, { near, chunk: chunk.ir_startino })
      const agino = firstFree(chunk)
      return after(trees.replace(chunk, withUsed(chunk, agino)), () =>
        after(this.#count(agno, -1), () => this.#init(this.#volume.geometry.inodeNumber(agno, agino), mode)),
      )
    })
  }

  #nearestFree(agno: number, near: number | undefined): Soon<InobtRecord> {
    return after(this.#volume.readAgi(agno), ({ agi_newino }) => {
      const found = this.#found.get(agno)
      const hints = {
        last: found?.near === near ? found?.chunk : undefined,
        newest: agi_newino === NULL_AGINO ? undefined : agi_newino,
      }
      return after(nearestFree(this.#trees(agno), near, hints), chunk => {
        if (chunk !== undefined && chunk.ir_freecount > 0) return chunk
        throw corrupt('inobt', `the AGI of allocation group ${agno} counts free inodes, and there are none`, {
          agno,
        })
      })
    })
  }

  #trees(agno: number): GroupInodes {
    const trees = this.#groups.get(agno) ?? new GroupInodes(this.#volume, this.#space, agno)
    this.#groups.set(agno, trees)
    return trees
  }

  #init(ino: number, mode: number): Soon<Dinode> {
    return after(this.#inodes.claim(ino), inode => {
      // The trees are wrong, or what remains of a file is: to go on would give its blocks to nobody (xfs_iget_check_free_state).
      if (inode.typeIfAny !== undefined || inode.di_mode !== 0 || inode.di_nblocks !== 0)
        throw corrupt('inobt', `inode ${ino} is said to be free, and a file is in it`, { inode: ino })
      initUsedInode(inode, mode, this.#now(), this.#volume.superblock)
      return inode
    })
  }

  #requireCounted(agno: number, enough: boolean): void {
    if (!enough)
      throw corrupt('AGI', `the AGI of allocation group ${agno} counts fewer inodes than its chunks have`, {
        agno,
      })
  }
}
