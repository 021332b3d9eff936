import { DrydiskError } from '../../errors.ts'
import type { Ext4Context } from './context.ts'
import type { Inode } from './inode.ts'
import { fitsBlock, readXattrBlock, setRefcount, writeXattrBlock, type XattrBlock } from './xattr-block.ts'
import { sameName, type XattrEntry } from './xattr-entry.ts'
import { fitsInode, readInodeXattrs, useExtraFields, writeInodeXattrs } from './xattr-inode.ts'
import { chargedBlocks, createLargeValue, releaseLargeValue, retainLargeValue } from './xattr-value-inode.ts'

type Key = Pick<XattrEntry, 'index' | 'name'>

/** All attributes: those in the inode, then those in the block. */
export async function readEntries(ctx: Ext4Context, inode: Inode): Promise<XattrEntry[]> {
  const inInode = readInodeXattrs(inode)
  const block = await readXattrBlock(ctx, inode)
  return block ? [...inInode, ...block.entries] : inInode
}

/** Where an inode's attributes are, and the one in question among them. */
interface Present {
  readonly inInode: readonly XattrEntry[]
  readonly block: XattrBlock | undefined
  readonly fromInode: XattrEntry | undefined
  readonly fromBlock: XattrEntry | undefined
}

async function look(ctx: Ext4Context, inode: Inode, key: Key): Promise<Present> {
  const inInode = readInodeXattrs(inode)
  const block = await readXattrBlock(ctx, inode)
  return {
    inInode,
    block,
    fromInode: inInode.find(entry => sameName(entry, key)),
    fromBlock: block?.entries.find(entry => sameName(entry, key)),
  }
}

/** Removes an attribute; false where there is none. Times are the caller's. */
export async function removeEntry(ctx: Ext4Context, inode: Inode, key: Key): Promise<boolean> {
  const present = await look(ctx, inode, key)
  if (!present.fromInode && !present.fromBlock) return false
  await rewrite(ctx, inode, present, key, undefined, undefined)
  return true
}

/**
 * Sets an attribute: in the inode where it fits there, else in the block, else (with ea_inode) in an inode of its own.
 * `ENOSPC`, with nothing changed, where it fits nowhere. Times are the caller's.
 */
export async function storeEntry(ctx: Ext4Context, inode: Inode, key: Key, value: Uint8Array): Promise<void> {
  if (!ctx.superblock.has('ext_attr')) await turnOnAttributes(ctx)
  useExtraFields(inode)
  const present = await look(ctx, inode, key)
  const { index, name } = key
  const entry: XattrEntry = { index, name, value, inum: 0, size: value.length, hash: undefined }
  const place = placeFor(ctx, inode, present, entry)
  if (place !== undefined) {
    await rewrite(ctx, inode, present, key, entry, place)
  } else {
    // The blocks of a large value count in i_blocks, by which e2fsck up to 1.47.0 tells that a target is not in the inode:
    // to it, a short symlink with such a value is damaged, though the kernel makes them.
    if (!ctx.superblock.has('ea_inode') || inode.type === 'symlink') throw noRoom(inode, value.length)
    await storeLarge(ctx, inode, present, key, value)
  }
}

/** The feature makes i_file_acl of every inode count, whatever has been in it: only where that is nothing. */
async function turnOnAttributes(ctx: Ext4Context): Promise<void> {
  const ino = await ctx.inodes.findAttributeBlock()
  if (ino !== undefined)
    throw new DrydiskError(
      'ENOTSUP',
      `the filesystem has no extended attributes (ext_attr is off), and inode ${ino} would get what is none with them; run e2fsck`,
      { inode: ino, feature: 'ext_attr' },
    )
  ctx.superblock.setFeature('ext_attr', true)
}

async function storeLarge(
  ctx: Ext4Context,
  inode: Inode,
  present: Present,
  key: Key,
  value: Uint8Array,
): Promise<void> {
  const entry = await createLargeValue(ctx, inode, key, value)
  try {
    const place = placeFor(ctx, inode, present, entry)
    if (place === undefined) throw noRoom(inode, value.length)
    await rewrite(ctx, inode, present, key, entry, place)
  } catch (error) {
    await releaseLargeValue(ctx, inode, entry.inum)
    throw error
  }
}

