import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaFork } from './da-block.ts'
import type { NamedInode } from './dir-name.ts'
import { after, type Soon } from './soon.ts'

/** Magic numbers of version 4 and of version 5 (XFS_DIR2_*_MAGIC, XFS_DIR3_*_MAGIC). */
const BLOCK_MAGIC = [0x5844_3242, 0x5844_4233] as const
const DATA_MAGIC = [0x5844_3244, 0x5844_4433] as const
/** XFS_DIR2_DATA_FREE_TAG */
export const FREE_TAG = 0xffff
const ALIGN = 8
/** Where an entry's name is, behind the inode number and the length. */
export const NAME_AT = 9
/** struct xfs_dir2_block_tail and xfs_dir2_leaf_entry */
const TAIL = 8
const LEAF_ENTRY = 8

/** What finds something wrong, and can say where. */
export interface Complainer {
  corrupt(what: string): Error
}

/** The magic number of a block of entries. */
export function dirDataMagic(isV5: boolean, single: boolean): number {
  return (single ? BLOCK_MAGIC : DATA_MAGIC)[isV5 ? 1 : 0]
}

/** Where its entries begin: behind struct xfs_dir2_data_hdr, or xfs_dir3_data_hdr. */
export function dirDataStart(isV5: boolean): number {
  return isV5 ? 64 : 16
}

/** A block of entries. */
export interface DirData {
  readonly view: ByteView
  /** Where entries begin and end. */
  readonly start: number
  readonly end: number
}

export interface DirDataEntry extends NamedInode {
  /** Byte offset in the block. */
  readonly offset: number
}

/** How many hash entries a directory of one block has, behind its data. */
export function blockLeafCount(view: ByteView): number {
  return view.u32(view.length - TAIL)
}

/** Where they begin. */
export function blockLeafStart(view: ByteView): number {
  return view.length - TAIL - blockLeafCount(view) * LEAF_ENTRY
}

/**
 * Reads a block of entries, each of which is found right.
 * @param index which block of the directory.
 * @param single whether it is all of the directory, hash entries included.
 */
export function readDirData(fork: DaFork, index: number, single: boolean): Soon<DirData> {
  const { isV5 } = fork.volume.superblock
  const block = fork.read(
    index * fork.blockCount,
    'data',
    [dirDataMagic(isV5, single)],
    dirDataCheck(fork, index, single),
  )
  return after(block, ({ view }) => ({ view, start: dirDataStart(isV5), end: endOf(view, single) }))
}

function endOf(view: ByteView, single: boolean): number {
  return single ? blockLeafStart(view) : view.length
}

/** What is looked through before a block of entries is used. */
export function dirDataCheck(fork: DaFork, index: number, single: boolean): (view: ByteView) => void {
  const { isV5, hasFtype } = fork.volume.superblock
  const start = dirDataStart(isV5)
  return view => {
    if (single && blockLeafCount(view) > (view.length - TAIL - start) / LEAF_ENTRY)
      throw fork.corrupt(`block ${index} says that it has ${blockLeafCount(view)} hash entries`)
    for (const _ of dirDataEntries(fork, { view, start, end: endOf(view, single) }, hasFtype));
  }
}

/** Entries in the order of the block, `.` and `..` among them. */
export function* dirDataEntries(
  complainer: Complainer,
  { view, start, end }: DirData,
  hasFtype: boolean,
): Iterable<DirDataEntry> {
  for (let at = start; at < end; ) {
    if (view.u16(at) === FREE_TAG) {
      const length = view.u16(at + 2)
      if (length < ALIGN || length % ALIGN !== 0 || at + length > end || view.u16(at + length - 2) !== at)
        throw complainer.corrupt(`a block has a free space of ${length} bytes at ${at} that does not end`)
      at += length
      continue
    }
    const entry = dirDataEntryAt(complainer, { view, start, end }, at, hasFtype)
    yield entry
    at += entrySize(entry.name.length, hasFtype)
  }
}

/** Bytes of an entry, its offset at the end included. */
export function entrySize(namelen: number, hasFtype: boolean): number {
  return Math.ceil((8 + 1 + namelen + (hasFtype ? 1 : 0) + 2) / ALIGN) * ALIGN
}

/** struct xfs_dir2_data_entry, which ends with its own offset. */
export function dirDataEntryAt(
  complainer: Complainer,
  data: DirData,
  offset: number,
  hasFtype: boolean,
): DirDataEntry {
  const namelen = nameLengthAt(complainer, data, offset, hasFtype)
  const { view } = data
  return {
    offset,
    ino: view.u64(offset),
    name: view.slice(offset + NAME_AT, namelen).slice(),
    filetype: hasFtype ? view.u8(offset + NAME_AT + namelen) : 0,
  }
}

/** The length of an entry's name, where there is an entry. */
export function nameLengthAt(
  complainer: Complainer,
  { view, start, end }: DirData,
  offset: number,
  hasFtype: boolean,
): number {
  const fits = offset >= start && offset % ALIGN === 0 && offset + 16 <= end
  const namelen = fits ? view.u8(offset + NAME_AT - 1) : 0
  const size = entrySize(namelen, hasFtype)
  if (!fits || namelen === 0 || offset + size > end || view.u16(offset + size - 2) !== offset)
    throw complainer.corrupt(`there is no entry at ${offset} of a block of the directory`)
  return namelen
}
