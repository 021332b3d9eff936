import { isDrydiskError } from '../../errors.ts'
import { InodeMarks } from '../inode-marks.ts'
import type { BlockNumber } from './context.ts'
import { isFastSymlink } from './data-access.ts'
import { type ExtentNode, LOGICAL_END } from './extent-node.ts'
import { findPath, leafOf, rootNode } from './extent-tree.ts'
import { INODE_FLAG, type Inode } from './inode.ts'
import type { Ext4Volume } from './volume.ts'

/** Bytes of an inode table that are read at a time. */
const READ_BYTES = 256 << 10
/** Pointers in i_block that are blocks of the file itself; those behind them are blocks of pointers. */
const DIRECT_BLOCKS = 12

type Changed = (offset: number, length: number) => boolean

/**
 * Inodes of which nothing lies where the volume changed: neither their record nor their map, their content or their attribute block.
 * Whatever is damaged or too involved to be told in passing (values of attributes in inodes, blocks of pointers) is left out.
 * @param volume open for reading, and read as it lies on its device.
 */
export async function untouchedInodes(volume: Ext4Volume, changed: Changed): Promise<InodeMarks> {
  const marks = new InodeMarks()
  if (volume.superblock.has('ea_inode')) return marks
  for (let group = 0; group < volume.geometry.groups; group++)
    try {
      await markGroup(volume, group, changed, marks)
    } catch (error) {
      // A group that cannot be read has no inodes to be told of.
      if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_INVALID_ARGUMENT')) throw error
    }
  return marks
}

async function markGroup(
  volume: Ext4Volume,
  group: number,
  changed: Changed,
  marks: InodeMarks,
): Promise<void> {
  const { geometry, blockSize, inodeStore, device } = volume
  const { inodesPerGroup, inodeSize, inodesCount } = geometry
  const first = group * inodesPerGroup + 1
  const used = Math.min(await inodeStore.usedInodes(group), inodesCount - first + 1)
  if (used <= 0) return
  const [block] = await inodeStore.place(first)
  const table = block * blockSize
  const perRead = Math.floor(READ_BYTES / inodeSize)
  const bytes = new Uint8Array(Math.min(used, perRead) * inodeSize)
  for (let index = 0; index < used; index += perRead) {
    const count = Math.min(perRead, used - index)
    await device.read(table + index * inodeSize, bytes.subarray(0, count * inodeSize))
    for (let one = 0; one < count; one++) {
      const record = bytes.subarray(one * inodeSize, (one + 1) * inodeSize)
      if (changed(table + (index + one) * inodeSize, inodeSize)) continue
      const inode = inodeStore.parse(first + index + one, record)
      if (inode.linksCount > 0 && (await isUntouched(volume, inode, changed)))
        marks.add(inode.ino, inode.isDirectory)
    }
  }
}

async function isUntouched(volume: Ext4Volume, inode: Inode, changed: Changed): Promise<boolean> {
  const { blockSize, superblock } = volume
  const same = (block: BlockNumber, count: number) => !changed(block * blockSize, count * blockSize)
  const attributes = superblock.has('64bit') ? inode.fileAcl : inode.fileAcl % 2 ** 32
  if (attributes !== 0 && !same(attributes, 1)) return false
  const { type } = inode
  if (type === undefined) return false
  const hasMap = type === 'file' || type === 'directory' || type === 'symlink'
  if (!hasMap || inode.hasFlag(INODE_FLAG.INLINE_DATA) || isFastSymlink(volume, inode)) return true
  if (!inode.hasFlag(INODE_FLAG.EXTENTS)) return directBlocks(inode)?.every(block => same(block, 1)) ?? false
  try {
    const root = rootNode(volume, inode)
    return root.depth === 0 ? sameExtents(root, same) : await sameTree(volume, inode, same)
  } catch (error) {
    if (isDrydiskError(error, 'ERR_CORRUPT')) return false
    throw error
  }
}

type Same = (block: BlockNumber, count: number) => boolean

function sameExtents(leaf: ExtentNode, same: Same): boolean {
  for (let slot = 0; slot < leaf.entries; slot++) {
    const { block, count } = leaf.extent(slot)
    if (!same(block, count)) return false
  }
  return true
}

/** Every leaf, and every block on the way to it. */
async function sameTree(volume: Ext4Volume, inode: Inode, same: Same): Promise<boolean> {
  for (let logical = 0; logical < LOGICAL_END; ) {
    const path = await findPath(volume, inode, logical)
    if (path.some(({ block }) => block !== undefined && !same(block, 1))) return false
    const leaf = leafOf(path)
    if (!sameExtents(leaf.node, same)) return false
    logical = leaf.to
  }
  return true
}

/** The blocks of a small block-mapped file; `undefined` for one with blocks of pointers. */
function directBlocks({ iBlock }: Inode): BlockNumber[] | undefined {
  const view = new DataView(iBlock.buffer, iBlock.byteOffset, iBlock.byteLength)
  const pointers = Array.from({ length: 15 }, (_, index) => view.getUint32(index * 4, true))
  if (pointers.slice(DIRECT_BLOCKS).some(pointer => pointer !== 0)) return undefined
  return pointers.slice(0, DIRECT_BLOCKS).filter(block => block !== 0)
}
