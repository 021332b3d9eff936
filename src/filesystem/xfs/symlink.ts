import { bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import { checksumIsRight } from './checksum.ts'
import { type Dinode, FORMAT } from './dinode.ts'
import { corrupt } from './errors.ts'
import { ForkMap } from './fork-map.ts'
import type { XfsVolume } from './volume.ts'

/** XFS_SYMLINK_MAXLEN */
export const MOST_TARGET = 1024
export const SYMLINK_MAGIC = 0x5853_4c4d
/** struct xfs_dsymlink_hdr, which version 5 has at the beginning of every extent. */
export const SYMLINK_HEADER = 56
export const SYMLINK_CRC_OFFSET = 12

/** What a symbolic link says. */
export async function readTarget(volume: XfsVolume, inode: Dinode): Promise<Uint8Array> {
  const { di_size, ino, data } = inode
  const wrong = (what: string) => corrupt('symlink', `symlink ${ino} ${what}`, { inode: ino })
  if (di_size === 0 || di_size > MOST_TARGET)
    throw wrong(`has a target of ${di_size} bytes, expected 1 to ${MOST_TARGET}`)
  if (data.format === FORMAT.LOCAL) return data.literal.slice(0, di_size).slice()
  const { geometry, superblock } = volume
  const target = new Uint8Array(di_size)
  let done = 0
  for await (const { br_startblock, br_blockcount } of new ForkMap(volume, inode, data).extents()) {
    if (done === di_size) break
    const block = geometry.volumeBlock(br_startblock)
    if (br_blockcount * geometry.blockSize > MOST_TARGET + geometry.blockSize * 4)
      throw wrong(`has an extent of ${br_blockcount} blocks`)
    const blocks = Array.from({ length: br_blockcount }, (_, index) => block + index)
    const bytes = await volume.buffer(blocks)
    let length = Math.min(di_size - done, bytes.length)
    if (superblock.isV5) {
      length = Math.min(di_size - done, bytes.length - SYMLINK_HEADER)
      const view = bigEndian(bytes, 'xfs symlink')
      volume.verifyOnce(bytes, () => {
        if (view.u32(0) !== SYMLINK_MAGIC)
          throw wrong(`has a block with the magic number 0x${view.u32(0).toString(16)}`)
        if (!checksumIsRight(bytes, SYMLINK_CRC_OFFSET)) throw wrong('has a block with a wrong checksum')
        if (!equalBytes(view.slice(16, 16), superblock.metaUuid))
          throw wrong('has a block of another filesystem')
        if (view.big(40) !== BigInt(geometry.diskAddress(block)))
          throw wrong(`has a block that belongs at ${view.big(40)}`)
      })
      if (view.u32(0) !== SYMLINK_MAGIC || view.big(32) !== BigInt(ino))
        throw wrong(`has a block of inode ${view.big(32)}`)
      if (view.u32(4) !== done || view.u32(8) !== length)
        throw wrong(`has ${view.u32(8)} bytes at ${view.u32(4)}, expected ${length} at ${done}`)
    }
    target.set(bytes.subarray(superblock.isV5 ? SYMLINK_HEADER : 0).subarray(0, length), done)
    done += length
  }
  if (done < di_size) throw wrong(`has blocks for ${done} of ${di_size} bytes`)
  return target
}
