import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import { initMapping } from './block-mapping.ts'
import type { Ext4Context } from './context.ts'
import { readData } from './file-data.ts'
import { freeData, writeData } from './file-write.ts'
import { FILE_TYPE_BITS, INODE_FLAG, type Inode } from './inode.ts'
import { entryHash, type XattrEntry } from './xattr-entry.ts'

/*
 * The ea_inode feature: a large value is the content of an inode of its own, which several entries may share. That inode
 * keeps the value's checksum as its access time, and how many entries refer to it as its version (lower half) and change
 * time (upper half); see fs/ext4/xattr.c, ext4_xattr_inode_get_ref and ext4_xattr_inode_get_hash.
 */

const SECOND = 1_000_000_000n

/** Reads a value and verifies it. `ERR_CORRUPT`. */
export async function readLargeValue(
  ctx: Ext4Context,
  owner: Inode,
  { inum, size }: XattrEntry,
): Promise<Uint8Array> {
  const inode = await valueInode(ctx, owner, inum)
  if (inode.size !== size) throw corrupt(owner, inum, `has ${inode.size} bytes where the entry says ${size}`)
  const value = new Uint8Array(size)
  const count = await readData(ctx, inode, 0, value)
  if (count !== size) throw corrupt(owner, inum, `has ${count} bytes where the entry says ${size}`)
  if (inode.atime / SECOND !== BigInt(checksum(ctx, value)) && !isLustre(owner, inode))
    throw corrupt(owner, inum, 'has a wrong checksum')
  return value
}

/** Values by Lustre's first form of the feature point back at their owner and have neither checksum nor count. */
function isLustre(owner: Inode, value: Inode): boolean {
  return value.mtime / SECOND === BigInt(owner.ino) && value.generation === owner.generation
}

/** Makes an inode for a value, with one entry referring to it: the entry is returned. */
export async function createLargeValue(
  ctx: Ext4Context,
  owner: Inode,
  key: Pick<XattrEntry, 'index' | 'name'>,
  value: Uint8Array,
): Promise<XattrEntry> {
  const mode = FILE_TYPE_BITS.file | 0o600
  const inode = await ctx.inodes.allocate(owner.ino, mode)
  inode.mode = mode
  inode.uid = owner.uid
  inode.gid = owner.gid
  inode.linksCount = 1
  inode.setFlag(INODE_FLAG.EA_INODE, true)
  const now = ctx.now()
  inode.mtime = now
  inode.crtime = now
  initMapping(ctx, inode)
  try {
    await writeData(ctx, inode, 0, value)
  } catch (error) {
    await discard(ctx, inode)
    throw error
  }
  const hash = checksum(ctx, value)
  inode.atime = BigInt(hash) * SECOND
  setReferences(inode, 1)
  ctx.inodes.markDirty(inode)
  const word = new Uint8Array(4)
  littleEndian(word, 'checksum').setU32(0, hash)
  return {
    index: key.index,
    name: key.name,
    value: new Uint8Array(0),
    inum: inode.ino,
    size: value.length,
    hash: entryHash(key.name, word),
  }
}

/** One entry more refers to the value. */
export async function retainLargeValue(ctx: Ext4Context, owner: Inode, inum: InodeNumber): Promise<void> {
  const inode = await valueInode(ctx, owner, inum)
  setReferences(inode, references(inode) + 1)
  ctx.inodes.markDirty(inode)
}

/** One entry less refers to the value; with the last one it goes. */
export async function releaseLargeValue(ctx: Ext4Context, owner: Inode, inum: InodeNumber): Promise<void> {
  const inode = await valueInode(ctx, owner, inum)
  const left = isLustre(owner, inode) ? 0 : references(inode) - 1
  if (left <= 0) {
    await discard(ctx, inode)
    return
  }
  setReferences(inode, left)
  ctx.inodes.markDirty(inode)
}

/** Blocks that a value counts for in its owner's i_blocks, as if it had them itself (ext4_xattr_inode_alloc_quota). */
export function chargedBlocks(ctx: Ext4Context, { inum, size }: XattrEntry): number {
  return inum === 0 ? 0 : Math.ceil(size / ctx.blockSize)
}

async function valueInode(ctx: Ext4Context, owner: Inode, inum: InodeNumber): Promise<Inode> {
  const inode = await ctx.inodes.read(inum)
  if (!inode.hasFlag(INODE_FLAG.EA_INODE) || inode.type !== 'file')
    throw corrupt(owner, inum, 'is not marked as one (EA_INODE)')
  return inode
}

async function discard(ctx: Ext4Context, inode: Inode): Promise<void> {
  await freeData(ctx, inode)
  inode.linksCount = 0
  await ctx.inodes.free(inode)
}

function references(inode: Inode): number {
  return Number(BigInt.asUintN(32, inode.ctime / SECOND)) * 0x1_0000_0000 + inode.version
}

function setReferences(inode: Inode, count: number): void {
  inode.ctime = BigInt(Math.floor(count / 0x1_0000_0000)) * SECOND
  inode.version = count % 0x1_0000_0000
}

function checksum(ctx: Ext4Context, value: Uint8Array): number {
  return crc32c(ctx.checksumSeed, value)
}

function corrupt(owner: Inode, inum: InodeNumber, fault: string): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `inode ${inum}, a value of an attribute of inode ${owner.ino}, ${fault}; run e2fsck`,
    { inode: owner.ino, value: inum },
  )
}
