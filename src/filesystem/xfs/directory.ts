import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { DirectoryEntry, InodeNumber } from '../filesystem.ts'
import { DaFork } from './da-block.ts'
import { type Dinode, FORMAT } from './dinode.ts'
import { dirDataEntries, readDirData } from './dir-data.ts'
import { checkName, dots, MOST_NAME, type NamedInode, nameRules, typeOfEntry } from './dir-name.ts'
import { type BlockDirectory, type EntryPlace, LEAF_OFFSET, searchEntry } from './dir-search.ts'
import { parseShortDirectory } from './dir-shortform.ts'
import { ForkMap } from './fork-map.ts'
import type { Inodes } from './inodes.ts'
import { after, type Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

/** What a directory's functions work on. */
export interface DirectoryContext {
  readonly volume: XfsVolume
  readonly inodes: Inodes
}

/** What a name leads to. */
export interface FoundEntry {
  readonly ino: InodeNumber
  /** Where the entry is, as long as the directory stays as it is: in blocks whose hashes are sound. */
  readonly place?: EntryPlace
}

/** One block is all when nothing is mapped behind it (xfs_dir2_isblock); the size tells only where entries end. */
function blockDirectory(volume: XfsVolume, inode: Dinode): Soon<BlockDirectory> {
  const { dirBlockSize, sb_blocksize, hasAsciiCi } = volume.superblock
  const count = dirBlockSize / sb_blocksize
  const { data } = inode
  const fork = new DaFork(volume, inode.ino, new ForkMap(volume, inode, data), count)
  const rules = nameRules(hasAsciiCi)
  if (data.format !== FORMAT.EXTENTS) return { fork, rules, single: false }
  return after(fork.map.end(), end => ({ fork, rules, single: end === count }))
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
  return found.ino
}

/** As `lookupName`; `undefined` when there is no such name. */
export function findEntry(
  { volume }: Pick<DirectoryContext, 'volume'>,
  inode: Dinode,
  name: Uint8Array,
): Soon<FoundEntry | undefined> {
  if (name.length > MOST_NAME)
    throw new DrydiskError('ENAMETOOLONG', `a name of ${name.length} bytes: ${MOST_NAME} is the longest`)
  if (dots(name) === 1) return { ino: inode.ino }
  return inode.di_format === FORMAT.LOCAL ? inShort(volume, inode, name) : inBlocks(volume, inode, name)
}

function inShort(volume: XfsVolume, inode: Dinode, name: Uint8Array): FoundEntry | undefined {
  const { parent, entries } = shortDirectory(volume, inode)
  if (dots(name) === 2) return { ino: parent }
  return best(volume, entries, name)
}

/** Where case does not count, the name as it is written comes first. */
function best(volume: XfsVolume, entries: readonly NamedInode[], name: Uint8Array): FoundEntry | undefined {
  const { equal } = nameRules(volume.superblock.hasAsciiCi)
  let first: NamedInode | undefined
  for (const entry of entries) {
    if (!equal(entry.name, name)) continue
    if (entry.name.every((byte, at) => byte === name[at])) return { ino: entry.ino }
    first ??= entry
  }
  return first && { ino: first.ino }
}

function inBlocks(volume: XfsVolume, inode: Dinode, name: Uint8Array): Soon<FoundEntry | undefined> {
  const otherwise = (error: unknown) => inEntries(volume, inode, name, error)
  try {
    const found = after(blockDirectory(volume, inode), directory =>
      after(searchEntry(directory, name), place => place && { ino: place.ino, place }),
    )
    return found instanceof Promise ? found.catch(otherwise) : found
  } catch (error) {
    return otherwise(error)
  }
}

/** The hashes are only a way to the entries, which may be sound where a hash block is not. */
async function inEntries(
  volume: XfsVolume,
  inode: Dinode,
  name: Uint8Array,
  error: unknown,
): Promise<FoundEntry> {
  if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
  const entries: NamedInode[] = []
  const { equal } = nameRules(volume.superblock.hasAsciiCi)
  for await (const entry of stored(volume, inode)) if (equal(entry.name, name)) entries.push(entry)
  const found = best(volume, entries, name)
  if (found === undefined) throw error
  return found
}
