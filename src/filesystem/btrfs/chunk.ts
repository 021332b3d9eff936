import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { corrupt } from './errors.ts'
import { ITEM, OBJECTID } from './key.ts'

/** Bits of a chunk's type, which are those of a block group's flags. */
export const BLOCK_GROUP = {
  DATA: 1n << 0n,
  SYSTEM: 1n << 1n,
  METADATA: 1n << 2n,
  RAID0: 1n << 3n,
  RAID1: 1n << 4n,
  DUP: 1n << 5n,
  RAID10: 1n << 6n,
  RAID5: 1n << 7n,
  RAID6: 1n << 8n,
  RAID1C3: 1n << 9n,
  RAID1C4: 1n << 10n,
} as const

export interface Stripe {
  readonly devid: bigint
  /** Byte offset in the device. */
  readonly offset: number
}

/** A run of logical addresses and where on the devices it lies. */
export interface Chunk {
  readonly logical: number
  readonly length: number
  readonly type: bigint
  readonly stripes: readonly Stripe[]
}

const HEADER = 48
const STRIPE = 32
const KEY = 17

/** Bytes of a chunk item with so many stripes. */
function itemSize(stripes: number): number {
  return HEADER + stripes * STRIPE
}

/** On-disk format, "CHUNK_ITEM". @param logical the offset of the item's key. */
export function parseChunk(view: ByteView, logical: bigint): Chunk {
  const length = view.u64(0)
  const stripes = view.u16(44)
  if (stripes === 0 || itemSize(stripes) > view.length)
    throw corrupt('chunk', `the chunk at ${logical} has ${stripes} stripes in ${view.length} bytes`)
  const start = Number(logical)
  if (length === 0 || !Number.isSafeInteger(start + length))
    throw corrupt('chunk', `a chunk at ${logical} of ${length} bytes`)
  return {
    logical: start,
    length,
    type: view.big(24),
    stripes: Array.from({ length: stripes }, (_, index) => ({
      devid: view.big(HEADER + index * STRIPE),
      offset: view.u64(HEADER + index * STRIPE + 8),
    })),
  }
}

/** The chunks of the superblock: a key and a chunk item, one after another. They hold the chunk tree. */
export function parseSysChunkArray(bytes: Uint8Array): Chunk[] {
  const view = littleEndian(bytes, 'btrfs sys_chunk_array')
  const out: Chunk[] = []
  for (let at = 0; at < bytes.length; ) {
    const type = view.u8(at + 8)
    if (view.big(at) !== OBJECTID.FIRST_CHUNK_TREE || type !== ITEM.CHUNK_ITEM)
      throw corrupt('sys_chunk_array', `an item of type ${type} at ${at} of sys_chunk_array`)
    const size = itemSize(view.u16(at + KEY + 44))
    out.push(parseChunk(littleEndian(view.slice(at + KEY, size), 'btrfs sys_chunk_array'), view.big(at + 9)))
    at += KEY + size
  }
  return out
}
