import type { RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import { testBit } from './bitmap.ts'
import { mapOne } from './block-mapping.ts'
import type { BlockNumber, ChecksumContext } from './context.ts'
import { directoryBlocks, isIndexBlock, isIndexed, leafArea, sealLeaf } from './directory-block.ts'
import { ExtentNode } from './extent-node.ts'
import { checkNode, rootNode } from './extent-tree.ts'
import { GROUP_FLAG } from './group-descriptor.ts'
import { IndexNode } from './htree-node.ts'
import { INODE_FLAG, Inode } from './inode.ts'
import { inodeChecksumIsRight, updateInodeChecksum } from './inode-checksum.ts'
import { inodeSeed } from './inode-seed.ts'
import { readOrphanBlock, sealOrphanBlock } from './orphans.ts'
import { systemBlocks } from './system-blocks.ts'
import type { Ext4Volume } from './volume.ts'
import { readXattrBlock, sealXattrBlock } from './xattr-block.ts'

/** Blocks of an inode table read in one piece. */
const READ_AHEAD = 64
/** Bytes of changed metadata that make it worth writing between two inodes. */
const WRITE_OUT_BYTES = 16 << 20

/**
 * Gives the inodes and all that hangs on them (extent nodes, blocks of directories, htree nodes, attribute blocks, the orphan
 * file) checksums that start from another seed. Each structure is verified with the old seed first, so damage is `ERR_CORRUPT`
 * and never covered up. Group descriptors, bitmaps and the superblock are not touched.
 */
export async function resealInodes(volume: Ext4Volume, seed: number): Promise<void> {
  const { superblock, geometry, descriptors } = volume
  const system = await systemBlocks(superblock, geometry, descriptors)
  const resealer = new Resealer(volume, seed, system)
  for (let group = 0; group < geometry.groups; group++) await resealer.group(group)
}

class Resealer {
  readonly #volume: Ext4Volume
  readonly #next: ChecksumContext & { readonly blockSize: number }
  readonly #system: RangeSet
  /** Every block is one structure's: with the old seed it verifies but once. */
  readonly #seen = new Set<BlockNumber>()
  /** Inodes may share these. */
  readonly #attributes = new Set<BlockNumber>()

  constructor(volume: Ext4Volume, seed: number, system: RangeSet) {
    this.#volume = volume
    this.#next = { metadataChecksums: true, checksumSeed: seed, blockSize: volume.blockSize }
    this.#system = system
  }

  async group(group: number): Promise<void> {
    const { descriptors, geometry, blocks, blockSize } = this.#volume
    const descriptor = await descriptors.read(group)
    if (descriptor.hasFlag(GROUP_FLAG.INODE_UNINIT)) return
    const { inodesPerGroup, inodeSize } = geometry
    const used = Math.max(0, inodesPerGroup - descriptor.bg_itable_unused)
    const table = descriptor.bg_inode_table
    const bitmap = (await blocks.read(descriptor.bg_inode_bitmap)).slice()
    const perBlock = blockSize / inodeSize
    const count = Math.ceil(used / perBlock)
    for (let index = 0; index < count; index++) {
      if (index % READ_AHEAD === 0)
        await blocks.prefetch({ block: table + index, count: Math.min(READ_AHEAD, count - index) })
      const first = index * perBlock
      const inUse = (slot: number) => testBit(bitmap, first + slot)
      const inodes = Math.min(perBlock, inodesPerGroup - first)
      await this.#tableBlock(table + index, group * inodesPerGroup + first + 1, inodes, inUse)
      if (blocks.changedBytes > WRITE_OUT_BYTES) await blocks.flush()
    }
  }

  async #tableBlock(
    block: BlockNumber,
    first: InodeNumber,
    count: number,
    inUse: (slot: number) => boolean,
  ): Promise<void> {
    const { blocks, checksumSeed } = this.#volume
    const bytes = await blocks.read(block)
    const right: number[] = []
    for (let slot = 0; slot < count; slot++) {
      const inode = this.#inode(bytes, first, slot)
      // mke2fs leaves reserved inodes that mean nothing as zeros, without a checksum.
      if (inode.bytes.every(byte => byte === 0)) continue
      if (inodeChecksumIsRight(checksumSeed, inode)) right.push(slot)
      else if (inUse(slot)) throw corrupt(inode.ino, 'its checksum is wrong')
      else continue
      if (inUse(slot)) await this.#belongings(inode)
    }
    if (right.length === 0) return
    const changed = await blocks.edit(block)
    for (const slot of right) updateInodeChecksum(this.#next.checksumSeed, this.#inode(changed, first, slot))
  }

  #inode(bytes: Uint8Array, first: InodeNumber, slot: number): Inode {
    const { inodeSize } = this.#volume.geometry
    const window = bytes.subarray(slot * inodeSize, (slot + 1) * inodeSize)
    return new Inode(first + slot, window, this.#volume.blockSize, this.#volume.superblock.has('huge_file'))
  }

  /** Blocks before the nodes that lead to them: those verify with the old seed for as long as they are read. */
  async #belongings(inode: Inode): Promise<void> {
    const { superblock } = this.#volume
    if (inode.fileAcl !== 0) await this.#attributeBlock(inode)
    if (inode.hasFlag(INODE_FLAG.INLINE_DATA)) return
    if (inode.isDirectory) await this.#directory(inode)
    if (superblock.has('orphan_file') && inode.ino === superblock.s_orphan_file_inum)
      await this.#orphanFile(inode)
    if (inode.hasFlag(INODE_FLAG.EXTENTS)) await this.#children(inode, rootNode(this.#volume, inode))
  }

  async #attributeBlock(inode: Inode): Promise<void> {
    const { superblock, blocks } = this.#volume
    // As the kernel, which does not look at the upper half without 64-bit block numbers.
    const block = superblock.has('64bit') ? inode.fileAcl : inode.fileAcl % 2 ** 32
    if (block === 0 || this.#attributes.has(block)) return
    this.#claim(inode, block)
    this.#attributes.add(block)
    await readXattrBlock(this.#volume, inode)
    sealXattrBlock(this.#next, block, await blocks.edit(block))
  }

  async #directory(inode: Inode): Promise<void> {
    const volume = this.#volume
    for await (const { logical, block } of directoryBlocks(volume, inode)) {
      this.#claim(inode, block)
      const bytes = await volume.blocks.read(block)
      if (isIndexed(volume, inode) && isIndexBlock(volume, logical, bytes)) {
        const position = { directory: inode, logical }
        if (logical === 0) IndexNode.root(volume, inode, bytes)
        else IndexNode.inner(volume, position, bytes)
        const changed = await volume.blocks.edit(block)
        const node =
          logical === 0
            ? IndexNode.root(volume, inode, changed).node
            : IndexNode.inner(volume, position, changed)
        node.seal(this.#next, inode)
      } else {
        leafArea(volume, inode, logical, bytes)
        sealLeaf(this.#next, inode, await volume.blocks.edit(block))
      }
    }
  }

  async #orphanFile(inode: Inode): Promise<void> {
    const { blocks, blockSize } = this.#volume
    for (let logical = 0; logical < Math.floor(inode.size / blockSize); logical++) {
      const block = await mapOne(this.#volume, inode, logical)
      if (block === undefined) throw corrupt(inode.ino, `the orphan file has no block ${logical}`)
      this.#claim(inode, block)
      readOrphanBlock(this.#volume, inode, block, await blocks.read(block))
      sealOrphanBlock(this.#next, inode, block, await blocks.edit(block))
    }
  }

  async #children(inode: Inode, node: ExtentNode): Promise<void> {
    if (node.depth === 0) return
    const { blocks } = this.#volume
    for (let slot = 0; slot < node.entries; slot++) {
      const block = node.child(slot)
      this.#claim(inode, block)
      const child = new ExtentNode(await blocks.read(block), inode.ino)
      checkNode(this.#volume, inode, child, block, node.depth - 1)
      await this.#children(inode, child)
      new ExtentNode(await blocks.edit(block), inode.ino).setChecksum(inodeSeed(this.#next, inode))
    }
  }

  #claim(inode: Inode, block: BlockNumber): void {
    if (this.#seen.has(block) || this.#system.intersects(block, block + 1))
      throw corrupt(inode.ino, `block ${block}, which holds metadata of it, belongs to something else too`)
    this.#seen.add(block)
  }
}

function corrupt(ino: InodeNumber, fault: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `ext4 inode ${ino}: ${fault}; run e2fsck`, { inode: ino })
}
