type Pointers = 'short' | 'long'

/** Bytes of struct xfs_btree_block (xfs_format.h), of version 4 and of version 5. */
const SIZES = { short: [16, 56], long: [24, 72] } as const

/** Where version 5 has what names a block, and its checksum: bb_blkno, bb_uuid, bb_owner, bb_crc. */
export const BTREE_FIELDS = {
  short: { blkno: 16, uuid: 32, owner: 48, crc: 52 },
  long: { blkno: 24, uuid: 40, owner: 56, crc: 64 },
} as const

export function btreeCrcOffset(pointers: Pointers): number {
  return BTREE_FIELDS[pointers].crc
}

export function btreeHeaderSize(pointers: Pointers, isV5: boolean): number {
  return SIZES[pointers][isV5 ? 1 : 0]
}
