import { LruCache } from '../../bytes/lru-cache.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import type { InodeNumber } from '../filesystem.ts'
import { Blocks } from './blocks.ts'
import type { Checksum } from './checksum.ts'
import { parseChunk, parseSysChunkArray } from './chunk.ts'
import { ChunkMap } from './chunk-map.ts'
import { DataChecksums } from './data-checksums.ts'
import { DataReader } from './data-reader.ts'
import { corrupt } from './errors.ts'
import { type InodeItem, parseInodeItem } from './inode-item.ts'
import { InodeNumbers } from './inode-numbers.ts'
import { ITEM, MOST, OBJECTID } from './key.ts'
import { type Subvolume, Subvolumes } from './subvolumes.ts'
import type { Superblock } from './superblock.ts'
import { Tree } from './tree.ts'

const CACHED_INODES = 4096

/** What the parts of the btrfs code share: one filesystem, with one of its subvolumes as the root. */
export class BtrfsVolume {
  readonly superblock: Superblock
  readonly map: ChunkMap
  readonly subvolumes: Subvolumes
  readonly data: DataReader
  readonly mounted: Subvolume
  readonly numbers: InodeNumbers
  readonly #inodes = new LruCache<InodeNumber, InodeItem>(CACHED_INODES)

  constructor(opened: OpenedVolume, mounted: Subvolume) {
    this.superblock = opened.superblock
    this.map = opened.map
    this.subvolumes = opened.subvolumes
    this.data = opened.data
    this.mounted = mounted
    this.numbers = new InodeNumbers(mounted)
  }

  /** The inode item of a number that stands for an inode. */
  async inode(ino: InodeNumber, subvolume: Subvolume, objectid: bigint): Promise<InodeItem> {
    const held = this.#inodes.get(ino)
    if (held !== undefined) return held
    const data = await subvolume.tree.find({ objectid, type: ITEM.INODE_ITEM, offset: 0n })
    if (data === undefined)
      throw corrupt('inode', `inode ${objectid} of subvolume ${subvolume.id} is referred to and not there`, {
        inode: objectid,
      })
    const inode = parseInodeItem(data, objectid)
    this.#inodes.set(ino, inode)
    return inode
  }
}

export interface OpenedVolume {
  readonly superblock: Superblock
  readonly map: ChunkMap
  readonly subvolumes: Subvolumes
  readonly data: DataReader
}

/** Reads the chunk tree, by the chunks in the superblock, and finds the root tree and the checksums by it. */
export async function openVolume(
  device: BlockDevice,
  superblock: Superblock,
  checksum: Checksum,
): Promise<OpenedVolume> {
  const map = new ChunkMap(superblock.devid, device.size)
  for (const chunk of parseSysChunkArray(superblock.sysChunkArray)) map.add(chunk)
  const { nodesize, sectorsize } = superblock
  const blocks = new Blocks(device, map, { checksum, nodesize, fsid: superblock.metadataUuid })
  const chunks = new Tree(blocks, {
    bytenr: superblock.chunkRoot,
    level: superblock.chunkRootLevel,
    generation: superblock.chunkRootGeneration,
  })
  const key = (offset: bigint) => ({ objectid: OBJECTID.FIRST_CHUNK_TREE, type: ITEM.CHUNK_ITEM, offset })
  for await (const item of chunks.range(key(0n), key(MOST))) map.add(parseChunk(item.data, item.key.offset))
  const roots = new Tree(blocks, {
    bytenr: superblock.root,
    level: superblock.rootLevel,
    generation: superblock.generation,
  })
  const subvolumes = new Subvolumes(blocks, superblock, roots)
  const csums = await subvolumes.tree(OBJECTID.CSUM_TREE)
  const sums = csums && new DataChecksums(csums.tree, sectorsize, checksum.size)
  return { superblock, map, subvolumes, data: new DataReader(device, map, checksum, sums, sectorsize) }
}
