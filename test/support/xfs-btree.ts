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
import { parseSuperblock, type Superblock } from '../../src/filesystem/xfs/superblock.ts'
import { XfsVolume } from '../../src/filesystem/xfs/volume.ts'

/** Of the volume's one allocation group. */
const BLOCKS = 4096
const MAGIC = 0x58465342

/** A superblock of one allocation group, enough for trees. */
function superblock(blockSize: number, isV5: boolean): Superblock {
  const view = bigEndian(new Uint8Array(512), 'superblock')
  view.setU32(0, MAGIC)
  view.setU32(4, blockSize)
  view.setU64(8, BLOCKS)
  for (let at = 0; at < 16; at++) view.setU8(32 + at, at * 7 + 1)
  view.setU32(84, BLOCKS)
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
  view.setU8(124, Math.log2(BLOCKS))
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
  change(work: () => Promise<void>): Promise<void>
}

const OWNER = 0
const INODE = 131

/** @param literalSize of an inode's fork, for a bmbt. */
export async function testTree<Record>(
  kind: BtreeKind<Record>,
  { blockSize, isV5, literalSize }: { blockSize: number; isV5: boolean; literalSize?: number },
  random: (below: number) => number,
): Promise<TestTree<Record>> {
  const device = new MemoryDevice(BLOCKS * blockSize)
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

/** What the bytes of a node's key are to be, by what is below it. */
export type ExpectedKey<Record> = (records: readonly Record[]) => Uint8Array

interface Layout<Record> {
  readonly kind: BtreeKind<Record>
  readonly blockSize: number
  readonly isV5: boolean
  readonly expectedKey: ExpectedKey<Record>
}

/**
 * Walks a tree by bytes, apart from the code that changes it: headers, number of entries, siblings, keys; every block once.
 * Gives the records.
 */
export async function walk<Record>(
  tree: TestTree<Record>,
  layout: Layout<Record>,
): Promise<{ records: Record[]; levels: number }> {
  const { kind, isV5, blockSize, expectedKey } = layout
  const isLong = kind.pointers === 'long'
  const pointerSize = isLong ? 8 : 4
  const header = isLong ? (isV5 ? 72 : 24) : isV5 ? 56 : 16
  const levels: { pointer: number; left: bigint; right: bigint }[][] = []
  const fail = (what: string) => new Error(`the ${kind.name}: ${what}`)
  const leaves = Math.floor((blockSize - header) / kind.recordSize)
  const nodes = Math.floor((blockSize - header) / (kind.keySize + pointerSize))

  async function children(
    bytes: Uint8Array,
    start: number,
    level: number,
    count: number,
    most: number,
  ): Promise<Record[]> {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const records: Record[] = []
    for (let index = 0; index < count; index++) {
      const at = start + most * kind.keySize + index * pointerSize
      const pointer = isLong ? Number(view.getBigUint64(at)) : view.getUint32(at)
      const below = await block(pointer, level - 1, level === rootLevel && count === 1)
      const key = bytes.slice(start + index * kind.keySize, start + (index + 1) * kind.keySize)
      const expected = expectedKey(below)
      if (Buffer.compare(key, expected) !== 0)
        throw fail(
          `the key of block ${pointer} is ${Buffer.from(key).toString('hex')}, not ${Buffer.from(expected).toString('hex')}`,
        )
      records.push(...below)
    }
    return records
  }

  async function block(pointer: number, level: number, mayBeSmall: boolean): Promise<Record[]> {
    const bytes = await tree.volume.buffers.read(pointer)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (view.getUint32(0) !== (isV5 ? kind.crcMagic : kind.magic))
      throw fail(`block ${pointer} has another magic number`)
    if (view.getUint16(4) !== level)
      throw fail(`block ${pointer} has level ${view.getUint16(4)}, not ${level}`)
    const count = view.getUint16(6)
    const most = level === 0 ? leaves : nodes
    if (count > most || (count < Math.floor(most / 2) && !mayBeSmall))
      throw fail(`block ${pointer} has ${count} entries of ${most}`)
    const sibling = (which: number) =>
      isLong ? view.getBigUint64(8 + which * 8) : BigInt(view.getUint32(8 + which * 4))
    const list = levels[level] ?? []
    levels[level] = list
    list.push({ pointer, left: sibling(0), right: sibling(1) })
    if (isV5) {
      const [blkno, uuid, owner] = isLong ? [24, 40, 56] : [16, 32, 48]
      if (view.getBigUint64(blkno) !== BigInt((pointer * blockSize) / 512))
        throw fail(`block ${pointer} says that it is elsewhere`)
      if (view.getBigUint64(blkno + 8) !== 0n) throw fail(`block ${pointer} has an LSN`)
      if (bytes[uuid + 1] !== 8) throw fail(`block ${pointer} has another UUID`)
      const who = isLong ? Number(view.getBigUint64(owner)) : view.getUint32(owner)
      if (who !== (isLong ? INODE : OWNER)) throw fail(`block ${pointer} is of ${who}`)
    }
    if (level > 0) return children(bytes, header, level, count, most)
    const parsed = bigEndian(bytes, kind.name)
    return Array.from({ length: count }, (_, index) => kind.parse(parsed, header + index * kind.recordSize))
  }

  let records: Record[]
  let rootLevel: number
  if (tree.literal === undefined) {
    await tree.editor.levels()
    const { pointer, levels: count } = tree.root()
    rootLevel = count - 1
    records = await block(pointer, rootLevel, true)
    if (rootLevel > 0 && (levels[rootLevel - 1]?.length ?? 0) < 2) throw fail('the root has one child')
  } else {
    const view = new DataView(tree.literal.buffer, tree.literal.byteOffset, tree.literal.byteLength)
    rootLevel = view.getUint16(0)
    const most = Math.floor((tree.literal.length - 4) / 16)
    const count = view.getUint16(2)
    if (rootLevel < 1 || count < 1 || count > most)
      throw fail(`the root has ${count} entries of ${most} on level ${rootLevel}`)
    records = await children(tree.literal, 4, rootLevel, count, most)
    if (rootLevel > 1 && count === 1) {
      const only = levels[rootLevel - 1]?.[0]?.pointer ?? 0
      const bytes = await tree.volume.buffers.read(only)
      if (((bytes[6] ?? 0) << 8) + (bytes[7] ?? 0) <= most)
        throw fail('the only child would fit into the root')
    }
  }
  const free = new Set(tree.blocks.free)
  const none = isLong ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn
  let blocks = 0
  for (const list of levels)
    for (const [index, { pointer, left, right }] of list.entries()) {
      blocks++
      const before = list[index - 1]
      const after = list[index + 1]
      if (
        left !== (before === undefined ? none : BigInt(before.pointer)) ||
        right !== (after === undefined ? none : BigInt(after.pointer))
      )
        throw fail(`block ${pointer} has siblings ${left} and ${right}`)
      if (free.has(pointer)) throw fail(`block ${pointer} is free`)
    }
  if (blocks !== tree.blocks.used)
    throw fail(`has ${blocks} blocks, and ${tree.blocks.used} were given to it`)
  for (let index = 1; index < records.length; index++) {
    const [one, next] = [records[index - 1], records[index]]
    if (one === undefined || next === undefined || kind.keyOf(one) >= kind.keyOf(next))
      throw fail(`records are out of order at ${index}`)
  }
  return { records, levels: rootLevel + 1 }
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
