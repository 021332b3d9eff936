import { isDrydiskError } from '../../errors.ts'
import { InodeMarks } from '../inode-marks.ts'
import { Btree } from './btree.ts'
import { rootInInode } from './btree-block.ts'
import { BMBT, type BmbtRecord, type InobtRecord, inobtKind } from './btree-kinds.ts'
import { DIFLAG, Dinode, FORMAT, type Fork } from './dinode.ts'
import { ForkMap } from './fork-map.ts'
import { CHUNK } from './inode-space/inode-geometry.ts'
import { inodesThere } from './inode-space/inode-record.ts'
import type { XfsVolume } from './volume.ts'

type Changed = (offset: number, length: number) => boolean

/**
 * Inodes of which nothing lies where the volume changed: neither their record nor the extents of their content and attributes. What
 * is damaged is left out.
 * @param volume open for reading, and read as it lies on its device.
 */
export async function untouchedInodes(volume: XfsVolume, changed: Changed): Promise<InodeMarks> {
  const marks = new InodeMarks()
  for (let agno = 0; agno < volume.geometry.agCount; agno++)
    try {
      const agi = await volume.readAgi(agno)
      const kind = inobtKind(volume.superblock.hasSparseInodes)
      for await (const records of volume.agBtree(kind, agno, agi.agi_root, agi.agi_level).leaves())
        for (const record of records) await markChunk(volume, agno, record, changed, marks)
    } catch (error) {
      // A group that cannot be read has no more inodes to be told of.
      if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_INVALID_ARGUMENT')) throw error
    }
  return marks
}

async function markChunk(
  volume: XfsVolume,
  agno: number,
  record: InobtRecord,
  changed: Changed,
  marks: InodeMarks,
): Promise<void> {
  const { geometry, superblock, device } = volume
  const { sb_inopblock, sb_inodesize } = superblock
  const { ir_startino, ir_free } = record
  // The inodes of a group are numbered through its blocks, so those of a chunk lie in a row, whatever is in place of missing ones.
  if (!geometry.isBlock(agno, Math.floor((ir_startino + CHUNK - 1) / sb_inopblock))) return
  const start = geometry.agByte(agno) + ir_startino * sb_inodesize
  const bytes = new Uint8Array(CHUNK * sb_inodesize)
  await device.read(start, bytes)
  const used = inodesThere(record) & ~ir_free
  const halves = [Number(used & 0xffff_ffffn), Number(used >> 32n)] as const
  for (let index = 0; index < CHUNK; index++) {
    const isUsed = ((halves[index < 32 ? 0 : 1] >>> (index % 32)) & 1) === 1
    const at = index * sb_inodesize
    if (!isUsed || changed(start + at, sb_inodesize)) continue
    const ino = geometry.inodeNumber(agno, ir_startino + index)
    const inode = new Dinode(bytes.subarray(at, at + sb_inodesize), ino, superblock)
    if (await isUntouched(volume, inode, changed)) marks.add(ino, inode.typeIfAny === 'directory')
  }
}

async function isUntouched(volume: XfsVolume, inode: Dinode, changed: Changed): Promise<boolean> {
  if (inode.typeIfAny === undefined || (inode.di_flags & DIFLAG.REALTIME) !== 0) return false
  try {
    const { data, attributes } = inode
    return (
      (await isForkUntouched(volume, inode, data, changed)) &&
      (attributes === undefined || (await isForkUntouched(volume, inode, attributes, changed)))
    )
  } catch (error) {
    if (isDrydiskError(error, 'ERR_CORRUPT')) return false
    throw error
  }
}

async function isForkUntouched(
  volume: XfsVolume,
  inode: Dinode,
  fork: Fork,
  changed: Changed,
): Promise<boolean> {
  const { geometry } = volume
  const same = (block: number, count: number) =>
    !changed(geometry.volumeBlock(block) * geometry.blockSize, count * geometry.blockSize)
  const sameRecords = (records: readonly BmbtRecord[]) =>
    records.every(({ br_startblock, br_blockcount }) => same(br_startblock, br_blockcount))
  if (fork.format === FORMAT.LOCAL || fork.format === FORMAT.DEV) return true
  if (fork.format === FORMAT.EXTENTS) return sameRecords(new ForkMap(volume, inode, fork).listed ?? [])
  let sameNodes = true
  const tree = new Btree(
    BMBT,
    () => rootInInode(BMBT, fork.literal),
    (pointer, level) => {
      sameNodes &&= same(pointer, 1)
      const reference = { level, owner: inode.ino, isRoot: false }
      return volume.btreeBlock(BMBT, geometry.volumeBlock(pointer), reference)
    },
  )
  for await (const records of tree.leaves()) if (!sameNodes || !sameRecords(records)) return false
  return sameNodes
}
