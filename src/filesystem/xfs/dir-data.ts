import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaFork } from './da-block.ts'
import type { NamedInode } from './dir-name.ts'

/** Magic numbers of version 4 and of version 5 (XFS_DIR2_*_MAGIC, XFS_DIR3_*_MAGIC). */
const BLOCK_MAGIC = [0x5844_3242, 0x5844_4233] as const
const DATA_MAGIC = [0x5844_3244, 0x5844_4433] as const
/** struct xfs_dir2_data_hdr and xfs_dir3_data_hdr */
const HEADER = [16, 64] as const
/** XFS_DIR2_DATA_FREE_TAG */
const FREE_TAG = 0xffff
const ALIGN = 8
/** struct xfs_dir2_block_tail and xfs_dir2_leaf_entry */
const TAIL = 8
const LEAF_ENTRY = 8

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
export async function readDirData(fork: DaFork, index: number, single: boolean): Promise<DirData> {
  const { isV5, hasFtype } = fork.volume.superblock
  const which = isV5 ? 1 : 0
  const start = HEADER[which]
  const endOf = (view: ByteView) => (single ? blockLeafStart(view) : view.length)
  const { view } = await fork.read(
    index * fork.blockCount,
    'data',
    [single ? BLOCK_MAGIC[which] : DATA_MAGIC[which]],
    found => {
      if (single && blockLeafCount(found) > (found.length - TAIL - start) / LEAF_ENTRY)
        throw fork.corrupt(`block ${index} says that it has ${blockLeafCount(found)} hash entries`)
      for (const _ of dirDataEntries(fork, { view: found, start, end: endOf(found) }, hasFtype));
    },
  )
  return { view, start, end: endOf(view) }
}

/** Entries in the order of the block, `.` and `..` among them. */
export function* dirDataEntries(
  fork: DaFork,
  { view, start, end }: DirData,
  hasFtype: boolean,
): Iterable<DirDataEntry> {
  for (let at = start; at < end; ) {
    if (view.u16(at) === FREE_TAG) {
      const length = view.u16(at + 2)
      if (length < ALIGN || length % ALIGN !== 0 || at + length > end || view.u16(at + length - 2) !== at)
        throw fork.corrupt(`a block has a free space of ${length} bytes at ${at} that does not end`)
      at += length
      continue
    }
    const entry = dirDataEntryAt(fork, { view, start, end }, at, hasFtype)
    yield entry
    at += entrySize(entry.name.length, hasFtype)
  }
}

function entrySize(namelen: number, hasFtype: boolean): number {
  return Math.ceil((8 + 1 + namelen + (hasFtype ? 1 : 0) + 2) / ALIGN) * ALIGN
}

/** struct xfs_dir2_data_entry, which ends with its own offset. */
export function dirDataEntryAt(
  fork: DaFork,
  { view, start, end }: DirData,
  offset: number,
  hasFtype: boolean,
): DirDataEntry {
  const fits = offset >= start && offset % ALIGN === 0 && offset + 16 <= end
  const namelen = fits ? view.u8(offset + 8) : 0
  const size = entrySize(namelen, hasFtype)
  if (!fits || namelen === 0 || offset + size > end || view.u16(offset + size - 2) !== offset)
    throw fork.corrupt(`there is no entry at ${offset} of a block of the directory`)
  return {
    offset,
    ino: view.u64(offset),
    name: view.slice(offset + 9, namelen).slice(),
    filetype: hasFtype ? view.u8(offset + 9 + namelen) : 0,
  }
}
