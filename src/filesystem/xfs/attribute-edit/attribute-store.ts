import { equalBytes } from '../../../bytes/compare.ts'
import { DrydiskError } from '../../../errors.ts'
import { ATTR, ATTR_NAMESPACE } from '../attr-entry.ts'
import type { AttributeKey } from '../attr-name.ts'
import { parseShortAttributes } from '../attr-shortform.ts'
import { type Dinode, FORMAT } from '../dinode.ts'
import { shortToBlock } from '../directory-edit/directory-edit.ts'
import { corrupt } from '../errors.ts'
import { VERSION } from '../features.ts'
import { emptyFork, makeExtentFork, resizeForks } from '../fork/fork-edit.ts'
import { targetToBlocks, targetToInode } from '../symlink-edit.ts'
import type { XfsVolume } from '../volume.ts'
import type { XfsWriter } from '../writer.ts'
import { AttributeTree } from './attribute-tree.ts'
import { defaultForkoff, forkoffFor, movesForks } from './fork-room.ts'
import { type ShortEntry, shortSize, writeShort } from './short-form.ts'

/** Where sb_versionnum is. */
const VERSIONNUM = 100

/** Sets or replaces an attribute, in whatever form the inode has room for. `ENOSPC`. */
export async function storeAttribute(
  writer: XfsWriter,
  inode: Dinode,
  key: AttributeKey,
  value: Uint8Array,
): Promise<void> {
  const entry = { flags: key.flags, name: key.name.slice(), value: value.slice() }
  if (inode.attributes === undefined) await addFork(writer, inode, shortSize([entry]))
  if (isShort(inode)) {
    const others = withoutKey(shortEntries(inode), key)
    if (await storeShort(writer, inode, [...others, entry])) return
    makeExtentFork(inode, 'attribute')
    await new AttributeTree(writer, inode).create(others)
  }
  const tree = new AttributeTree(writer, inode)
  if (await tree.set(key, entry.value)) await shrink(writer, inode, tree)
}

/** @returns whether it was there. */
export async function dropAttribute(writer: XfsWriter, inode: Dinode, key: AttributeKey): Promise<boolean> {
  if (inode.attributes === undefined) return false
  if (!isShort(inode)) {
    const tree = new AttributeTree(writer, inode)
    const found = await tree.remove(key)
    if (found) await shrink(writer, inode, tree)
    return found
  }
  const entries = shortEntries(inode)
  const others = withoutKey(entries, key)
  if (others.length === entries.length) return false
  await toShort(writer, inode, others)
  return true
}

/** Takes all attributes from an inode that is to be freed, and their fork. */
export async function emptyAttributes(writer: XfsWriter, inode: Dinode): Promise<void> {
  if (inode.attributes === undefined) return
  await emptyFork(writer, inode, 'attribute')
  await dropFork(writer, inode)
}

/** In the inode; a fork without blocks is as good as one with no attributes. */
function isShort({ di_aformat, attributeExtents }: Dinode): boolean {
  return di_aformat === FORMAT.LOCAL || (di_aformat === FORMAT.EXTENTS && attributeExtents === 0)
}

function shortEntries({ attributes, di_aformat, ino }: Dinode): ShortEntry[] {
  if (attributes === undefined || di_aformat !== FORMAT.LOCAL) return []
  const entries: ShortEntry[] = []
  for (const { flags, name, value } of parseShortAttributes(attributes.literal, ino))
    if (value instanceof Uint8Array) entries.push({ flags, name: name.slice(), value: value.slice() })
  return entries
}

function withoutKey(entries: readonly ShortEntry[], { flags, name }: AttributeKey): ShortEntry[] {
  return entries.filter(entry => (entry.flags & ATTR_NAMESPACE) !== flags || !equalBytes(entry.name, name))
}

/** @returns `false`, with nothing changed, where they do not fit into the inode. */
async function storeShort(
  writer: XfsWriter,
  inode: Dinode,
  entries: readonly ShortEntry[],
): Promise<boolean> {
  const size = shortSize(entries)
  const forkoff = size === undefined ? 0 : forkoffFor(inode, writer.volume.superblock, size)
  if (forkoff === 0) return false
  if (forkoff !== inode.di_forkoff && !(await resizeForks(writer, inode, forkoff))) return false
  inode.di_aformat = FORMAT.LOCAL
  inode.attributeExtents = 0
  const { attributes } = inode
  if (attributes !== undefined) writeShort(attributes.literal, entries)
  return true
}

/** These are all attributes, which the inode has room for; without any there is no fork for them any more. */
async function toShort(writer: XfsWriter, inode: Dinode, entries: readonly ShortEntry[]): Promise<void> {
  const keepsFork = !movesForks(writer.volume.superblock) || inode.di_format === FORMAT.BTREE
  if (entries.length === 0 && !keepsFork) await dropFork(writer, inode)
  else if (!(await storeShort(writer, inode, entries)))
    throw forkError(inode, 'does not take the attributes that it has room for')
}

/** Attributes of one leaf go back into the inode where they fit; those that were never completed are dropped then. */
async function shrink(writer: XfsWriter, inode: Dinode, tree: AttributeTree): Promise<void> {
  const leaf = await tree.onlyLeaf()
  if (leaf === undefined) return
  const entries: ShortEntry[] = []
  for (const { flags, name, value } of leaf) {
    if ((flags & ATTR.INCOMPLETE) !== 0) continue
    if (!(value instanceof Uint8Array)) return
    entries.push({ flags: flags & ATTR_NAMESPACE, name, value })
  }
  const size = shortSize(entries)
  if (size === undefined || forkoffFor(inode, writer.volume.superblock, size) === 0) return
  await emptyFork(writer, inode, 'attribute')
  await toShort(writer, inode, entries)
}

/** Gives an inode an attribute fork with nothing in it: data that the inode has no room for beside it goes into blocks. */
async function addFork(writer: XfsWriter, inode: Dinode, bytes = Number.POSITIVE_INFINITY): Promise<void> {
  const { superblock } = writer.volume
  const moved = async (): Promise<boolean> => {
    const forkoff = forkoffFor(inode, superblock, bytes) || defaultForkoff(inode, superblock)
    return resizeForks(writer, inode, forkoff)
  }
  if (!(await moved())) {
    if (inode.di_format === FORMAT.LOCAL && inode.type === 'directory') await shortToBlock(writer, inode)
    else if (inode.di_format === FORMAT.LOCAL && inode.type === 'symlink') await targetToBlocks(writer, inode)
    if (!(await moved()))
      throw new DrydiskError('ENOSPC', `inode ${inode.ino} has no room for attributes`, { inode: inode.ino })
  }
  await noteAttributes(writer.volume)
}

/** The superblock says that there are inodes with attributes (XFS_SB_VERSION_ATTRBIT). */
async function noteAttributes(volume: XfsVolume): Promise<void> {
  const stored = (await volume.readSuperblock()).u16(VERSIONNUM)
  if ((stored & VERSION.ATTR) === 0) (await volume.editSuperblock()).setU16(VERSIONNUM, stored | VERSION.ATTR)
}

/** An attribute fork without blocks goes away. */
async function dropFork(writer: XfsWriter, inode: Dinode): Promise<void> {
  makeExtentFork(inode, 'attribute')
  if (!(await resizeForks(writer, inode, 0))) throw forkError(inode, 'is empty and cannot go away')
  if (inode.type === 'symlink') await targetToInode(writer, inode)
}

function forkError({ ino }: Dinode, what: string): DrydiskError {
  return corrupt('inode', `the attribute fork of inode ${ino} ${what}`, { inode: ino })
}
