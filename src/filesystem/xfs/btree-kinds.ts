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
  /** The same key as `recordKey`. */
  keyOf(record: Record): BtreeKey
  serialise(view: ByteView, at: number, record: Record): void
  /** Writes the key that a node has for a leaf which begins with a record. */
  setNodeKey(node: ByteView, nodeAt: number, leaf: ByteView, recordAt: number): void
  /** Of keys that are big: a field of 32 bits, in records and in nodes, that they are ordered by first. Cheaper to compare. */
  readonly lead?: { readonly at: number; of(key: BtreeKey): number }
  /** Where records overlap, a node's key also has the highest key of all that is below it. */
  readonly high?: HighKeys
}

/** The second half of a node's key. */
export interface HighKeys {
  /** Where it begins in the key. */
  readonly at: number
  readonly size: number
  ofRecord(view: ByteView, at: number): BtreeKey
  /** @param at of the second half. */
  ofNode(view: ByteView, at: number): BtreeKey
  /** What such keys are ordered by first, as `lead` has it. */
  endOfRecord(view: ByteView, at: number): number
  endOfNode(view: ByteView, at: number): number
  /** Writes that of a record. */
  set(node: ByteView, nodeAt: number, leaf: ByteView, recordAt: number): void
}

const TWO_32 = 2 ** 32

/** struct xfs_alloc_rec */
export interface AllocRecord {
  readonly ar_startblock: number
  readonly ar_blockcount: number
}

const firstWord = (view: ByteView, at: number) => view.u32(at)

const copyFirstWord = (node: ByteView, nodeAt: number, leaf: ByteView, recordAt: number): void =>
  node.setU32(nodeAt, leaf.u32(recordAt))

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
  keyOf: ({ ar_startblock }) => ar_startblock,
  serialise(view, at, { ar_startblock, ar_blockcount }) {
    view.setU32(at, ar_startblock)
    view.setU32(at + 4, ar_blockcount)
  },
  // The key has the count too, in both trees (xfs_alloc_key_t is xfs_alloc_rec).
  setNodeKey(node, nodeAt, leaf, recordAt) {
    node.setU32(nodeAt, leaf.u32(recordAt))
    node.setU32(nodeAt + 4, leaf.u32(recordAt + 4))
  },
}

/** By length, then block number: the key of a record, or the least one with that length when the block is 0. */
export const cntbtKey = (count: number, start: number): bigint => (BigInt(count) << 32n) | BigInt(start)

const byLength = (view: ByteView, at: number): bigint => cntbtKey(view.u32(at + 4), view.u32(at))

/** Free space by length. */
export const CNTBT: BtreeKind<AllocRecord> = {
  ...BNOBT,
  name: 'cntbt',
  magic: 0x4142_5443,
  crcMagic: 0x4142_3343,
  recordKey: byLength,
  nodeKey: byLength,
  keyOf: ({ ar_startblock, ar_blockcount }) => cntbtKey(ar_blockcount, ar_startblock),
  lead: { at: 4, of: key => Number(BigInt(key) >> 32n) },
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
    keyOf: ({ ir_startino }) => ir_startino,
    serialise(view, at, { ir_startino, ir_holemask, ir_count, ir_freecount, ir_free }) {
      view.setU32(at, ir_startino)
      if (sparse) {
        view.setU16(at + 4, ir_holemask)
        view.setU8(at + 6, ir_count)
        view.setU8(at + 7, ir_freecount)
      } else view.setU32(at + 4, ir_freecount)
      view.setBig(at + 8, ir_free)
    },
    setNodeKey: copyFirstWord,
  }
}

const inobtKinds = (sparse: boolean) => ({
  inobt: inobt('inobt', 0x4941_4254, 0x4941_4233, sparse),
  finobt: inobt('finobt', 0x4649_4254, 0x4649_4233, sparse),
})
/** Of each there is one object, by which trees are told apart. */
const KINDS = { sparse: inobtKinds(true), whole: inobtKinds(false) } as const

export function inobtKind(sparse: boolean): BtreeKind<InobtRecord> {
  return KINDS[sparse ? 'sparse' : 'whole'].inobt
}
export function finobtKind(sparse: boolean): BtreeKind<InobtRecord> {
  return KINDS[sparse ? 'sparse' : 'whole'].finobt
}

/** struct xfs_rmap_rec */
export interface RmapRecord {
  readonly rm_startblock: number
  readonly rm_blockcount: number
  /** An inode, or one of XFS_RMAP_OWN_*. */
  readonly rm_owner: bigint
  /** With the flags in the upper bits. */
  readonly rm_offset: bigint
}

/** Flags of rm_offset (XFS_RMAP_OFF_*). Unwritten is no part of a key; the other two are. */
export const RMAP_OFFSET = { ATTRIBUTE: 1n << 63n, BMBT: 1n << 62n, UNWRITTEN: 1n << 61n } as const
const OFFSET_BITS = (1n << 54n) - 1n
/** XFS_RMAP_NON_INODE_OWNER: -1 and below. */
const NO_INODE = 1n << 63n

