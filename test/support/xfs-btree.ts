import { bigEndian } from '../../src/bytes/byte-view.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { BtreeEditor } from '../../src/filesystem/xfs/btree-edit.ts'
import type {
  BlockSource,
  HeaderRoot,
  TreeRoot,
  TreeStore,
} from '../../src/filesystem/xfs/btree-edit-store.ts'
import { ForkTree } from '../../src/filesystem/xfs/btree-fork.ts'
import type { BmbtRecord, BtreeKind } from '../../src/filesystem/xfs/btree-kinds.ts'
import { storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import type { Soon } from '../../src/filesystem/xfs/soon.ts'
import { parseSuperblock, type Superblock } from '../../src/filesystem/xfs/superblock.ts'
import { XfsVolume } from '../../src/filesystem/xfs/volume.ts'
import { type ExpectedKey, walkTree } from './xfs-btree-walk.ts'

/** Blocks that a tree of a test may take, headers among them. */
const BLOCKS = 4096
/** Of the volume's one allocation group: Linux has none below 16 MiB, and none here has smaller blocks than 512 bytes. */
const GROUP_BLOCKS = 32_768
const MAGIC = 0x58465342

/** A superblock of one allocation group, enough for trees. */
function superblock(blockSize: number, isV5: boolean): Superblock {
  const view = bigEndian(new Uint8Array(512), 'superblock')
  view.setU32(0, MAGIC)
  view.setU32(4, blockSize)
  view.setU64(8, GROUP_BLOCKS)
  for (let at = 0; at < 16; at++) view.setU8(32 + at, at * 7 + 1)
  view.setU32(84, GROUP_BLOCKS)
  view.setU32(88, 1)
  // DIRV2, EXTFLG and MOREBITS.
  view.setU16(100, isV5 ? 0xb005 : 0xb004)
  view.setU16(102, 512)
  view.setU16(104, 256)
  view.setU16(106, blockSize / 256)
  view.setU8(120, Math.log2(blockSize))
  view.setU8(121, 9)
  view.setU8(122, 8)
  view.setU8(123, Math.log2(blockSize / 256))
  view.setU8(124, Math.log2(GROUP_BLOCKS))
  if (isV5) storeChecksum(view.bytes, 224)
  return parseSuperblock(view.bytes)
}

/** Blocks in any order; a callback may be told to fail. */
export class TestBlocks implements BlockSource {
  free: number[] = []
  /** Calls until one fails. */
  failAfter = Number.POSITIVE_INFINITY
  readonly #volume: XfsVolume
  readonly #random: (below: number) => number

  constructor(volume: XfsVolume, random: (below: number) => number) {
    this.#volume = volume
    this.#random = random
    for (let block = 8; block < BLOCKS; block++) this.free.push(block)
  }

  get used(): number {
    return BLOCKS - 8 - this.free.length
  }

  async allocateBlock(): Promise<number> {
    if (this.failAfter-- <= 0) throw new DrydiskError('ENOSPC', 'the test says so')
    const at = this.#random(this.free.length)
    const last = this.free.pop()
    const block = this.free[at] ?? last
    if (block === undefined || last === undefined)
      throw new DrydiskError('ENOSPC', 'the test has no more blocks')
    if (at < this.free.length) this.free[at] = last
    return block
  }

  async freeBlock(pointer: number): Promise<void> {
    if (this.free.includes(pointer)) throw new Error(`block ${pointer} is freed twice`)
    this.#volume.buffers.forget(pointer, 1)
    this.free.push(pointer)
  }
}

/** Where a tree of a test is. */
export interface TestTree<Record> {
  readonly device: MemoryDevice
  readonly volume: XfsVolume
  readonly blocks: TestBlocks
  readonly editor: BtreeEditor<Record>
  /** Bytes of the root in an inode; `undefined` for one in a header. */
  readonly literal: Uint8Array | undefined
  /** The same tree, all of it read again from the device. */
  reopened(): TestTree<Record>
  root(): TreeRoot
  /** Runs a change in a transaction, and takes it back when it fails. */
  change(work: () => Soon<void>): Promise<void>
}

const OWNER = 0
const INODE = 131

/** @param literalSize of an inode's fork, for a bmbt. */
export async function testTree<Record>(
  kind: BtreeKind<Record>,
  { blockSize, isV5, literalSize }: { blockSize: number; isV5: boolean; literalSize?: number },
  random: (below: number) => number,
): Promise<TestTree<Record>> {
  const device = new MemoryDevice(GROUP_BLOCKS * blockSize)
  const sb = superblock(blockSize, isV5)
  // The root in a header is kept in the first block, where a rollback takes it back.
  const rootSeal = { at: 0, length: 512, crcAt: 508 }
  const make = (blocksBefore: TestBlocks | undefined, literal: Uint8Array | undefined): TestTree<Record> => {
    const volume = new XfsVolume(device, sb)
    const blocks = new TestBlocks(volume, random)
    if (blocksBefore !== undefined) blocks.free = [...blocksBefore.free]
    let current: TreeRoot = { pointer: 0, levels: 0 }
    const root: HeaderRoot = {
      in: 'header',
      async read() {
        const view = bigEndian(await volume.buffers.read(0), 'root')
        current = { pointer: view.u32(0), levels: view.u32(4) }
        return current
      },
      async write({ pointer, levels }) {
        const view = bigEndian(await volume.buffers.edit([0], rootSeal), 'root')
        view.setU32(0, pointer)
        view.setU32(4, levels)
        current = { pointer, levels }
      },
    }
    const store: TreeStore<Record> = {
      volume,
      kind,
      owner: OWNER,
      root,
      blocks,
      volumeBlock: pointer => volume.geometry.inAg(0, pointer),
    }
    const editor =
      literal === undefined ? new BtreeEditor(store) : forkEditor<Record>(volume, literal, blocks)
    return {
      device,
      volume,
      blocks,
      editor,
      literal,
      reopened: () => make(blocks, literal),
      root: () => current,
      async change(work) {
        const before = { free: [...blocks.free], literal: literal?.slice() }
        volume.buffers.begin()
        try {
          await work()
          volume.buffers.end()
        } catch (error) {
          volume.buffers.rollback()
          blocks.free = before.free
          if (before.literal !== undefined) literal?.set(before.literal)
          await root.read()
          throw error
        }
      },
    }
  }
  return make(undefined, literalSize === undefined ? undefined : new Uint8Array(literalSize))
}

/** The editor of the one kind of tree that has its root in an inode. */
function forkEditor<Record>(
  volume: XfsVolume,
  literal: Uint8Array,
  blocks: BlockSource,
): BtreeEditor<Record> {
  const tree: unknown = new ForkTree(volume, INODE, () => bigEndian(literal, 'literal'), blocks)
  return tree as BtreeEditor<Record>
}

interface Layout<Record> {
  readonly kind: BtreeKind<Record>
  readonly expectedKey: ExpectedKey<Record>
}

/** Walks a tree by bytes (`walkTree`), and finds that it has exactly the blocks that were given to it. Gives the records. */
export async function walk<Record>(
  tree: TestTree<Record>,
  { kind, expectedKey }: Layout<Record>,
): Promise<{ records: Record[]; levels: number }> {
  const { volume, literal } = tree
  if (literal === undefined) await tree.editor.levels()
  const found = await walkTree(kind, expectedKey, {
    superblock: volume.superblock,
    read: pointer => volume.buffers.read(pointer),
    sector: pointer => volume.geometry.diskAddress(pointer),
    owner: literal === undefined ? OWNER : INODE,
    root: literal ?? tree.root(),
  })
  const free = new Set(tree.blocks.free)
  for (const pointer of found.blocks) if (free.has(pointer)) throw new Error(`block ${pointer} is free`)
  if (found.blocks.length !== tree.blocks.used)
    throw new Error(`${found.blocks.length} blocks, and ${tree.blocks.used} were given to the tree`)
  return found
}

/** Makes an empty tree; a bmbt is built of its first record. */
export async function plant<Record>(
  tree: TestTree<Record>,
  kind: BtreeKind<Record>,
  first: Record,
): Promise<void> {
  if (tree.editor instanceof ForkTree) {
    const record: unknown = first
    await tree.editor.build([record as BmbtRecord], 1)
    return
  }
  const { store } = tree.editor
  const pointer = await tree.blocks.allocateBlock()
  const bytes = tree.volume.buffers.fresh([pointer], {
    at: 0,
    length: tree.volume.geometry.blockSize,
    crcAt: 52,
  })
  tree.volume.trust(bytes)
  const { isV5, metaUuid } = tree.volume.superblock
  const view = bigEndian(bytes, 'leaf')
  view.setU32(0, isV5 ? kind.crcMagic : kind.magic)
  view.setBig(8, -1n)
  if (isV5) {
    view.setU64(16, tree.volume.geometry.diskAddress(pointer))
    bytes.set(metaUuid, 32)
  }
  if (store.root.in === 'header') await store.root.write({ pointer, levels: 1 })
  await tree.editor.insert(first)
}
