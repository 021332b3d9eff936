import { agTree, type BtreeEditor, type Neighbours } from '../btree-edit.ts'
import { agiRoot } from '../btree-edit-store.ts'
import { finobtKind, type InobtRecord, inobtKind } from '../btree-kinds.ts'
import { corrupt } from '../errors.ts'
import { after, type Soon } from '../soon.ts'
import type { XfsVolume } from '../volume.ts'
import { OWN, type Space, structureOwner } from '../writer.ts'
import { checkRecord, covers, sameRecord } from './inode-record.ts'

type Tree = 'inobt' | 'finobt'

/**
 * The chunks of one allocation group: the tree of all, and (finobt) that of those with free inodes. Both always say the same of
 * a chunk. Counters of inodes are the caller's.
 */
export class GroupInodes {
  readonly #volume: XfsVolume
  readonly #space: Space
  readonly #agno: number
  readonly #all: BtreeEditor<InobtRecord>
  readonly #free: BtreeEditor<InobtRecord> | undefined

  constructor(volume: XfsVolume, space: Space, agno: number) {
    this.#volume = volume
    this.#space = space
    this.#agno = agno
    const { hasSparseInodes, hasFinobt } = volume.superblock
    this.#all = this.#tree('inobt', inobtKind(hasSparseInodes))
    this.#free = hasFinobt ? this.#tree('finobt', finobtKind(hasSparseInodes)) : undefined
  }

  /** Whether there is a tree of the chunks with free inodes. */
  get hasFreeTree(): boolean {
    return this.#free !== undefined
  }

  /** The last chunk that begins at this inode or before, and (with a tree of those) has free ones. */
  floor(agino: number): Soon<InobtRecord | undefined> {
    return this.#checked(this.#searched.floor(agino))
  }

  /** The first chunk that begins at this inode or behind, and (with a tree of those) has free ones. */
  ceiling(agino: number): Soon<InobtRecord | undefined> {
    return this.#checked(this.#searched.ceiling(agino))
  }

  /** As `floor` has it, and where that does not have the inode, the chunk behind. */
  around(agino: number): Soon<Neighbours<InobtRecord>> {
    return after(this.#searched.around(agino), ({ floor, next }) => {
      const before = floor && this.#check(floor)
      if (before !== undefined && covers(before, agino)) return { floor: before, next: undefined }
      return { floor: before, next: next && this.#check(next) }
    })
  }

  /** The chunk that begins at this inode, if it has free ones (or there is no tree of those). */
  starting(agino: number): Soon<InobtRecord | undefined> {
    return this.#checked(this.#searched.find(agino))
  }

  /** Chunks in order. */
  async *chunks(): AsyncIterable<InobtRecord> {
    for await (const record of this.#searched.records()) yield this.#check(record)
  }

  /** The chunk that begins at this inode or before, with free ones or without. */
  chunkOf(agino: number): Soon<InobtRecord | undefined> {
    return this.#checked(this.#all.floor(agino))
  }

  /** A chunk that is new. `ERR_CORRUPT` when there is one at its place. */
  async insert(record: InobtRecord): Promise<void> {
    await this.#all.insert(record)
    await this.#free?.insert(record)
  }

  /** What has become of a chunk that another method gave. */
  replace(before: InobtRecord, now: InobtRecord): Soon<void> {
    const { ir_startino } = before
    const inAll = this.#all.replace(ir_startino, now, found => this.#requireSame(this.#all, found, before))
    return after(inAll, () => {
      const free = this.#free
      if (free === undefined) return
      if (before.ir_freecount === 0) return free.insert(now)
      if (now.ir_freecount > 0)
        return free.replace(ir_startino, now, found => this.#requireSame(free, found, before))
      return after(free.remove(ir_startino), found => this.#requireSame(free, found, before))
    })
  }

  /** A chunk that another method gave is no more. */
  async remove(before: InobtRecord): Promise<void> {
    this.#requireSame(this.#all, await this.#all.remove(before.ir_startino), before)
    if (this.#free !== undefined && before.ir_freecount > 0)
      this.#requireSame(this.#free, await this.#free.remove(before.ir_startino), before)
  }

  get #searched(): BtreeEditor<InobtRecord> {
    return this.#free ?? this.#all
  }

  /** Each tree is held against the other when it is changed: what one of them has wrong would cost files. */
  #requireSame(tree: BtreeEditor<InobtRecord>, found: InobtRecord, record: InobtRecord): void {
    if (sameRecord(found, record)) return
    const { name } = tree.store.kind
    throw corrupt(
      name,
      `the ${name} of allocation group ${this.#agno} has another record of the inodes from ${record.ir_startino} than the other tree`,
      { agno: this.#agno },
    )
  }

  #checked(record: Soon<InobtRecord | undefined>): Soon<InobtRecord | undefined> {
    return after(record, found => found && this.#check(found))
  }

  #check(record: InobtRecord): InobtRecord {
    const { geometry, superblock } = this.#volume
    const inodesPerBlock = superblock.sb_inopblock
    return checkRecord(record, this.#searched.store.kind.name, {
      agno: this.#agno,
      inodes: geometry.agLength(this.#agno) * inodesPerBlock,
      inodesPerBlock,
    })
  }

  #tree(tree: Tree, kind: ReturnType<typeof inobtKind>): BtreeEditor<InobtRecord> {
    const [volume, space, agno] = [this.#volume, this.#space, this.#agno]
    const { geometry } = volume
    const owner = structureOwner(OWN.INOBT)
    const count = async (change: number) => {
      if (!volume.superblock.hasInobtCounts) return
      const agi = await volume.editAgi(agno)
      if (tree === 'inobt') agi.agi_iblocks += change
      else agi.agi_fblocks += change
    }
    return agTree(volume, kind, agno, agiRoot(volume, agno, tree), {
      async allocateBlock(near) {
        const { start } = await space.allocate({
          goal: geometry.fsBlock(agno, near),
          wanted: 1,
          sameGroup: true,
          // Linux keeps space back for the finobt alone (xfs_finobt_calc_reserves).
          fromReserve: tree === 'finobt',
          owner,
        })
        await count(1)
        return geometry.agBlockOf(start)
      },
      async freeBlock(pointer) {
        await space.free({ start: geometry.fsBlock(agno, pointer), count: 1 }, owner)
        await count(-1)
      },
    })
  }
}
