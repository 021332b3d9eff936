import type { InobtRecord } from '../btree-kinds.ts'
import { corrupt } from '../errors.ts'
import { CHUNK, HOLE_UNIT } from './inode-geometry.ts'

/** Parts of a chunk that are there or not. */
const PARTS = CHUNK / HOLE_UNIT
const HALF = CHUNK / 2
const ALL = (1n << BigInt(CHUNK)) - 1n

/** Blocks in a row, counted in the allocation group. */
export interface GroupRun {
  readonly agbno: number
  readonly count: number
}

/** A whole chunk of free inodes. */
export function wholeChunk(startino: number): InobtRecord {
  return { ir_startino: startino, ir_holemask: 0, ir_count: CHUNK, ir_freecount: CHUNK, ir_free: ALL }
}

/** A chunk of which only `count` inodes from the given one are there, all free. Inodes that are not there count as free in `ir_free`. */
export function sparseChunk(startino: number, first: number, count: number): InobtRecord {
  const there = (2 ** (count / HOLE_UNIT) - 1) * 2 ** ((first - startino) / HOLE_UNIT)
  const ir_holemask = 2 ** PARTS - 1 - there
  return { ir_startino: startino, ir_holemask, ir_count: count, ir_freecount: count, ir_free: ALL }
}

/** A bit for each inode that is there. */
export function inodesThere({ ir_holemask }: InobtRecord): bigint {
  if (ir_holemask === 0) return ALL
  let mask = 0n
  for (let part = 0; part < PARTS; part++)
    if (((ir_holemask >>> part) & 1) === 0)
      mask |= ((1n << BigInt(HOLE_UNIT)) - 1n) << BigInt(part * HOLE_UNIT)
  return mask
}

/** The lower half of a mask, and the upper one: numbers cost a fraction of what BigInts do. */
function halves(mask: bigint): readonly [low: number, high: number] {
  return [Number(mask & 0xffff_ffffn), Number(mask >> 32n)]
}

function countBits(mask: bigint): number {
  if (mask === ALL) return CHUNK
  const [low, high] = halves(mask)
  return bitsOf(low) + bitsOf(high)
}

/** The bits of 32 that are set: pairs of them are added up, then fours, then bytes. */
function bitsOf(half: number): number {
  const pairs = half - ((half >>> 1) & 0x5555_5555)
  const fours = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}

/** Whether the chunk covers the inode, there or not. */
export function covers({ ir_startino }: InobtRecord, agino: number): boolean {
  return agino >= ir_startino && agino < ir_startino + CHUNK
}

/** `undefined` for one that the chunk does not have. */
export function stateOf(record: InobtRecord, agino: number): 'free' | 'used' | undefined {
  if (!covers(record, agino)) return undefined
  const bit = 1n << BigInt(agino - record.ir_startino)
  if ((inodesThere(record) & bit) === 0n) return undefined
  return (record.ir_free & bit) === 0n ? 'used' : 'free'
}

/** The first free inode, which there has to be. */
export function firstFree(record: InobtRecord): number {
  const [low, high] = halves(record.ir_free & inodesThere(record))
  return record.ir_startino + (low === 0 ? HALF + lowestBit(high) : lowestBit(low))
}

/** The number of the lowest bit of 32, one of which there has to be. */
function lowestBit(bits: number): number {
  return HALF - 1 - Math.clz32(bits & -bits)
}

/** The record with a free inode in use. */
export function withUsed(record: InobtRecord, agino: number): InobtRecord {
  const bit = 1n << BigInt(agino - record.ir_startino)
  return withFreeBits(record, -1, record.ir_free & ~bit)
}

/** The record with an inode in use free again. */
export function withFree(record: InobtRecord, agino: number): InobtRecord {
  const bit = 1n << BigInt(agino - record.ir_startino)
  return withFreeBits(record, 1, record.ir_free | bit)
}

/** Field by field: V8 makes a new shape for each copy by spreading to which a field of another kind is given. */
function withFreeBits(
  { ir_startino, ir_holemask, ir_count, ir_freecount }: InobtRecord,
  more: number,
  ir_free: bigint,
): InobtRecord {
  return { ir_startino, ir_holemask, ir_count, ir_freecount: ir_freecount + more, ir_free }
}

export function isAllFree({ ir_free }: InobtRecord): boolean {
  return ir_free === ALL
}

/** Two parts of one chunk as one record; `undefined` when they overlap (__xfs_inobt_can_merge). */
export function merged(one: InobtRecord, other: InobtRecord): InobtRecord | undefined {
  if (one.ir_startino !== other.ir_startino || (inodesThere(one) & inodesThere(other)) !== 0n)
    return undefined
  return {
    ir_startino: one.ir_startino,
    ir_holemask: one.ir_holemask & other.ir_holemask,
    ir_count: one.ir_count + other.ir_count,
    ir_freecount: one.ir_freecount + other.ir_freecount,
    ir_free: one.ir_free & other.ir_free,
  }
}

export function sameRecord(one: InobtRecord, other: InobtRecord): boolean {
  return (
    one.ir_startino === other.ir_startino &&
    one.ir_holemask === other.ir_holemask &&
    one.ir_count === other.ir_count &&
    one.ir_freecount === other.ir_freecount &&
    one.ir_free === other.ir_free
  )
}

/** The blocks of a chunk's inodes. */
export function blocksOf(record: InobtRecord, inodesPerBlock: number): GroupRun[] {
  const runs: { agbno: number; count: number }[] = []
  const there = inodesThere(record)
  for (let offset = 0; offset < CHUNK; offset += inodesPerBlock) {
    if (((there >> BigInt(offset)) & 1n) === 0n) continue
    const agbno = (record.ir_startino + offset) / inodesPerBlock
    const last = runs.at(-1)
    if (last !== undefined && last.agbno + last.count === agbno) last.count++
    else runs.push({ agbno, count: 1 })
  }
  return runs
}

/**
 * Checks a record before it is relied on (xfs_inobt_check_irec, and that the counts are those of the masks).
 * @param inodes of the allocation group, with all numbers from 0.
 */
export function checkRecord(
  record: InobtRecord,
  tree: string,
  group: { readonly agno: number; readonly inodes: number; readonly inodesPerBlock: number },
): InobtRecord {
  const { ir_startino, ir_count, ir_freecount, ir_free } = record
  const { agno, inodes, inodesPerBlock } = group
  const wrong = (what: string) =>
    corrupt(tree, `the record of inode ${ir_startino} in the ${tree} of allocation group ${agno} ${what}`, {
      agno,
    })
  if (ir_startino % Math.min(CHUNK, inodesPerBlock) !== 0) throw wrong('begins in the middle of a block')
  if (ir_startino + CHUNK > inodes) throw wrong('lies outside the group')
  const there = inodesThere(record)
  if (ir_count === 0 || ir_count !== countBits(there))
    throw wrong(`counts ${ir_count} inodes, and has others`)
  const free = countBits(there === ALL ? ir_free : ir_free & there)
  if (ir_freecount !== free) throw wrong(`counts ${ir_freecount} free inodes, and ${free} are`)
  if (there === ALL) return record
  for (let offset = 0; inodesPerBlock < CHUNK && offset < CHUNK; offset += inodesPerBlock) {
    const block = (there >> BigInt(offset)) & ((1n << BigInt(inodesPerBlock)) - 1n)
    if (block !== 0n && countBits(block) !== inodesPerBlock) throw wrong('has a part of a block')
  }
  return record
}