/**
 * The key of a reverse mapping: ordered by block, then owner, then offset.
 * @param owner without a sign: 64 bits.
 * @param offset with its flags.
 */
export const rmapKey = (start: number, owner: bigint, offset: bigint): bigint =>
  (BigInt(start) << 128n) | (owner << 64n) | (offset & ~RMAP_OFFSET.UNWRITTEN)

/** The last block; 32 bits of it, which only a forged record leaves. */
const rmapEnd = (view: ByteView, at: number): number => (view.u32(at) + view.u32(at + 4) - 1) >>> 0

/**
 * Where a mapping ends: its last block, and the last offset, except that what is of no inode and blocks of a fork's tree have
 * none (xfs_rmapbt_init_high_key_from_rec).
 */
function rmapHigh(view: ByteView, at: number): { start: number; owner: bigint; offset: bigint } {
  const more = view.u32(at + 4) - 1
  const start = rmapEnd(view, at)
  const owner = view.big(at + 8)
  const offset = view.big(at + 16) & ~RMAP_OFFSET.UNWRITTEN
  if ((owner & NO_INODE) !== 0n || (offset & RMAP_OFFSET.BMBT) !== 0n) return { start, owner, offset }
  const last = (offset & OFFSET_BITS) + BigInt(more)
  return { start, owner, offset: last | (offset & ~OFFSET_BITS) }
}

const rmapNodeKey = (view: ByteView, at: number): bigint =>
  rmapKey(view.u32(at), view.big(at + 4), view.big(at + 12))

/** What every block is used for. */
export const RMAPBT: BtreeKind<RmapRecord> = {
  name: 'rmapbt',
  magic: 0,
  crcMagic: 0x524d_4233,
  pointers: 'short',
  recordSize: 24,
  keySize: 40,
  recordKey: (view, at) => rmapKey(view.u32(at), view.big(at + 8), view.big(at + 16)),
  nodeKey: rmapNodeKey,
  parse: (view, at) => ({
    rm_startblock: view.u32(at),
    rm_blockcount: view.u32(at + 4),
    rm_owner: view.big(at + 8),
    rm_offset: view.big(at + 16),
  }),
  keyOf: ({ rm_startblock, rm_owner, rm_offset }) => rmapKey(rm_startblock, rm_owner, rm_offset),
  serialise(view, at, { rm_startblock, rm_blockcount, rm_owner, rm_offset }) {
    view.setU32(at, rm_startblock)
    view.setU32(at + 4, rm_blockcount)
    view.setBig(at + 8, rm_owner)
    view.setBig(at + 16, rm_offset)
  },
  setNodeKey(node, nodeAt, leaf, recordAt) {
    node.setU32(nodeAt, leaf.u32(recordAt))
    node.setBig(nodeAt + 4, leaf.big(recordAt + 8))
    node.setBig(nodeAt + 12, leaf.big(recordAt + 16) & ~RMAP_OFFSET.UNWRITTEN)
  },
  lead: { at: 0, of: key => Number(BigInt(key) >> 128n) },
  high: {
    at: 20,
    size: 20,
    ofRecord(view, at) {
      const { start, owner, offset } = rmapHigh(view, at)
      return rmapKey(start, owner, offset)
    },
    ofNode: rmapNodeKey,
    endOfRecord: rmapEnd,
    endOfNode: firstWord,
    set(node, nodeAt, leaf, recordAt) {
      const { start, owner, offset } = rmapHigh(leaf, recordAt)
      node.setU32(nodeAt, start)
      node.setBig(nodeAt + 4, owner)
      node.setBig(nodeAt + 12, offset)
    },
  },
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
  keyOf: ({ rc_startblock }) => rc_startblock,
  serialise(view, at, { rc_startblock, rc_blockcount, rc_refcount }) {
    view.setU32(at, rc_startblock)
    view.setU32(at + 4, rc_blockcount)
    view.setU32(at + 8, rc_refcount)
  },
  setNodeKey: copyFirstWord,
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
function bmbtStartoff(view: ByteView, at: number): number {
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

/** All numbers in the range that `parseBmbtRecord` gives. */
export function serialiseBmbtRecord(view: ByteView, at: number, record: BmbtRecord): void {
  const { br_startoff, br_startblock, br_blockcount, unwritten } = record
  view.setU32(at, (unwritten ? 2 ** 31 : 0) + Math.floor(br_startoff / 2 ** 23))
  view.setU32(at + 4, (br_startoff % 2 ** 23) * 2 ** 9 + Math.floor(br_startblock / 2 ** 43))
  view.setU32(at + 8, Math.floor(br_startblock / 2 ** 11) % TWO_32)
  view.setU32(at + 12, (br_startblock % 2 ** 11) * 2 ** 21 + br_blockcount)
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
  keyOf: ({ br_startoff }) => br_startoff,
  serialise: serialiseBmbtRecord,
  setNodeKey: (node, nodeAt, leaf, recordAt) => node.setU64(nodeAt, bmbtStartoff(leaf, recordAt)),
}
