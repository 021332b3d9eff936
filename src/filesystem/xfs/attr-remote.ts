import { bigEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { RemoteValue } from './attr-entry.ts'
import { checksumIsRight } from './checksum.ts'
import type { DaFork } from './da-block.ts'

const MAGIC = 0x5841_524d
/** struct xfs_attr3_rmt_hdr, which version 5 has at the beginning of every block. */
const HEADER = 56
const CRC_OFFSET = 12

/** A value that lies in blocks of its own. */
export async function readRemoteValue(
  fork: DaFork,
  { valueblk, valuelen }: RemoteValue,
): Promise<Uint8Array> {
  const { volume, ino } = fork
  const { superblock, geometry } = volume
  const header = superblock.isV5 ? HEADER : 0
  const room = geometry.blockSize - header
  const blocks = (await fork.map.blocks(valueblk, Math.ceil(valuelen / room))) ?? []
  const value = new Uint8Array(valuelen)
  if (blocks.length * room < valuelen) throw fork.corrupt('the value of an attribute has no blocks')
  for (const [index, block] of blocks.entries()) {
    const at = index * room
    const length = Math.min(room, valuelen - at)
    // Not kept: values are large and read once.
    const bytes = new Uint8Array(geometry.blockSize)
    await volume.device.read(block * geometry.blockSize, bytes)
    if (superblock.isV5) {
      const view = bigEndian(bytes, 'xfs attribute value')
      const wrong = (what: string) => fork.corrupt(`a block of the value of an attribute ${what}`)
      if (view.u32(0) !== MAGIC) throw wrong(`has the magic number 0x${view.u32(0).toString(16)}`)
      if (!checksumIsRight(bytes, CRC_OFFSET)) throw wrong('has a wrong checksum')
      if (!equalBytes(view.slice(16, 16), superblock.metaUuid)) throw wrong('is of another filesystem')
      if (view.big(32) !== BigInt(ino)) throw wrong(`says that it belongs to inode ${view.big(32)}`)
      if (view.big(40) !== BigInt(geometry.diskAddress(block)))
        throw wrong(`belongs at sector ${view.big(40)}`)
      if (view.u32(4) !== at || view.u32(8) !== length)
        throw wrong(`has ${view.u32(8)} bytes at ${view.u32(4)}, expected ${length} at ${at}`)
    }
    value.set(bytes.subarray(header, header + length), at)
  }
  return value
}
