import { LruCache } from '../../bytes/lru-cache.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { CachedBlocks } from '../cached-blocks.ts'
import { AG_SECTOR } from './ag-header.ts'
import { type Agf, parseAgf } from './agf.ts'
import { parseAgfl } from './agfl.ts'
import { type Agi, parseAgi } from './agi.ts'
import { Btree, MOST_LEVELS } from './btree.ts'
import { type BtreeBlock, parseBtreeBlock } from './btree-block.ts'
import type { BtreeKind } from './btree-kinds.ts'
import { corrupt } from './errors.ts'
import { Geometry, type VolumeBlock } from './geometry.ts'
import type { Superblock } from './superblock.ts'

/** Bytes of directory blocks made of several filesystem blocks that are kept in memory. */
const JOINED_BYTES = 4 << 20

/** One filesystem's device, superblock and metadata in memory. */
export class XfsVolume {
  readonly device: BlockDevice
  readonly superblock: Superblock
  readonly geometry: Geometry
  readonly blocks: CachedBlocks
  /** Buffers whose checksum and structure were found right since they were read. */
  readonly #verified = new WeakSet<Uint8Array>()
  readonly #joined = new LruCache<string, Uint8Array>(JOINED_BYTES)

  constructor(device: BlockDevice, superblock: Superblock) {
    this.device = device
    this.superblock = superblock
    this.geometry = new Geometry(superblock)
    this.blocks = new CachedBlocks(device, superblock.sb_blocksize, superblock.sb_dblocks, {
      filesystem: 'xfs',
      checker: 'xfs_repair',
    })
  }

  /** Runs a check of a buffer once for as long as the buffer is in memory. */
  verifyOnce(bytes: Uint8Array, check: () => void): void {
    if (this.#verified.has(bytes)) return
    check()
    this.#verified.add(bytes)
  }

  /** One buffer of several filesystem blocks, which need not lie side by side. */
  async buffer(blocks: readonly VolumeBlock[]): Promise<Uint8Array> {
    const [only] = blocks
    if (only !== undefined && blocks.length === 1) return this.blocks.read(only)
    const key = blocks.join(' ')
    const held = this.#joined.get(key)
    if (held !== undefined) return held
    const { blockSize } = this.geometry
    const bytes = new Uint8Array(blocks.length * blockSize)
    for (const [index, block] of blocks.entries()) bytes.set(await this.blocks.read(block), index * blockSize)
    this.#joined.set(key, bytes, bytes.length)
    return bytes
  }

  async readAgf(agno: number): Promise<Agf> {
    return parseAgf(await this.#agSector(agno, AG_SECTOR.AGF), this.superblock, this.geometry, agno)
  }

  async readAgi(agno: number): Promise<Agi> {
    return parseAgi(await this.#agSector(agno, AG_SECTOR.AGI), this.superblock, this.geometry, agno)
  }

  /** The blocks in an allocation group's free list. */
  async readAgfl(agno: number, agf: Agf): Promise<number[]> {
    return parseAgfl(await this.#agSector(agno, AG_SECTOR.AGFL), this.superblock, agf, agno)
  }

  async #agSector(agno: number, number: number): Promise<Uint8Array> {
    const { sb_sectsize } = this.superblock
    const sector = new Uint8Array(sb_sectsize)
    await this.device.read(this.geometry.agByte(agno) + number * sb_sectsize, sector)
    return sector
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

  /** A checked block of a tree. */
  async btreeBlock<Record>(
    kind: BtreeKind<Record>,
    block: VolumeBlock,
    reference: { level: number; owner: number; isRoot: boolean },
  ): Promise<BtreeBlock<Record>> {
    const bytes = await this.blocks.read(block)
    const daddr = this.geometry.diskAddress(block)
    const verified = this.#verified.has(bytes)
    const parsed = parseBtreeBlock(kind, bytes, { ...reference, daddr }, this.superblock, verified)
    this.#verified.add(bytes)
    return parsed
  }
}
