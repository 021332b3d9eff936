import { bigEndian } from '../../src/bytes/byte-view.ts'
import {
  type AllocRecord,
  BMBT,
  type BmbtRecord,
  BNOBT,
  type BtreeKind,
  CNTBT,
  finobtKind,
  type InobtRecord,
  inobtKind,
  REFCBT,
  type RefcountRecord,
  RMAPBT,
  type RmapRecord,
} from '../../src/filesystem/xfs/btree-kinds.ts'
import type { ExpectedKey } from './xfs-btree-walk.ts'

export type Random = (below: number) => number

/** mulberry32 */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return below => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** A kind of tree, and records for it. */
export interface Subject<Record> {
  readonly kind: BtreeKind<Record>
  /** A record whose place in the order goes by a number below 2^30; others go by chance. */
  make(order: number, random: Random): Record
  /** What it counts is another, and its key the same. */
  changed(record: Record, random: Random): Record
  readonly expectedKey: ExpectedKey<Record>
}

const first = <Record>(records: readonly Record[]): Record => {
  const [record] = records
  if (record === undefined) throw new Error('no records')
  return record
}

function words(...values: readonly (readonly [width: 4 | 8, value: number | bigint])[]): Uint8Array {
  const view = bigEndian(new Uint8Array(values.reduce((sum, [width]) => sum + width, 0)), 'key')
  let at = 0
  for (const [width, value] of values) {
    if (width === 4) view.setU32(at, Number(value))
    else view.setBig(at, BigInt(value))
    at += width
  }
  return view.bytes
}

const allocKey: ExpectedKey<AllocRecord> = records => {
  const { ar_startblock, ar_blockcount } = first(records)
  return words([4, ar_startblock], [4, ar_blockcount])
}

export const bnobt: Subject<AllocRecord> = {
  kind: BNOBT,
  make: (order, random) => ({ ar_startblock: order, ar_blockcount: 1 + random(1000) }),
  changed: (record, random) => ({ ...record, ar_blockcount: 1 + random(1000) }),
  expectedKey: allocKey,
}
const cntbt: Subject<AllocRecord> = {
  kind: CNTBT,
  make: order => ({ ar_startblock: order % 256, ar_blockcount: Math.floor(order / 256) }),
  changed: record => record,
  expectedKey: allocKey,
}

const inobt = (kind: BtreeKind<InobtRecord>, sparse: boolean): Subject<InobtRecord> => {
  const rest = (random: Random) => ({
    ir_holemask: sparse ? random(0x1_0000) : 0,
    ir_count: sparse ? random(65) : 64,
    ir_freecount: random(65),
    ir_free: (BigInt(random(2 ** 31)) << 33n) | BigInt(random(2 ** 31)),
  })
  return {
    kind,
    make: (order, random) => ({ ir_startino: order, ...rest(random) }),
    changed: ({ ir_startino }, random) => ({ ir_startino, ...rest(random) }),
    expectedKey: records => words([4, first(records).ir_startino]),
  }
}

const refcountbt: Subject<RefcountRecord> = {
  kind: REFCBT,
  make: (order, random) => ({
    // Some with the flag of copy-on-write.
    rc_startblock: order + (order % 7 === 0 ? 2 ** 31 : 0),
    rc_blockcount: 1 + random(1000),
    rc_refcount: 2 + random(100),
  }),
  changed: (record, random) => ({ ...record, rc_refcount: random(2 ** 31) }),
  expectedKey: records => words([4, first(records).rc_startblock]),
}

const OWNERS = [(1n << 64n) - 5n, (1n << 64n) - 7n, 128n, 129n, 5_000_000_000n]
const FLAG = { attribute: 1n << 63n, bmbt: 1n << 62n, unwritten: 1n << 61n }

/** The last block and offset that a record maps. */
export function end({
  rm_startblock,
  rm_blockcount,
  rm_owner,
  rm_offset,
}: RmapRecord): [number, bigint, bigint] {
  const offset = rm_offset & ~FLAG.unwritten
  const isTree = rm_owner >> 63n === 1n || (offset & FLAG.bmbt) !== 0n
  return [rm_startblock + rm_blockcount - 1, rm_owner, isTree ? offset : offset + BigInt(rm_blockcount - 1)]
}
export const isAbove = (one: readonly (number | bigint)[], other: readonly (number | bigint)[]): boolean => {
  for (const [index, value] of one.entries()) {
    const against = other[index]
    if (against !== undefined && value !== against) return value > against
  }
  return false
}

export const rmapbt: Subject<RmapRecord> = {
  kind: RMAPBT,
  make(order, random) {
    const rm_owner = OWNERS[random(OWNERS.length)] ?? 128n
    const flags = [0n, FLAG.attribute, FLAG.bmbt, FLAG.unwritten][random(4)] ?? 0n
    const isInode = rm_owner >> 63n === 0n
    return {
      rm_startblock: order % 500,
      rm_blockcount: 1 + (random(10) === 0 ? random(2000) : random(4)),
      rm_owner,
      rm_offset: isInode ? flags | (flags === FLAG.bmbt ? 0n : BigInt(Math.floor(order / 500))) : 0n,
    }
  },
  changed: (record, random) => ({
    ...record,
    rm_blockcount: 1 + random(50),
    rm_offset: record.rm_offset ^ (record.rm_owner >> 63n === 0n && random(2) === 0 ? FLAG.unwritten : 0n),
  }),
  expectedKey(records) {
    const { rm_startblock, rm_owner, rm_offset } = first(records)
    const [block, owner, offset] = records
      .map(end)
      .reduce((one, other) => (isAbove(other, one) ? other : one))
    const low = rm_offset & ~FLAG.unwritten
    return words([4, rm_startblock], [8, rm_owner], [8, low], [4, block], [8, owner], [8, offset])
  },
}

export const bmbt: Subject<BmbtRecord> = {
  kind: BMBT,
  make: (order, random) => ({
    br_startoff: order * 2 ** 21,
    br_startblock: random(2 ** 31) * 2 ** 20,
    br_blockcount: 1 + random(2 ** 21 - 1),
    unwritten: random(2) === 0,
  }),
  changed: (record, random) => ({ ...record, br_blockcount: 1 + random(1000), unwritten: !record.unwritten }),
  expectedKey: records => words([8, first(records).br_startoff]),
}

export const subjects = {
  bnobt,
  cntbt,
  refcountbt,
  rmapbt,
  bmbt,
  inobt: inobt(inobtKind(false), false),
  finobt: inobt(finobtKind(true), true),
}
