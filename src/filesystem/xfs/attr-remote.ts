import { type ByteView, bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { RemoteValue } from './attr-entry.ts'
import { checksumIsRight } from './checksum.ts'
import type { DaFork } from './da-block.ts'
import type { VolumeBlock } from './geometry.ts'
import type { Superblock } from './superblock.ts'
import type { XfsVolume } from './volume.ts'

/** struct xfs_attr3_rmt_hdr, which version 5 has at the beginning of every block. */
export const REMOTE_HEADER = 56
export const REMOTE_CRC_OFFSET = 12
const MAGIC = 0x5841_524d
/** What rm_lsn is in all of them: values do not go through the log (NULLCOMMITLSN). */
const NO_LSN = 0xffff_ffff_ffff_ffffn

/** What one block holds of a value. */
export function remoteRoom({ isV5, sb_blocksize }: Superblock): number {
  return sb_blocksize - (isV5 ? REMOTE_HEADER : 0)
}

/** A value that lies in blocks of its own. */
export async function readRemoteValue(
  fork: DaFork,
  { valueblk, valuelen }: RemoteValue,
): Promise<Uint8Array> {
  const { volume } = fork
  const { superblock } = volume
  const room = remoteRoom(superblock)
  const blocks = (await fork.map.blocks(valueblk, Math.ceil(valuelen / room))) ?? []
  const value = new Uint8Array(valuelen)
  if (blocks.length * room < valuelen) throw fork.corrupt('the value of an attribute has no blocks')
  for (const [index, block] of blocks.entries()) {
    const at = index * room
    const length = Math.min(room, valuelen - at)
    const bytes = await blockOf(volume, block)
    if (superblock.isV5) checkHeader(fork, bytes, { block, at, length })
    value.set(bytes.subarray(superblock.isV5 ? REMOTE_HEADER : 0).subarray(0, length), at)
  }
  return value
}

/** Not kept where it is not in memory: values are large and read once. */
async function blockOf({ buffers, device, geometry }: XfsVolume, block: VolumeBlock): Promise<Uint8Array> {
  if (buffers.holds(block)) return buffers.read(block)
  const bytes = new Uint8Array(geometry.blockSize)
  await device.read(block * geometry.blockSize, bytes)
  return bytes
}

/** Which part of a value is where. */
interface Part {
  readonly block: VolumeBlock
  readonly at: number
  readonly length: number
}

function checkHeader(fork: DaFork, bytes: Uint8Array, { block, at, length }: Part): void {
  const { superblock, geometry } = fork.volume
  const view = bigEndian(bytes, 'xfs attribute value')
  const wrong = (what: string) => fork.corrupt(`a block of the value of an attribute ${what}`)
  if (view.u32(0) !== MAGIC) throw wrong(`has the magic number 0x${view.u32(0).toString(16)}`)
  fork.volume.verifyOnce(bytes, () => {
    if (!checksumIsRight(bytes, REMOTE_CRC_OFFSET)) throw wrong('has a wrong checksum')
  })
  if (!equalBytes(view.slice(16, 16), superblock.metaUuid)) throw wrong('is of another filesystem')
  if (view.big(32) !== BigInt(fork.ino)) throw wrong(`says that it belongs to inode ${view.big(32)}`)
  if (view.big(40) !== BigInt(geometry.diskAddress(block))) throw wrong(`belongs at sector ${view.big(40)}`)
  if (view.u32(4) !== at || view.u32(8) !== length)
    throw wrong(`has ${view.u32(8)} bytes at ${view.u32(4)}, expected ${length} at ${at}`)
}

/** Makes the header of a block of version 5; the checksum comes when the block is written. */
export function writeRemoteHeader(fork: DaFork, view: ByteView, { block, at, length }: Part): void {
  const { superblock, geometry } = fork.volume
  view.setU32(0, MAGIC)
  view.setU32(4, at)
  view.setU32(8, length)
  view.bytes.set(superblock.metaUuid, 16)
  view.setU64(32, fork.ino)
  view.setU64(40, geometry.diskAddress(block))
  view.setBig(48, NO_LSN)
}
