import { bigEndian } from '../../src/bytes/byte-view.ts'
import type { TreeRoot } from '../../src/filesystem/xfs/btree-edit-store.ts'
import type { BtreeKind } from '../../src/filesystem/xfs/btree-kinds.ts'
import type { Superblock } from '../../src/filesystem/xfs/superblock.ts'

/** What the bytes of a node's key are to be, by what is below it. */
export type ExpectedKey<Record> = (records: readonly Record[]) => Uint8Array

/** A tree to be walked. */
export interface WalkedTree {
  readonly superblock: Superblock
  read(pointer: number): Promise<Uint8Array>
  /** In 512-byte units. */
  sector(pointer: number): number
  /** The allocation group or the inode. */
  readonly owner: number
  /** In a header, or the literal area of an inode. */
  readonly root: TreeRoot | Uint8Array
}

export interface Walked<Record> {
  readonly records: Record[]
  readonly levels: number
  readonly blocks: number[]
}

/**
 * Walks a tree by bytes, apart from the code that changes it: headers, number of entries, siblings, keys; every block once.
 */
export async function walkTree<Record>(
  kind: BtreeKind<Record>,
  expectedKey: ExpectedKey<Record>,
  tree: WalkedTree,
): Promise<Walked<Record>> {
  const { isV5, sb_blocksize: blockSize, metaUuid } = tree.superblock
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
    const bytes = await tree.read(pointer)
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
      if (view.getBigUint64(blkno) !== BigInt(tree.sector(pointer)))
        throw fail(`block ${pointer} says that it is elsewhere`)
      if (Buffer.compare(bytes.subarray(uuid, uuid + 16), metaUuid) !== 0)
        throw fail(`block ${pointer} has another UUID`)
      const who = isLong ? Number(view.getBigUint64(owner)) : view.getUint32(owner)
      if (who !== tree.owner) throw fail(`block ${pointer} is of ${who}`)
    }
    if (level > 0) return children(bytes, header, level, count, most)
    const parsed = bigEndian(bytes, kind.name)
    return Array.from({ length: count }, (_, index) => kind.parse(parsed, header + index * kind.recordSize))
  }

  let records: Record[]
  let rootLevel: number
  if (!(tree.root instanceof Uint8Array)) {
    const { pointer, levels: count } = tree.root
    rootLevel = count - 1
    records = await block(pointer, rootLevel, true)
    if (rootLevel > 0 && (levels[rootLevel - 1]?.length ?? 0) < 2) throw fail('the root has one child')
  } else {
    const view = new DataView(tree.root.buffer, tree.root.byteOffset, tree.root.byteLength)
    rootLevel = view.getUint16(0)
    const most = Math.floor((tree.root.length - 4) / 16)
    const count = view.getUint16(2)
    if (rootLevel < 1 || count < 1 || count > most)
      throw fail(`the root has ${count} entries of ${most} on level ${rootLevel}`)
    records = await children(tree.root, 4, rootLevel, count, most)
    if (rootLevel > 1 && count === 1) {
      const only = levels[rootLevel - 1]?.[0]?.pointer ?? 0
      const bytes = await tree.read(only)
      if (((bytes[6] ?? 0) << 8) + (bytes[7] ?? 0) <= most)
        throw fail('the only child would fit into the root')
    }
  }
  const none = isLong ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn
  const blocks: number[] = []
  for (const list of levels)
    for (const [index, { pointer, left, right }] of list.entries()) {
      blocks.push(pointer)
      const before = list[index - 1]
      const after = list[index + 1]
      if (
        left !== (before === undefined ? none : BigInt(before.pointer)) ||
        right !== (after === undefined ? none : BigInt(after.pointer))
      )
        throw fail(`block ${pointer} has siblings ${left} and ${right}`)
    }
  for (let index = 1; index < records.length; index++) {
    const [one, next] = [records[index - 1], records[index]]
    if (one === undefined || next === undefined || kind.keyOf(one) >= kind.keyOf(next))
      throw fail(`records are out of order at ${index}`)
  }
  return { records, levels: rootLevel + 1, blocks }
}
