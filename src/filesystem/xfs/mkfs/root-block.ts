import { type ByteView, bigEndian } from '../../../bytes/byte-view.ts'
import { btreeHeaderSize } from '../btree-header.ts'
import type { BtreeKind } from '../btree-kinds.ts'
import { storeChecksum } from '../checksum.ts'
import type { Superblock } from '../superblock.ts'

/** NULLAGBLOCK */
const NULL_BLOCK = 0xffff_ffff
const CRC_OFFSET = 52

/** Writes one record at an offset. */
export type WriteRecord = (view: ByteView, at: number) => void

/**
 * Fills a block with the root of a tree of one level (struct xfs_btree_block with short pointers).
 * @param bytes zeroed. @param place of the block. @param records in order.
 */
export function fillRoot<Record>(
  bytes: Uint8Array,
  kind: BtreeKind<Record>,
  place: { readonly agno: number; readonly daddr: number },
  records: readonly WriteRecord[],
  sb: Superblock,
): void {
  const view = bigEndian(bytes, `xfs ${kind.name}`)
  view.setU32(0, sb.isV5 ? kind.crcMagic : kind.magic)
  view.setU16(6, records.length)
  view.setU32(8, NULL_BLOCK)
  view.setU32(12, NULL_BLOCK)
  const start = btreeHeaderSize('short', sb.isV5)
  for (const [index, write] of records.entries()) write(view, start + index * kind.recordSize)
  if (!sb.isV5) return
  view.setU64(16, place.daddr)
  bytes.set(sb.metaUuid, 32)
  view.setU32(48, place.agno)
  storeChecksum(bytes, CRC_OFFSET)
}
