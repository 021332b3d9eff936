import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { DirectoryEntry, InodeNumber } from '../filesystem.ts'
import { DaFork } from './da-block.ts'
import { hashLeaves } from './da-tree.ts'
import { type Dinode, FORMAT } from './dinode.ts'
import { blockLeafCount, blockLeafStart, dirDataEntries, dirDataEntryAt, readDirData } from './dir-data.ts'
import {
  checkOrder,
  dirLeafShape,
  firstFrom,
  type HashEntries,
  hashEntries,
  leafEntries,
} from './dir-leaf.ts'
import { checkName, dots, MOST_NAME, type NamedInode, nameRules, typeOfEntry } from './dir-name.ts'
import { parseShortDirectory } from './dir-shortform.ts'
import { ForkMap } from './fork-map.ts'
import type { Inodes } from './inodes.ts'
import type { XfsVolume } from './volume.ts'

/** Bytes that one step of an address in a hash entry stands for (XFS_DIR2_DATA_ALIGN). */
const ADDRESS_UNIT = 8
/** XFS_DIR2_LEAF_OFFSET: data is below, hashes are from here. */
const LEAF_OFFSET = 2 ** 35

/** What a directory's functions work on. */
export interface DirectoryContext {
  readonly volume: XfsVolume
  readonly inodes: Inodes
}

/** A directory with blocks. */
interface BlockDirectory {
  readonly inode: Dinode
  readonly fork: DaFork
  /** All of it is one block, with the hashes behind the entries. */
  readonly single: boolean
}

/** One block is all when nothing is mapped behind it (xfs_dir2_isblock); the size tells only where entries end. */
async function blockDirectory(volume: XfsVolume, inode: Dinode): Promise<BlockDirectory> {
  const { dirBlockSize, sb_blocksize } = volume.superblock
  const count = dirBlockSize / sb_blocksize
  const fork = new DaFork(volume, inode.ino, new ForkMap(volume, inode, inode.data), count)
  let end = 0
  if (inode.data.format === FORMAT.EXTENTS)
    for await (const { br_startoff, br_blockcount } of fork.map.extents()) end = br_startoff + br_blockcount
  return { inode, fork, single: end === count }
}

function shortDirectory(volume: XfsVolume, { data, di_size, ino }: Dinode) {
  return parseShortDirectory(data.literal, di_size, volume.superblock.hasFtype, ino)
}

/** Names in on-disk order, without `.` and `..`. */
export async function* listNames(
  { volume, inodes }: DirectoryContext,
  inode: Dinode,
): AsyncIterable<DirectoryEntry> {
  for await (const entry of stored(volume, inode)) {
    if (dots(entry.name) !== 0) continue
    checkName(entry.name, inode.ino)
    const type = typeOfEntry(entry.filetype) ?? (await inodes.read(entry.ino)).type
    yield { name: entry.name, ino: entry.ino, type }
  }
}

/** What is stored: `.` and `..` too where the directory has blocks. */
async function* stored(volume: XfsVolume, inode: Dinode): AsyncIterable<NamedInode> {
  if (inode.data.format === FORMAT.LOCAL) {
    yield* shortDirectory(volume, inode).entries
    return
  }
  const { fork, single } = await blockDirectory(volume, inode)
  const { hasFtype, dirBlockSize } = volume.superblock
  for await (const index of dataBlocks(fork, inode, dirBlockSize))
    yield* dirDataEntries(fork, await readDirData(fork, index, single), hasFtype)
}

/** Numbers of the blocks of entries that are there. They are no more than the filesystem has: no two blocks are one. */
async function* dataBlocks(fork: DaFork, inode: Dinode, dirBlockSize: number): AsyncIterable<number> {
  const { geometry } = fork.volume
  const end = Math.ceil(Math.min(inode.di_size, LEAF_OFFSET) / dirBlockSize)
  let next = 0
  let met = 0
  for await (const { br_startoff, br_blockcount } of fork.map.extents()) {
    met += br_blockcount
    if (met > geometry.blocks) throw fork.corrupt('the directory has more blocks than the filesystem')
    const last = Math.min(end, Math.ceil((br_startoff + br_blockcount) / fork.blockCount))
    for (next = Math.max(next, Math.floor(br_startoff / fork.blockCount)); next < last; next++) yield next
  }
}

