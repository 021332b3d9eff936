import { printable } from '../../bytes/names.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { DirectoryEntry, FileType, InodeNumber } from '../filesystem.ts'
import type { Ext4Context } from './context.ts'
import { isIndexed, leafArea, sealLeaf } from './directory-block.ts'
import { type Entry, EntryArea, entryFormat } from './directory-entry.ts'
import {
  appendLinear,
  type BlockPlace,
  findLinear,
  insertLinear,
  linearEntries,
  readDots,
  removeFromBlock,
  retargetInBlock,
} from './directory-linear.ts'
import { addIndexed, canBecomeIndexed, makeIndexed } from './htree-insert.ts'
import { findIndexed } from './htree-lookup.ts'
import { IndexNode } from './htree-node.ts'
import {
  addInline,
  convertInlineDirectory,
  findInline,
  type InlinePlace,
  inlineEntries,
  inlineParent,
  removeInline,
  retargetInline,
  setInlineParent,
} from './inline-directory.ts'
import { INODE_FLAG, type Inode } from './inode.ts'

/** EXT4_NAME_LEN */
const MAX_NAME = 255
const ROOT_INO = 2
/** s_first_ino of filesystems that have no such field (EXT4_GOOD_OLD_FIRST_INO). */
const GOOD_OLD_FIRST_INO = 11

/** Where a name is stored. Good until the directory changes. */
export type EntryPlace = BlockPlace | InlinePlace

/** `ENOTDIR` for what is no directory, `ERR_UNSUPPORTED` for one whose names are encrypted. */
function requireDirectory(directory: Inode): void {
  const { ino } = directory
  if (!directory.isDirectory)
    throw new DrydiskError(
      'ENOTDIR',
      `inode ${ino} is a ${directory.type ?? 'freed inode'}, not a directory`,
      {
        inode: ino,
      },
    )
  if (directory.hasFlag(INODE_FLAG.ENCRYPT))
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `directory ${ino} is encrypted (fscrypt): drydisk has no key for its names`,
      { inode: ino },
    )
}

function requireLength(name: Uint8Array): void {
  if (name.length > MAX_NAME)
    throw new DrydiskError('ENAMETOOLONG', `a name of ${name.length} bytes is longer than ${MAX_NAME}`, {
      length: name.length,
    })
}

/** `EINVAL` for what is no name of one entry: empty, or with `/` or NUL in it. */
export function requireName(name: Uint8Array): void {
  requireLength(name)
  if (name.length === 0 || name.includes(0) || name.includes(0x2f))
    throw new DrydiskError(
      'EINVAL',
      `'${printable(name)}' is not a file name: it is empty or contains '/' or NUL`,
    )
}

/** `.` or `..` */
export function isDots(name: Uint8Array): boolean {
  return name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))
}

/** The inode of a name; `.` and `..` are found. `ENOENT` when there is no such name, `ENOTDIR`, `ENAMETOOLONG`. */
export async function lookupName(ctx: Ext4Context, directory: Inode, name: Uint8Array): Promise<InodeNumber> {
  requireDirectory(directory)
  requireLength(name)
  if (isDots(name)) return name.length === 1 ? directory.ino : readParent(ctx, directory)
  return (await requireEntry(ctx, directory, name)).ino
}

/** The place of a name that must be there; `ENOENT`. */
export async function requireEntry(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
): Promise<EntryPlace> {
  const place = await findEntry(ctx, directory, name)
  if (place === undefined)
    throw new DrydiskError('ENOENT', `there is no '${printable(name)}' in inode ${directory.ino}`, {
      inode: directory.ino,
    })
  return place
}

/**
 * Finds a name other than `.` and `..`. `ERR_CORRUPT` for a name of an inode that is the filesystem's own (the journal, …):
 * no name leads there.
 */
export async function findEntry(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
): Promise<EntryPlace | undefined> {
  const place = await findPlace(ctx, directory, name)
  if (place !== undefined && isReserved(ctx, place.ino))
    throw new DrydiskError(
      'ERR_CORRUPT',
      `'${printable(name)}' in directory ${directory.ino} leads to inode ${place.ino}, which is the filesystem's own; run e2fsck`,
      { inode: directory.ino },
    )
  return place
}

/** As fs/ext4/inode.c, __ext4_iget: the root is the only one below s_first_ino that has a name. */
function isReserved(ctx: Ext4Context, ino: InodeNumber): boolean {
  const { superblock } = ctx
  const first = superblock.s_rev_level === 0 ? GOOD_OLD_FIRST_INO : superblock.s_first_ino
  return (
    (ino < first && ino !== ROOT_INO) ||
    (superblock.has('orphan_file') && ino === superblock.s_orphan_file_inum)
  )
}

/** A damaged index is passed by: the names are in the leaves all the same. */
async function findPlace(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
): Promise<EntryPlace | undefined> {
  requireDirectory(directory)
  if (name.length === 0 || name.includes(0x2f)) return undefined
  if (directory.hasFlag(INODE_FLAG.INLINE_DATA)) return findInline(ctx, directory, name)
  // A casefolded directory hashes folded names; what is asked for here are exact ones.
  if (isIndexed(ctx, directory) && !directory.hasFlag(INODE_FLAG.CASEFOLD))
    try {
      return await findIndexed(ctx, directory, name)
    } catch (error) {
      if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')) throw error
    }
  return findLinear(ctx, directory, name)
}

async function* rawEntries(ctx: Ext4Context, directory: Inode): AsyncGenerator<Iterable<Entry>> {
  if (directory.hasFlag(INODE_FLAG.INLINE_DATA)) yield inlineEntries(ctx, directory)
  else yield* linearEntries(ctx, directory)
}

