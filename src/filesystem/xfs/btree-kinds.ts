import type { ByteView } from '../../bytes/byte-view.ts'

/** What records are ordered by. Keys of one kind of tree are all of one type. */
export type BtreeKey = number | bigint

/** What one kind of B+tree keeps, and how. */
export interface BtreeKind<Record> {
  readonly name: string
  /** bb_magic of version 4, and of version 5. Trees that came later have only the second. */
  readonly magic: number
  readonly crcMagic: number
  /** Short pointers are block numbers in the allocation group; long ones are of the whole filesystem. */
  readonly pointers: 'short' | 'long'
  readonly recordSize: number
  /** Of a node's entry; the reverse mapping has a lowest and a highest key there. */
  readonly keySize: number
  recordKey(view: ByteView, at: number): BtreeKey
  nodeKey(view: ByteView, at: number): BtreeKey
  parse(view: ByteView, at: number): Record
}

const TWO_32 = 2 ** 32

/** struct xfs_alloc_rec */
export interface AllocRecord {
  readonly ar_startblock: number
  readonly ar_blockcount: number
}

const firstWord = (view: ByteView, at: number) => view.u32(at)

const allocRecord = (view: ByteView, at: number): AllocRecord => ({
  ar_startblock: view.u32(at),
  ar_blockcount: view.u32(at + 4),
})

/** Free space by block number. */
export const BNOBT: BtreeKind<AllocRecord> = {
  name: 'bnobt',
  magic: 0x4142_5442,
  crcMagic: 0x4142_3342,
  pointers: 'short',
  recordSize: 8,
  keySize: 8,
  recordKey: firstWord,
  nodeKey: firstWord,
  parse: allocRecord,
}

/** By length, then block number. */
const byLength = (view: ByteView, at: number): bigint =>
  (BigInt(view.u32(at + 4)) << 32n) | BigInt(view.u32(at))

/** Free space by length. */
export const CNTBT: BtreeKind<AllocRecord> = {
  ...BNOBT,
  name: 'cntbt',
  magic: 0x4142_5443,
  crcMagic: 0x4142_3343,
  recordKey: byLength,
  nodeKey: byLength,
}

/** struct xfs_inobt_rec: a chunk of 64 inodes. */
export interface InobtRecord {
  readonly ir_startino: number
  /** A bit for each four inodes that are not there; 0 without sparse inodes. */
  readonly ir_holemask: number
  /** Inodes that are there. */
  readonly ir_count: number
  readonly ir_freecount: number
  /** A bit for each free inode; those that are not there count as free. */
  readonly ir_free: bigint
}

function inobt(name: string, magic: number, crcMagic: number, sparse: boolean): BtreeKind<InobtRecord> {
  return {
    name,
    magic,
    crcMagic,
    pointers: 'short',
    recordSize: 16,
    keySize: 4,
    recordKey: firstWord,
    nodeKey: firstWord,
    parse: (view, at) => ({
      ir_startino: view.u32(at),
      ir_holemask: sparse ? view.u16(at + 4) : 0,
      ir_count: sparse ? view.u8(at + 6) : 64,
      ir_freecount: sparse ? view.u8(at + 7) : view.u32(at + 4),
      ir_free: view.big(at + 8),
    }),
  }
}

export const inobtKind = (sparse: boolean): BtreeKind<InobtRecord> =>
  inobt('inobt', 0x4941_4254, 0x4941_4233, sparse)
export const finobtKind = (sparse: boolean): BtreeKind<InobtRecord> =>
  inobt('finobt', 0x4649_4254, 0x4649_4233, sparse)

/** struct xfs_rmap_rec */
export interface RmapRecord {
  readonly rm_startblock: number
  readonly rm_blockcount: number
  /** An inode, or one of XFS_RMAP_OWN_*. */
  readonly rm_owner: bigint
  /** With the flags in the upper bits. */
  readonly rm_offset: bigint
}

/** Unwritten is no part of a key; the other two flags are. */
const UNWRITTEN = 1n << 61n

const rmapKey = (start: number, owner: bigint, offset: bigint): bigint =>
  (BigInt(start) << 128n) | (owner << 64n) | (offset & ~UNWRITTEN)

/** What every block is used for. */
export const RMAPBT: BtreeKind<RmapRecord> = {
  name: 'rmapbt',
  magic: 0,
  crcMagic: 0x524d_4233,
  pointers: 'short',
  recordSize: 24,
  keySize: 40,
  recordKey: (view, at) => rmapKey(view.u32(at), view.big(at + 8), view.big(at + 16)),
  nodeKey: (view, at) => rmapKey(view.u32(at), view.big(at + 4), view.big(at + 12)),
  parse: (view, at) => ({
    rm_startblock: view.u32(at),
    rm_blockcount: view.u32(at + 4),
    rm_owner: view.big(at + 8),
    rm_offset: view.big(at + 16),
  }),
}

/** struct xfs_refcount_rec */
export interface RefcountRecord {
  /** With XFS_REFC_COWFLAG, the highest bit, for what waits to be written by copy-on-write. */
  readonly rc_startblock: number
  readonly rc_blockcount: number
  readonly rc_refcount: number
}

/** Blocks that several files share. */
export const REFCBT: BtreeKind<RefcountRecord> = {
  name: 'refcountbt',
  magic: 0,
  crcMagic: 0x5233_4643,
  pointers: 'short',
  recordSize: 12,
  keySize: 4,
  recordKey: firstWord,
  nodeKey: firstWord,
  parse: (view, at) => ({
    rc_startblock: view.u32(at),
    rc_blockcount: view.u32(at + 4),
    rc_refcount: view.u32(at + 8),
  }),
}

/** struct xfs_bmbt_rec, unpacked. */
export interface BmbtRecord {
  /** The first block in the file. */
  readonly br_startoff: number
  /** A filesystem block number. */
  readonly br_startblock: number
  readonly br_blockcount: number
  /** Allocated, and reads as zeros. */
  readonly unwritten: boolean
}

/** 54 bits below the flag of the first word (XFS_BMBT, "Data Fork Extents"). */
export function bmbtStartoff(view: ByteView, at: number): number {
  const high = view.u32(at) & 0x7fff_ffff
  return high * 2 ** 23 + Math.floor(view.u32(at + 4) / 2 ** 9)
}

/** 1 bit unwritten, 54 bits offset, 52 bits block, 21 bits count. */
export function parseBmbtRecord(view: ByteView, at: number): BmbtRecord {
  const [low, last] = [view.u32(at + 8), view.u32(at + 12)]
  const startHigh = view.u32(at + 4) % 2 ** 9
  return {
    br_startoff: bmbtStartoff(view, at),
    // 9 bits, 32 bits and 11 bits. Beyond 2^53 it would not be exact, and is out of any range anyhow.
    br_startblock: (startHigh * TWO_32 + low) * 2 ** 11 + Math.floor(last / 2 ** 21),
    br_blockcount: last % 2 ** 21,
    unwritten: view.u32(at) >= 2 ** 31,
  }
}

/** Where the blocks of a file lie. */
export const BMBT: BtreeKind<BmbtRecord> = {
  name: 'bmbt',
  magic: 0x424d_4150,
  crcMagic: 0x424d_4133,
  pointers: 'long',
  recordSize: 16,
  keySize: 8,
  recordKey: bmbtStartoff,
  nodeKey: (view, at) => view.u64(at),
  parse: parseBmbtRecord,
}
