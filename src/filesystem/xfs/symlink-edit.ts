import { bigEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import { type Dinode, FORMAT } from './dinode.ts'
import { emptyFork, ForkEditor, makeExtentFork } from './fork/fork-edit.ts'
import { MOST_TARGET, readTarget, SYMLINK_CRC_OFFSET, SYMLINK_HEADER, SYMLINK_MAGIC } from './symlink.ts'
import type { XfsWriter } from './writer.ts'

/**
 * Writes the target of a new symlink, which is open for change and has no content: into the inode, or into blocks where it does not
 * fit. `ENOENT` for none, `ENAMETOOLONG` from 1024 bytes on, as symlink(2) has it.
 */
export async function storeTarget(writer: XfsWriter, inode: Dinode, target: Uint8Array): Promise<void> {
  if (target.length === 0) throw new DrydiskError('ENOENT', 'a symlink cannot be without a target')
  if (target.length >= MOST_TARGET)
    throw new DrydiskError(
      'ENAMETOOLONG',
      `a target of ${target.length} bytes: ${MOST_TARGET - 1} are the most of a symlink`,
    )
  inode.di_size = target.length
  if (target.length > inode.data.literal.length) await writeBlocks(writer, inode, target)
  else writeInline(inode, target)
}

function writeInline(inode: Dinode, target: Uint8Array): void {
  inode.di_format = FORMAT.LOCAL
  inode.data.literal.bytes.fill(0)
  inode.data.literal.bytes.set(target)
}

/** A target in the inode goes into blocks, because other things need its room. */
export async function targetToBlocks(writer: XfsWriter, inode: Dinode): Promise<void> {
  const target = inode.data.literal.slice(0, inode.di_size).slice()
  makeExtentFork(inode, 'data')
  await writeBlocks(writer, inode, target)
}

/** A target in blocks goes back where the inode has room for it: xfs_repair takes it for damage when it does not. */
export async function targetToInode(writer: XfsWriter, inode: Dinode): Promise<void> {
  if (inode.di_format === FORMAT.LOCAL || inode.di_size === 0 || inode.di_size > inode.data.literal.length)
    return
  const target = await readTarget(writer.volume, inode)
  await emptyFork(writer, inode, 'data')
  writeInline(inode, target)
}

/** Every extent is one buffer, in version 5 with a header (struct xfs_dsymlink_hdr). There are 3 at most (XFS_SYMLINK_MAPS). */
async function writeBlocks(writer: XfsWriter, inode: Dinode, target: Uint8Array): Promise<void> {
  const { volume } = writer
  const { superblock, buffers, geometry } = volume
  const header = superblock.isV5 ? SYMLINK_HEADER : 0
  const editor = new ForkEditor(writer, inode, 'data')
  const count = Math.ceil(target.length / (superblock.sb_blocksize - header))
  await editor.allocate(0, count)
  let done = 0
  for await (const { br_startblock, br_blockcount } of editor.map.extents()) {
    const block = geometry.volumeBlock(br_startblock)
    const blocks = Array.from({ length: br_blockcount }, (_, index) => block + index)
    const length = br_blockcount * superblock.sb_blocksize
    const bytes = buffers.fresh(blocks, { at: 0, length, crcAt: SYMLINK_CRC_OFFSET })
    volume.trust(bytes)
    const part = target.subarray(done, done + length - header)
    if (superblock.isV5) {
      const view = bigEndian(bytes, 'xfs symlink')
      view.setU32(0, SYMLINK_MAGIC)
      view.setU32(4, done)
      view.setU32(8, part.length)
      bytes.set(superblock.metaUuid, 16)
      view.setU64(32, inode.ino)
      view.setU64(40, geometry.diskAddress(block))
    }
    bytes.set(part, header)
    done += part.length
  }
}
