import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { AG_SECTOR } from './ag-header.ts'
import { AGF_CRC_OFFSET, Agf, checkAgf } from './agf.ts'
import { AGFL_CRC_OFFSET, agflBlocks, checkAgfl } from './agfl.ts'
import { AGI_CRC_OFFSET, Agi, checkAgi } from './agi.ts'
import { Btree, MOST_LEVELS } from './btree.ts'
import { type BtreeBlock, parseBtreeBlock } from './btree-block.ts'
import type { BtreeKind } from './btree-kinds.ts'
import { Buffers } from './buffers.ts'
import { corrupt } from './errors.ts'
import { Geometry, type VolumeBlock } from './geometry.ts'
import { after, type Soon } from './soon.ts'
import { SB_COUNTERS, SB_CRC_OFFSET, type Superblock } from './superblock.ts'

/** The superblock's counters. With lazy counters they lag behind the groups' while the filesystem is mounted. */
export interface Counters {
  /** sb_icount: inodes in chunks, used or not. */
  readonly icount: number
  /** sb_ifree */
  readonly ifree: number
  /** sb_fdblocks: free blocks, those of free lists and free-space trees (with lazy counters) among them. */
  readonly fdblocks: number
}

/** Where a sector of a header is: the block, and its bytes there. */
interface SectorPlace {
  readonly block: VolumeBlock
  readonly at: number
  readonly length: number
}

/** A block of a tree in its buffer. That its kind is the same makes its records those of that kind. */
interface KnownTreeBlock {
  readonly kind: object
  readonly owner: number
  readonly block: { readonly level: number; readonly count: number }
}

/** The smallest structure that is checked on its own is an inode of 256 bytes. */
const CHECKED_BYTES = 256
const ALL_CHECKS = 0xff

function checkBit(at: number): number {
  return 1 << (at % CHECKED_BYTES)
}

/** One filesystem's device, superblock and metadata in memory. */
export class XfsVolume {
  readonly device: BlockDevice
  readonly superblock: Superblock
  readonly geometry: Geometry
  readonly buffers: Buffers
  /** Where in buffers something was found right since they were read: a byte for each `CHECKED_BYTES`, a bit for each of its checks. */
  readonly #verified = new WeakMap<Uint8Array, Uint8Array>()
  /** What was found right in a buffer, and is changed in it: headers, of which a buffer has those of one group, and blocks of trees. */
  readonly #agfs = new WeakMap<Uint8Array, Agf>()
  readonly #agis = new WeakMap<Uint8Array, Agi>()
  readonly #trees = new WeakMap<Uint8Array, KnownTreeBlock>()
  /** Views of other sectors in a buffer, by where they are. */
  readonly #sectors = new WeakMap<Uint8Array, Map<number, ByteView>>()

  constructor(device: BlockDevice, superblock: Superblock) {
    this.device = device
    this.superblock = superblock
    this.geometry = new Geometry(superblock)
    const { sb_blocksize, sb_dblocks, isV5 } = superblock
    this.buffers = new Buffers(device, sb_blocksize, sb_dblocks, isV5)
  }

  /**
   * Runs a check of a buffer, or of what is at one place in it, once for as long as the buffer is in memory.
   * @param at where it is, a multiple of 256, and added to that which of at most eight checks of it.
   */
  verifyOnce(buffer: Uint8Array, check: () => void, at = 0): void {
    const done = this.#verified.get(buffer)
    if (done !== undefined && ((done[Math.floor(at / CHECKED_BYTES)] ?? 0) & checkBit(at)) !== 0) return
    check()
    this.trust(buffer, at)
  }

  /** A buffer that was made here needs no check: its checksum is not even stored before it is written. */
  trust(buffer: Uint8Array, at = 0): void {
    this.#trust(buffer, at, checkBit(at))
  }

  /** What is at a place needs none of the checks. @param at where it is, a multiple of 256. */
  trustWhole(buffer: Uint8Array, at: number): void {
    this.#trust(buffer, at, ALL_CHECKS)
  }

