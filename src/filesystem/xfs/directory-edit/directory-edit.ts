import { equalBytes } from '../../../bytes/compare.ts'
import { DrydiskError } from '../../../errors.ts'
import type { FileType } from '../../filesystem.ts'
import { type Dinode, FORMAT } from '../dinode.ts'
import { entryOfType, type NamedInode, nameRules } from '../dir-name.ts'
import { type FoundEntry, listNames } from '../directory.ts'
import { after, type Soon } from '../soon.ts'
import type { XfsWriter } from '../writer.ts'
import { type BlockForm, DirectoryBlocks } from './directory-blocks.ts'
import { DirLayout } from './layout.ts'
import { LeafForm } from './leaf-form.ts'
import { NodeForm } from './node-form.ts'
import { readShortForm, type ShortForm, shortFormSize, storeShortForm, withEntry } from './short-form.ts'
import { SingleForm, shortToSingle } from './single-form.ts'

const DOTDOT = new Uint8Array([0x2e, 0x2e])

/** A new inode becomes a directory without entries. It is open for change, and has no blocks. Only in a transaction, as all here. */
export function initDirectory(writer: XfsWriter, inode: Dinode, parent: number): void {
  inode.di_format = FORMAT.LOCAL
  storeShort(writer, inode, { parent, entries: [] })
}

/**
 * Adds an entry to a directory that is open for change. Its size and blocks follow; its times and all counts of links are the
 * caller's, and that the name is not there yet. `ENOSPC` leaves the transaction to be rolled back.
 */
export function addEntry(
  writer: XfsWriter,
  directory: Dinode,
  name: Uint8Array,
  ino: number,
  type: FileType,
): Soon<void> {
  const entry: NamedInode = { name, ino, filetype: entryOfType(type) }
  const blocks = new DirectoryBlocks(writer, directory)
  if (directory.data.format !== FORMAT.LOCAL) return addToBlocks(blocks, entry)
  const form = readShort(writer, directory)
  const grown = withEntry(form, entry, blocks.layout)
  if (grown !== undefined && fits(writer, directory, grown)) return storeShort(writer, directory, grown)
  return after(shortToSingle(blocks, form), () => addToBlocks(blocks, entry))
}

function addToBlocks(blocks: DirectoryBlocks, entry: NamedInode): Soon<void> {
  return after(formOf(blocks), form =>
    after(form.add(entry), done => (done ? undefined : addToNextForm(blocks, form, entry))),
  )
}

/** The form that the directory has is full. */
async function addToNextForm(blocks: DirectoryBlocks, form: BlockForm, entry: NamedInode): Promise<void> {
  if (form instanceof SingleForm) {
    await form.toLeaf()
    const leaf = new LeafForm(blocks)
    if (await leaf.add(entry)) return
    await leaf.toNode()
  } else if (form instanceof LeafForm) await form.toNode()
  await new NodeForm(blocks).add(entry)
}

/** Removes an entry that leads to an inode. `ENOENT` when there is none. @param found where, if it was looked for before. */
export function removeEntry(
  writer: XfsWriter,
  directory: Dinode,
  name: Uint8Array,
  { ino, place: known }: FoundEntry,
): Soon<void> {
  if (directory.data.format === FORMAT.LOCAL) {
    const form = readShort(writer, directory)
    const index = indexIn(writer, directory, form, name, ino)
    storeShort(writer, directory, { ...form, entries: form.entries.toSpliced(index, 1) })
    return
  }
  const blocks = new DirectoryBlocks(writer, directory)
  return after(known ?? blocks.find(name, ino), place => {
    if (place === undefined) throw noEntry(directory)
    return after(formOf(blocks), form => form.remove(place))
  })
}

/** An entry leads to another inode from now on. `ENOENT` when there is none. */
export async function replaceEntry(
  writer: XfsWriter,
  directory: Dinode,
  name: Uint8Array,
  ino: number,
  type: FileType,
): Promise<void> {
  const filetype = entryOfType(type)
  const blocks = new DirectoryBlocks(writer, directory)
  if (directory.data.format === FORMAT.LOCAL) {
    const form = readShort(writer, directory)
    const index = indexIn(writer, directory, form, name)
    const entries = form.entries.map((entry, at) => (at === index ? { ...entry, ino, filetype } : entry))
    const changed = { ...form, entries }
    if (fits(writer, directory, changed)) storeShort(writer, directory, changed)
    else await shortToSingle(blocks, changed)
    return
  }
  const place = await blocks.find(name)
  if (place === undefined) throw noEntry(directory)
  await (await formOf(blocks)).redirect(place, ino, filetype)
}

/** The directory has moved: `..` leads to another one. */
export async function setParent(writer: XfsWriter, directory: Dinode, parent: number): Promise<void> {
  if (directory.data.format !== FORMAT.LOCAL)
    return replaceEntry(writer, directory, DOTDOT, parent, 'directory')
  const changed = { ...readShort(writer, directory), parent }
  if (fits(writer, directory, changed)) storeShort(writer, directory, changed)
  else await shortToSingle(new DirectoryBlocks(writer, directory), changed)
}

/** A directory in its inode gets a block, for whoever needs the room in the inode. */
export async function shortToBlock(writer: XfsWriter, directory: Dinode): Promise<void> {
  const blocks = new DirectoryBlocks(writer, directory)
  await shortToSingle(blocks, readShort(writer, directory))
}

/** Whether the directory has no entries. */
export async function isEmptyDirectory(writer: XfsWriter, directory: Dinode): Promise<boolean> {
  for await (const _ of listNames(writer, directory)) return false
  return true
}

function formOf(blocks: DirectoryBlocks): Soon<BlockForm> {
  return after(blocks.isSingle(), single => {
    if (single) return new SingleForm(blocks)
    return after(blocks.hasOneLeaf(), leaf => (leaf ? new LeafForm(blocks) : new NodeForm(blocks)))
  })
}

function readShort({ volume }: XfsWriter, directory: Dinode): ShortForm {
  const layout = new DirLayout(volume.superblock, directory.ino)
  const form = readShortForm(directory.data.literal, directory.di_size, layout)
  for (const entry of [{ ino: form.parent, filetype: 0 }, ...form.entries])
    layout.requireEntry(entry, volume.geometry)
  return form
}

/** Whether the inode has room. */
function fits({ volume }: XfsWriter, directory: Dinode, form: ShortForm): boolean {
  return shortFormSize(form, volume.superblock.hasFtype) <= directory.data.literal.length
}

function storeShort({ volume }: XfsWriter, directory: Dinode, form: ShortForm): void {
  const { hasFtype } = volume.superblock
  storeShortForm(directory.data.literal, form, hasFtype)
  directory.di_size = shortFormSize(form, hasFtype)
}

/** Which entry it is; where case does not count, the name as it is written comes first. */
function indexIn(
  { volume }: XfsWriter,
  directory: Dinode,
  { entries }: ShortForm,
  name: Uint8Array,
  ino?: number,
): number {
  const { equal } = nameRules(volume.superblock.hasAsciiCi)
  const isIt = (entry: NamedInode) => equal(entry.name, name) && (ino === undefined || entry.ino === ino)
  const exact = entries.findIndex(entry => isIt(entry) && equalBytes(entry.name, name))
  const index = exact < 0 ? entries.findIndex(isIt) : exact
  if (index < 0) throw noEntry(directory)
  return index
}

function noEntry({ ino }: Dinode): DrydiskError {
  return new DrydiskError('ENOENT', 'no such file or directory', { inode: ino })
}
