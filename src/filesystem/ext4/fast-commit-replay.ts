import { RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import { initMapping, mapBlocks, unmapRange } from './block-mapping.ts'
import type { BlockAllocator, BlockRun, Ext4Context } from './context.ts'
import { findEntry, insertName, removeEntry, requireName } from './directory.ts'
import { initialiseBlockDirectory } from './directory-linear.ts'
import { insertExtent } from './extent-edit.ts'
import { LOGICAL_END } from './extent-node.ts'
import type { FastCommitRecord } from './fast-commit-records.ts'
import { GOOD_OLD_INODE_SIZE, INODE_FLAG, Inode } from './inode.ts'
import { addSubdirectory, dropSubdirectory } from './link-count.ts'
import { typeOfInode } from './namespace.ts'
import { destroyInode } from './new-inode.ts'
import type { Ext4Volume } from './volume.ts'

type RangeRecord = Extract<FastCommitRecord, { readonly kind: 'add-range' }>
type NameRecord = Extract<FastCommitRecord, { readonly parent: InodeNumber }>

/** Byte range of i_block in an inode. */
const I_BLOCK = { start: 0x28, end: 0x64 } as const

/**
 * Applies fast commits to a filesystem whose journal was replayed, with the meaning that fs/ext4/fast_commit.c gives them:
 * the changes since the last full transaction, inode by inode and name by name. Changes to what does not exist are passed
 * by, as they are there.
 *
 * The records tell where a file's blocks are, but neither what becomes of the bitmaps nor in which order files gave
 * blocks to each other. So all blocks that the records hand out are held back from every other use until the end, when
 * those that no file ended up with are freed.
 */
export async function replayFastCommits(
  volume: Ext4Volume,
  records: readonly FastCommitRecord[],
): Promise<void> {
  const replay = new FastCommitReplay(volume, records)
  await replay.run(records)
}

class FastCommitReplay {
  readonly #volume: Ext4Volume
  readonly #ctx: Ext4Context
  /** All blocks that the records hand out. */
  readonly #planned = new RangeSet()
  /** Those of them that were marked used for that reason. */
  readonly #held = new RangeSet()
  /** Those of them that were put into a file. */
  readonly #given = new RangeSet()
  /** Inodes with ranges of their own. */
  readonly #mapped = new Set<InodeNumber>()
  /** Inodes that were made or changed, and so may be left without a name. */
  readonly #touched = new Set<InodeNumber>()

  constructor(volume: Ext4Volume, records: readonly FastCommitRecord[]) {
    this.#volume = volume
    for (const record of records)
      if (record.kind === 'add-range') this.#planned.add(record.block, record.block + record.count)
    const { allocator } = volume
    const holding: BlockAllocator = {
      allocate: (goal, wanted) => allocator.allocate(goal, wanted),
      free: async run => {
        await allocator.free(run)
        await this.#hold(run)
      },
      requireFileBlocks: run => allocator.requireFileBlocks(run),
      goalFor: inode => allocator.goalFor(inode),
      get freeBlocks() {
        return allocator.freeBlocks
      },
    }
    this.#ctx = {
      device: volume.device,
      writable: volume.writable,
      superblock: volume.superblock,
      geometry: volume.geometry,
      blockSize: volume.blockSize,
      metadataChecksums: volume.metadataChecksums,
      checksumSeed: volume.checksumSeed,
      blocks: volume.blocks,
      inodes: volume.inodes,
      allocator: holding,
      now: volume.now,
    }
  }

  async run(records: readonly FastCommitRecord[]): Promise<void> {
    for (const { start, end } of [...this.#planned.ranges(0, Number.MAX_SAFE_INTEGER)])
      await this.#claim({ block: start, count: end - start })
    for (const record of records) {
      if (record.kind === 'inode') await this.#inode(record.ino, record.raw)
      else if (record.kind === 'add-range') await this.#addRange(record)
      else if (record.kind === 'delete-range') {
        const inode = await this.#fileOf(record.ino)
        if (inode !== undefined)
          await unmapRange(
            this.#ctx,
            inode,
            record.logical,
            Math.min(record.logical + record.count, LOGICAL_END),
          )
      } else if (record.kind === 'unlink') await this.#unlink(record)
      else await this.#link(record)
    }
    await this.#destroyNameless()
    await this.#releaseUnused()
  }

  async #claim(run: BlockRun): Promise<void> {
    for (const { block, count } of await this.#volume.claimBlocks(run)) this.#held.add(block, block + count)
  }

  /** Blocks that were freed just now but are handed out by some record are marked used again. */
  async #hold(run: BlockRun): Promise<void> {
    for (const { start, end } of [...this.#planned.ranges(run.block, run.block + run.count)])
      await this.#claim({ block: start, count: end - start })
  }

  /** The inode of a record; `undefined` when there is none, which means nothing is to be done. */
  async #existing(ino: InodeNumber): Promise<Inode | undefined> {
    try {
      return await this.#volume.inodes.read(ino)
    } catch (error) {
      if (isDrydiskError(error, 'ERR_CORRUPT')) return undefined
      throw error
    }
  }

  /** An inode whose extents a record changes. */
  async #fileOf(ino: InodeNumber): Promise<Inode | undefined> {
    const inode = await this.#existing(ino)
    if (inode === undefined) return undefined
    if (!inode.hasFlag(INODE_FLAG.EXTENTS))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `ext4: a fast commit changes the blocks of inode ${ino}, which has no extents; mount the filesystem once with the kernel that made it`,
        { feature: 'fast_commit', inode: ino },
      )
    this.#touched.add(ino)
    this.#mapped.add(ino)
    return inode
  }

  async #inode(ino: InodeNumber, raw: Uint8Array): Promise<void> {
    const size = this.#volume.geometry.inodeSize
    const logged = new Inode(
      ino,
      padded(raw, size),
      this.#ctx.blockSize,
      this.#ctx.superblock.has('huge_file'),
    )
    const extra = logged.extraIsize
    if (GOOD_OLD_INODE_SIZE + extra > size || extra % 4 !== 0 || logged.type === undefined)
      throw this.#corrupt(`the inode ${ino} of a fast commit is damaged`, ino)
    const made = await this.#volume.claimInode(ino, logged.mode)
    const inode = made ?? (await this.#volume.inodeStore.readAny(ino))
    if (made === undefined && inode.isDirectory !== logged.isDirectory)
      throw this.#corrupt(`a fast commit makes inode ${ino} another type of file while it is in use`, ino)
    const { sectors, fileAcl } = inode
    const bytes = raw.subarray(0, Math.min(raw.length, GOOD_OLD_INODE_SIZE + extra))
    inode.bytes.set(bytes.subarray(0, I_BLOCK.start))
    inode.bytes.set(bytes.subarray(I_BLOCK.end), I_BLOCK.end)
    // How many blocks there are depends on the extent tree's shape here, not on what it was there.
    inode.sectors = sectors
    inode.fileAcl = fileAcl
    if (inode.hasFlag(INODE_FLAG.EXTENTS)) {
      if (inode.iBlock[0] !== 0x0a || inode.iBlock[1] !== 0xf3) {
        inode.iBlock.fill(0)
        initMapping(this.#ctx, inode)
      }
    } else if (inode.type !== 'file' || inode.hasFlag(INODE_FLAG.INLINE_DATA))
      inode.iBlock.set(raw.subarray(I_BLOCK.start, I_BLOCK.end))
    this.#touched.add(ino)
    this.#volume.inodes.markDirty(inode)
  }

  async #addRange(record: RangeRecord): Promise<void> {
    const { ino, logical, block, count, unwritten } = record
    const inode = await this.#fileOf(ino)
    if (inode === undefined) return
    if (count === 0 || logical + count > LOGICAL_END)
      throw this.#corrupt(`a fast commit maps ${count} blocks from ${logical} of inode ${ino}`, ino)
    for (let at = logical; at < logical + count; ) {
      const run = await mapBlocks(this.#ctx, inode, at)
      const length = Math.min(run.count, logical + count - at)
      const target = block + (at - logical)
      const kind = unwritten ? 'unwritten' : 'data'
      if (run.kind !== kind || run.block !== target) {
        if (run.kind !== 'hole') {
          // Where only the state changes the block stays the file's: it is planned, so freeing it holds it back.
          await unmapRange(this.#ctx, inode, at, at + length)
        }
        await insertExtent(this.#ctx, inode, { logical: at, count: length, block: target, unwritten })
        this.#given.add(target, target + length)
        inode.addBlocks(length)
        this.#volume.inodes.markDirty(inode)
      }
      at += length
    }
  }

  async #link({ kind, parent, ino, name }: NameRecord): Promise<void> {
    const inode = kind === 'create' ? await this.#volume.inodeStore.readAny(ino) : await this.#existing(ino)
    const directory = await this.#directory(parent)
    if (inode === undefined || directory === undefined) return
    requireName(name)
    const type = typeOfInode(inode)
    const place = await findEntry(this.#ctx, directory, name)
    if (place !== undefined && place.ino !== ino)
      throw this.#corrupt(`a fast commit gives inode ${ino} a name that inode ${place.ino} has`, ino)
    if (type === 'directory') {
      if (kind === 'link') throw this.#corrupt(`a fast commit links directory ${ino} once more`, ino)
      if (place !== undefined) return
      inode.size = 0
      initMapping(this.#ctx, inode)
      inode.setFlag(INODE_FLAG.INDEX | INODE_FLAG.INLINE_DATA, false)
      await initialiseBlockDirectory(this.#ctx, inode, parent)
      inode.linksCount = 2
      addSubdirectory(this.#ctx, directory)
    } else if (kind === 'create') inode.linksCount = 1
    else if (place === undefined) inode.linksCount++
    if (place === undefined) await insertName(this.#ctx, directory, name, ino, type)
    this.#touched.add(ino)
    this.#volume.inodes.markDirty(inode)
    this.#touch(directory, inode)
  }

  async #unlink({ parent, ino, name }: NameRecord): Promise<void> {
    const inode = await this.#existing(ino)
    const directory = await this.#directory(parent)
    if (inode === undefined || directory === undefined) return
    const place = await findEntry(this.#ctx, directory, name)
    if (place?.ino !== ino) return
    await removeEntry(this.#ctx, directory, place)
    this.#touch(directory, inode)
    if (inode.isDirectory) {
      inode.linksCount = 0
      dropSubdirectory(this.#ctx, directory)
    } else inode.linksCount--
    this.#volume.inodes.markDirty(inode)
    this.#touched.add(ino)
    // At once, for a later record may use the number again.
    if (inode.linksCount === 0) await this.#destroy(inode)
  }

  async #directory(ino: InodeNumber): Promise<Inode | undefined> {
    const inode = await this.#existing(ino)
    return inode?.isDirectory === true ? inode : undefined
  }

  /** Directories are not in the records: the time of the change is that of the inode whose name it was. */
  #touch(directory: Inode, inode: Inode): void {
    if (inode.ctime > directory.mtime) directory.mtime = inode.ctime
    if (inode.ctime > directory.ctime) directory.ctime = inode.ctime
    this.#volume.inodes.markDirty(directory)
  }

  async #destroy(inode: Inode): Promise<void> {
    this.#mapped.delete(inode.ino)
    this.#touched.delete(inode.ino)
    await destroyInode(this.#ctx, inode)
  }

  /** What was open without a name when the power failed is gone. */
  async #destroyNameless(): Promise<void> {
    for (const ino of [...this.#touched]) {
      const inode = await this.#volume.inodeStore.readAny(ino)
      if (inode.linksCount === 0) await this.#destroy(inode)
    }
  }

  /** Frees what was held back and is no file's, and checks that what files have was theirs to have. */
  async #releaseUnused(): Promise<void> {
    const used = new RangeSet()
    for (const ino of this.#mapped) {
      const inode = await this.#volume.inodes.read(ino)
      for (let at = 0; at < LOGICAL_END; ) {
        const run = await mapBlocks(this.#ctx, inode, at)
        if (run.kind !== 'hole') {
          for (const { start, end } of this.#planned.ranges(run.block, run.block + run.count)) {
            if (used.intersects(start, end))
              throw this.#corrupt(`fast commits give blocks ${start} to ${end - 1} to two files`, ino)
            used.add(start, end)
            for (const given of this.#given.ranges(start, end))
              if (!this.#held.covers(given.start, given.end))
                throw this.#corrupt(
                  `a fast commit gives inode ${ino} blocks ${given.start} to ${given.end - 1}, which are in use`,
                  ino,
                )
          }
        }
        at = run.logical + run.count
      }
    }
    for (const { start, end } of [...this.#held.ranges(0, Number.MAX_SAFE_INTEGER)]) {
      let at = start
      for (const keep of [...used.ranges(start, end), { start: end, end }]) {
        if (keep.start > at) await this.#volume.allocator.free({ block: at, count: keep.start - at })
        at = keep.end
      }
    }
  }

  #corrupt(what: string, ino: InodeNumber): DrydiskError {
    return new DrydiskError('ERR_CORRUPT', `ext4: ${what}; run e2fsck on a copy`, {
      structure: 'fast commit',
      inode: ino,
    })
  }
}

function padded(bytes: Uint8Array, size: number): Uint8Array {
  const whole = new Uint8Array(size)
  whole.set(bytes.subarray(0, size))
  return whole
}