  #trust(buffer: Uint8Array, at: number, checks: number): void {
    const place = Math.floor(at / CHECKED_BYTES)
    const known = this.#verified.get(buffer)
    const done = known ?? new Uint8Array(Math.ceil(buffer.length / CHECKED_BYTES))
    done[place] = (done[place] ?? 0) | checks
    if (known === undefined) this.#verified.set(buffer, done)
  }

  /** One buffer of several filesystem blocks, which need not lie side by side. */
  async buffer(blocks: readonly VolumeBlock[]): Promise<Uint8Array> {
    return this.buffers.readJoined(blocks)
  }

  /** The superblock's counters as they are now. */
  counters(): Soon<Counters> {
    return after(this.readSuperblock(), countersIn)
  }

  /** The primary superblock's sector as it is now, not to be changed. What `superblock` says stays as it was at open. */
  readSuperblock(): Soon<ByteView> {
    const place = this.#sectorPlace(0, AG_SECTOR.SUPERBLOCK)
    const held = this.buffers.held(place.block)
    return after(held ?? this.buffers.read(place.block), buffer => this.#sectorView(buffer, place))
  }

  /** Adds to the superblock's counters, or takes from them. */
  count(change: Partial<Counters>): Soon<void> {
    return after(this.editSuperblock(), view => addTo(view, change))
  }

  /** The same, to be changed until the transaction ends. */
  editSuperblock(): Soon<ByteView> {
    const place = this.#sectorPlace(0, AG_SECTOR.SUPERBLOCK)
    return after(this.#editBuffer(place, SB_CRC_OFFSET), buffer => this.#sectorView(buffer, place))
  }

  /** As `readAgf`, where it is in memory. */
  heldAgf(agno: number): Agf | undefined {
    const buffer = this.buffers.held(this.#sectorPlace(agno, AG_SECTOR.AGF).block)
    return buffer && this.#agfs.get(buffer)
  }

  readAgf(agno: number): Soon<Agf> {
    return this.heldAgf(agno) ?? this.#readAgf(agno)
  }

  /** Its fields may be set, until the transaction ends. */
  editAgf(agno: number): Soon<Agf> {
    return after(this.readAgf(agno), () =>
      after(
        this.#editBuffer(this.#sectorPlace(agno, AG_SECTOR.AGF), AGF_CRC_OFFSET),
        buffer => this.#agfs.get(buffer) ?? this.readAgf(agno),
      ),
    )
  }

  /** As `readAgi`, where it is in memory. */
  heldAgi(agno: number): Agi | undefined {
    const buffer = this.buffers.held(this.#sectorPlace(agno, AG_SECTOR.AGI).block)
    return buffer && this.#agis.get(buffer)
  }

  readAgi(agno: number): Soon<Agi> {
    return this.heldAgi(agno) ?? this.#readAgi(agno)
  }

  /** Its fields may be set, until the transaction ends. */
  editAgi(agno: number): Soon<Agi> {
    return after(this.readAgi(agno), () =>
      after(
        this.#editBuffer(this.#sectorPlace(agno, AG_SECTOR.AGI), AGI_CRC_OFFSET),
        buffer => this.#agis.get(buffer) ?? this.readAgi(agno),
      ),
    )
  }

  /** The blocks in an allocation group's free list. */
  readAgfl(agno: number, agf: Agf): Soon<number[]> {
    const place = this.#sectorPlace(agno, AG_SECTOR.AGFL)
    return after(this.buffers.held(place.block) ?? this.buffers.read(place.block), buffer => {
      const view = this.#sectorView(buffer, place)
      this.verifyOnce(buffer, () => checkAgfl(view.bytes, this.superblock, agno), place.at)
      return agflBlocks(view, this.superblock, agf, agno)
    })
  }

  /** The sector of the free list, to be changed until the transaction ends. */
  async editAgfl(agno: number, agf: Agf): Promise<ByteView> {
    await this.readAgfl(agno, agf)
    const place = this.#sectorPlace(agno, AG_SECTOR.AGFL)
    return this.#sectorView(await this.#editBuffer(place, AGFL_CRC_OFFSET), place)
  }

  async #readAgf(agno: number): Promise<Agf> {
    const { block, at, length } = this.#sectorPlace(agno, AG_SECTOR.AGF)
    const buffer = await this.buffers.read(block)
    const sector = buffer.subarray(at, at + length)
    checkAgf(sector, this.superblock, this.geometry, agno)
    const agf = new Agf(sector, this.superblock)
    this.#agfs.set(buffer, agf)
    return agf
  }

  async #readAgi(agno: number): Promise<Agi> {
    const { block, at, length } = this.#sectorPlace(agno, AG_SECTOR.AGI)
    const buffer = await this.buffers.read(block)
    const sector = buffer.subarray(at, at + length)
    checkAgi(sector, this.superblock, this.geometry, agno)
    const agi = new Agi(sector, this.superblock)
    this.#agis.set(buffer, agi)
    return agi
  }

  #editBuffer({ block, at, length }: SectorPlace, crcAt: number): Soon<Uint8Array> {
    const seal = { at, length, crcAt }
    return this.buffers.editHeld(block, seal) ?? this.buffers.edit([block], seal)
  }

  /** Views of sectors are kept, for the superblock's counters and free lists change with every file. */
  #sectorView(buffer: Uint8Array, { at, length }: SectorPlace): ByteView {
    const sectors = this.#sectors.get(buffer)
    const known = sectors?.get(at)
    if (known !== undefined) return known
    const view = bigEndian(buffer.subarray(at, at + length), 'xfs header of an allocation group')
    if (sectors === undefined) this.#sectors.set(buffer, new Map([[at, view]]))
    else sectors.set(at, view)
    return view
  }

  #sectorPlace(agno: number, number: number): SectorPlace {
    const { sb_sectsize, sb_blocksize } = this.superblock
    const byte = number * sb_sectsize
    const agbno = Math.floor(byte / sb_blocksize)
    return { block: this.geometry.inAg(agno, agbno), at: byte % sb_blocksize, length: sb_sectsize }
  }

  /**
   * A tree of an allocation group.
   * @param levels as its header counts them: one for a root that is a leaf.
   */
  agBtree<Record>(kind: BtreeKind<Record>, agno: number, root: number, levels: number): Btree<Record> {
    const read = (pointer: number, level: number) =>
      this.btreeBlock(kind, this.geometry.inAg(agno, pointer), {
        level,
        owner: agno,
        isRoot: level === levels - 1,
      })
    return new Btree(
      kind,
      async () => {
        if (levels < 1 || levels > MOST_LEVELS)
          throw corrupt(
            kind.name,
            `the ${kind.name} of allocation group ${agno} has ${levels} levels, expected 1 to ${MOST_LEVELS}`,
            { agno },
          )
        return read(root, levels - 1)
      },
      read,
    )
  }

  /** As `btreeBlock`, where it was checked before and is in memory, and is what refers to it says. */
  heldBtreeBlock<Record>(
    kind: BtreeKind<Record>,
    block: VolumeBlock,
    { level, owner, isRoot }: { level: number; owner: number; isRoot: boolean },
  ): BtreeBlock<Record> | undefined {
    const bytes = this.buffers.held(block)
    const known = bytes && this.#trees.get(bytes)
    if (known?.kind !== kind || known.owner !== owner || known.block.level !== level) return undefined
    return known.block.count > 0 || (isRoot && level === 0) ? (known.block as BtreeBlock<Record>) : undefined
  }

  /** A checked block of a tree. */
  async btreeBlock<Record>(
    kind: BtreeKind<Record>,
    block: VolumeBlock,
    reference: { level: number; owner: number; isRoot: boolean },
  ): Promise<BtreeBlock<Record>> {
    const held = this.heldBtreeBlock(kind, block, reference)
    if (held !== undefined) return held
    // What does not agree with the reference is parsed again, for the words of the error.
    const bytes = await this.buffers.read(block)
    const { owner } = reference
    const daddr = this.geometry.diskAddress(block)
    const verified = ((this.#verified.get(bytes)?.[0] ?? 0) & checkBit(0)) !== 0
    const parsed = parseBtreeBlock(kind, bytes, { ...reference, daddr }, this.superblock, verified)
    if (!verified) this.trust(bytes)
    this.#trees.set(bytes, { kind, owner, block: parsed })
    return parsed
  }
}

function countersIn(view: ByteView): Counters {
  return {
    icount: view.u64(SB_COUNTERS.icount),
    ifree: view.u64(SB_COUNTERS.ifree),
    fdblocks: view.u64(SB_COUNTERS.fdblocks),
  }
}

function addTo(superblock: ByteView, { icount, ifree, fdblocks }: Partial<Counters>): void {
  if (icount !== undefined) addToOne(superblock, 'icount', icount)
  if (ifree !== undefined) addToOne(superblock, 'ifree', ifree)
  if (fdblocks !== undefined) addToOne(superblock, 'fdblocks', fdblocks)
}

function addToOne(superblock: ByteView, name: keyof Counters, by: number): void {
  const now = superblock.u64(SB_COUNTERS[name])
  if (now + by < 0) throw corrupt('superblock', `sb_${name} is ${now}, and ${-by} are to be taken from it`)
  superblock.setU64(SB_COUNTERS[name], now + by)
}
