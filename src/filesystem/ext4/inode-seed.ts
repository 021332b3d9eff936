import { littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import type { Ext4Context, InodeChecksumSeed } from './context.ts'
import type { Inode } from './inode.ts'

/** Reused: a seed is needed for each block that is read or written. */
const view = littleEndian(new Uint8Array(8), 'inode checksum seed')

/** What the checksums of an inode's extent blocks, directory blocks and htree nodes start from (i_csum_seed). */
export function inodeSeed(ctx: Pick<Ext4Context, 'checksumSeed'>, inode: Inode): InodeChecksumSeed {
  view.setU32(0, inode.ino)
  view.setU32(4, inode.generation)
  return crc32c(ctx.checksumSeed, view.bytes)
}