/** `ENOENT` when there is no such name. `.` and `..` are found. */
export async function lookupName(
  context: DirectoryContext,
  inode: Dinode,
  name: Uint8Array,
): Promise<InodeNumber> {
  const found = await findEntry(context, inode, name)
  if (found === undefined) throw new DrydiskError('ENOENT', 'no such file or directory', { inode: inode.ino })
  return found
}

/** As `lookupName`; `undefined` when there is no such name. */
export async function findEntry(
  { volume }: Pick<DirectoryContext, 'volume'>,
  inode: Dinode,
  name: Uint8Array,
): Promise<InodeNumber | undefined> {
  if (name.length > MOST_NAME)
    throw new DrydiskError('ENAMETOOLONG', `a name of ${name.length} bytes: ${MOST_NAME} is the longest`)
  if (dots(name) === 1) return inode.ino
  return inode.data.format === FORMAT.LOCAL ? inShort(volume, inode, name) : inBlocks(volume, inode, name)
}

function inShort(volume: XfsVolume, inode: Dinode, name: Uint8Array): InodeNumber | undefined {
  const { parent, entries } = shortDirectory(volume, inode)
  if (dots(name) === 2) return parent
  const { equal } = nameRules(volume.superblock.hasAsciiCi)
  return best(
    entries.filter(entry => equal(entry.name, name)),
    name,
  )
}

/** Where case does not count, the name as it is written comes first. */
function best(entries: readonly NamedInode[], name: Uint8Array): InodeNumber | undefined {
  const exact = entries.find(entry => entry.name.every((byte, at) => byte === name[at]))
  return (exact ?? entries[0])?.ino
}

async function inBlocks(
  volume: XfsVolume,
  inode: Dinode,
  name: Uint8Array,
): Promise<InodeNumber | undefined> {
  const { hash, equal } = nameRules(volume.superblock.hasAsciiCi)
  const wanted = hash(name)
  const matches: NamedInode[] = []
  try {
    const directory = await blockDirectory(volume, inode)
    const { fork, single } = directory
    for await (const entries of hashedFrom(directory, wanted)) {
      let index = firstFrom(entries, wanted)
      for (; index < entries.count && entries.hash(index) === wanted; index++) {
        const address = entries.address(index) * ADDRESS_UNIT
        if (address === 0) continue
        const { dirBlockSize, hasFtype } = volume.superblock
        const data = await readDirData(fork, Math.floor(address / dirBlockSize), single)
        const entry = dirDataEntryAt(fork, data, address % dirBlockSize, hasFtype)
        if (equal(entry.name, name)) matches.push(entry)
      }
      if (index < entries.count) break
    }
  } catch (error) {
    // The hashes are only a way to the entries, which may be sound where a hash block is not.
    if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
    matches.length = 0
    for await (const entry of stored(volume, inode)) if (equal(entry.name, name)) matches.push(entry)
    if (matches.length === 0) throw error
  }
  return best(matches, name)
}

async function* hashedFrom({ fork, single }: BlockDirectory, hash: number): AsyncIterable<HashEntries> {
  const { isV5, sb_blocksize } = fork.volume.superblock
  if (single) {
    const { view } = await readDirData(fork, 0, true)
    const entries = hashEntries(view, blockLeafStart(view), blockLeafCount(view))
    checkOrder(fork, entries)
    yield entries
    return
  }
  for await (const { view } of hashLeaves(fork, LEAF_OFFSET / sb_blocksize, hash, dirLeafShape(fork)))
    yield leafEntries(view, isV5)
}