/**
 * All names but `.` and `..`, in on-disk order. `ERR_CORRUPT` for a name that could lead elsewhere: empty, or with `/`
 * or NUL in it.
 */
export async function* listNames(ctx: Ext4Context, directory: Inode): AsyncGenerator<DirectoryEntry> {
  requireDirectory(directory)
  for await (const entries of rawEntries(ctx, directory))
    for (const { name, ino, type } of entries) {
      if (isDots(name)) continue
      if (name.length === 0 || name.includes(0x2f) || name.includes(0))
        throw new DrydiskError(
          'ERR_CORRUPT',
          `directory ${directory.ino} has the name '${printable(name)}', which no file can have; run e2fsck`,
          { inode: directory.ino },
        )
      const copy = name.slice()
      yield { name: copy, ino, type: type ?? (await typeOf(ctx, ino)) }
    }
}

async function typeOf(ctx: Ext4Context, ino: InodeNumber): Promise<FileType> {
  const { type, mode } = await ctx.inodes.read(ino)
  if (type === undefined)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `inode ${ino}: mode 0${mode.toString(8)} has no file type; run e2fsck`,
      { inode: ino },
    )
  return type
}

export async function isEmptyDirectory(ctx: Ext4Context, directory: Inode): Promise<boolean> {
  requireDirectory(directory)
  for await (const entries of rawEntries(ctx, directory))
    for (const { name } of entries) if (!isDots(name)) return false
  return true
}

/** Adds a name. `EEXIST`, `EINVAL`, `ENAMETOOLONG`, `ENOSPC`. Times and link counts are the caller's. */
export async function addName(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  ino: InodeNumber,
  type: FileType,
): Promise<void> {
  await requireNewName(ctx, directory, name)
  await insertName(ctx, directory, name, ino, type)
}

/** Whether a name can be added: a name at all, and not there yet. */
export async function requireNewName(ctx: Ext4Context, directory: Inode, name: Uint8Array): Promise<void> {
  requireDirectory(directory)
  requireName(name)
  if (isDots(name) || (await findEntry(ctx, directory, name)) !== undefined)
    throw new DrydiskError('EEXIST', `'${printable(name)}' exists in inode ${directory.ino}`, {
      inode: directory.ino,
    })
  requireAddable(directory)
}

/** `ERR_UNSUPPORTED` for a directory that takes names but none from here. */
export function requireAddable(directory: Inode): void {
  if (directory.hasFlag(INODE_FLAG.CASEFOLD))
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `directory ${directory.ino} is casefolded: drydisk adds no names to it, as it does not fold names`,
      { inode: directory.ino },
    )
}

/** Adds a name that is known not to be there. */
export async function insertName(
  ctx: Ext4Context,
  directory: Inode,
  name: Uint8Array,
  ino: InodeNumber,
  type: FileType,
): Promise<void> {
  if (directory.hasFlag(INODE_FLAG.INLINE_DATA)) {
    if (addInline(ctx, directory, name, ino, type)) return
    await convertInlineDirectory(ctx, directory)
  }
  if (isIndexed(ctx, directory)) return addIndexed(ctx, directory, name, ino, type)
  forgetIndex(ctx, directory)
  if (await insertLinear(ctx, directory, name, ino, type)) return
  if (!canBecomeIndexed(ctx, directory)) return appendLinear(ctx, directory, name, ino, type)
  await makeIndexed(ctx, directory)
  await addIndexed(ctx, directory, name, ino, type)
}

/** Without dir_index, names go where an index was: it is one no more (fs/ext4/ext4.h, ext4_update_dx_flag). */
function forgetIndex(ctx: Ext4Context, directory: Inode): void {
  if (!directory.hasFlag(INODE_FLAG.INDEX)) return
  directory.setFlag(INODE_FLAG.INDEX, false)
  ctx.inodes.markDirty(directory)
}

/** Takes a name away. Times and link counts are the caller's. */
export async function removeEntry(ctx: Ext4Context, directory: Inode, place: EntryPlace): Promise<void> {
  if ('stretch' in place) removeInline(ctx, directory, place)
  else await removeFromBlock(ctx, directory, place)
}

/** Makes an entry lead to another inode. */
export async function retargetEntry(
  ctx: Ext4Context,
  directory: Inode,
  place: EntryPlace,
  ino: InodeNumber,
  type: FileType,
): Promise<void> {
  if ('stretch' in place) retargetInline(ctx, directory, place, ino, type)
  else await retargetInBlock(ctx, directory, place, ino, type)
}

/** What `..` leads to. */
export async function readParent(ctx: Ext4Context, directory: Inode): Promise<InodeNumber> {
  requireDirectory(directory)
  if (directory.hasFlag(INODE_FLAG.INLINE_DATA)) return inlineParent(directory)
  return (await readDots(ctx, directory)).parent
}

/** Makes `..` lead to another directory. */
export async function setDotDot(ctx: Ext4Context, directory: Inode, parent: InodeNumber): Promise<void> {
  requireDirectory(directory)
  if (directory.hasFlag(INODE_FLAG.INLINE_DATA)) return setInlineParent(ctx, directory, parent)
  const { block, dotDotOffset } = await readDots(ctx, directory)
  const bytes = await ctx.blocks.edit(block)
  if (isIndexed(ctx, directory)) {
    const { node } = IndexNode.root(ctx, directory, bytes)
    const where = `block 0 of directory ${directory.ino}`
    new EntryArea(bytes, entryFormat(ctx), where).retarget(dotDotOffset, parent, 'directory')
    node.seal(ctx, directory)
  } else {
    leafArea(ctx, directory, 0, bytes).retarget(dotDotOffset, parent, 'directory')
    sealLeaf(ctx, directory, bytes)
  }
}