function noRoom(inode: Inode, length: number): DrydiskError {
  return new DrydiskError(
    'ENOSPC',
    `inode ${inode.ino} has no room for an attribute of ${length} bytes: its attributes fill their block`,
    { inode: inode.ino, length },
  )
}

function placeFor(
  ctx: Ext4Context,
  inode: Inode,
  { inInode, block }: Present,
  entry: XattrEntry,
): 'inode' | 'block' | undefined {
  if (fitsInode(inode, replaced(inInode, entry, entry))) return 'inode'
  return fitsBlock(ctx, replaced(block?.entries ?? [], entry, entry)) ? 'block' : undefined
}

/** The list with an entry in place of the one of that name, or without it. */
function replaced(entries: readonly XattrEntry[], key: Key, entry: XattrEntry | undefined): XattrEntry[] {
  const at = entries.findIndex(other => sameName(other, key))
  const out = entries.filter(other => !sameName(other, key))
  if (entry) out.splice(at < 0 ? out.length : at, 0, entry)
  return out
}

async function rewrite(
  ctx: Ext4Context,
  inode: Inode,
  { inInode, block, fromInode, fromBlock }: Present,
  key: Key,
  entry: XattrEntry | undefined,
  place: 'inode' | 'block' | undefined,
): Promise<void> {
  // The block first: it may find no space, and the inode is not changed then.
  const shared = block !== undefined && block.refcount > 1
  if (fromBlock || place === 'block')
    await storeBlock(
      ctx,
      inode,
      block,
      replaced(block?.entries ?? [], key, place === 'block' ? entry : undefined),
      entry,
    )
  if (fromInode || place === 'inode')
    writeInodeXattrs(inode, replaced(inInode, key, place === 'inode' ? entry : undefined))
  let charge = entry ? chargedBlocks(ctx, entry) : 0
  for (const gone of [fromInode, fromBlock]) if (gone) charge -= chargedBlocks(ctx, gone)
  if (charge !== 0) inode.addBlocks(charge)
  ctx.inodes.markDirty(inode)
  if (fromInode && fromInode.inum !== 0) await releaseLargeValue(ctx, inode, fromInode.inum)
  // A shared block keeps what it had, and so its hold on the value.
  if (fromBlock && fromBlock.inum !== 0 && !shared) await releaseLargeValue(ctx, inode, fromBlock.inum)
}

/** Gives the inode a block with these entries; a block that others share stays with them. */
async function storeBlock(
  ctx: Ext4Context,
  inode: Inode,
  block: XattrBlock | undefined,
  entries: readonly XattrEntry[],
  added: XattrEntry | undefined,
): Promise<void> {
  if (entries.length === 0) {
    if (block) await leaveBlock(ctx, inode, block)
    return
  }
  if (block?.refcount === 1) {
    await writeXattrBlock(ctx, block.block, false, entries)
    return
  }
  const run = await ctx.allocator.allocate(ctx.allocator.goalFor(inode), 1)
  await writeXattrBlock(ctx, run.block, true, entries)
  inode.fileAcl = run.block
  if (block === undefined) inode.addBlocks(1)
  else {
    await setRefcount(ctx, block.block, block.refcount - 1)
    for (const { inum } of entries)
      if (inum !== 0 && inum !== added?.inum) await retainLargeValue(ctx, inode, inum)
  }
  ctx.inodes.markDirty(inode)
}

/** Takes the block from the inode; it is freed with the last inode that shares it. */
async function leaveBlock(ctx: Ext4Context, inode: Inode, block: XattrBlock): Promise<void> {
  inode.fileAcl = 0
  inode.addBlocks(-1)
  ctx.inodes.markDirty(inode)
  if (block.refcount > 1) await setRefcount(ctx, block.block, block.refcount - 1)
  else await ctx.allocator.free({ block: block.block, count: 1 })
}

/** Gives back what the attributes of an inode hold, before the inode is freed. */
export async function freeXattrs(ctx: Ext4Context, inode: Inode): Promise<void> {
  const inInode = readInodeXattrs(inode)
  const block = await readXattrBlock(ctx, inode)
  if (block) await leaveBlock(ctx, inode, block)
  const gone = block?.refcount === 1 ? [...inInode, ...block.entries] : inInode
  for (const { inum } of gone) if (inum !== 0) await releaseLargeValue(ctx, inode, inum)
}
