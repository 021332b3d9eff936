import { type ByteView, bigEndian } from '../../../bytes/byte-view.ts'
import { AG_SECTOR } from '../ag-header.ts'
import { AGF_CRC_OFFSET, Agf } from '../agf.ts'
import { AGFL_CRC_OFFSET, AGFL_HEADER, agflSize } from '../agfl.ts'
import { AGI_CRC_OFFSET, Agi, NULL_AGINO, UNLINKED_BUCKETS } from '../agi.ts'
import { BNOBT, type BtreeKind, CNTBT, finobtKind, inobtKind, REFCBT, RMAPBT } from '../btree-kinds.ts'
import { storeChecksum } from '../checksum.ts'
import type { Superblock } from '../superblock.ts'
import { OWN } from '../writer.ts'
import { type AgPlaces, agPlaces } from './ag-places.ts'
import { fillRoot, type WriteRecord } from './root-block.ts'

const AGF_MAGIC = 0x5841_4746
const AGFL_MAGIC = 0x5841_464c
const AGI_MAGIC = 0x5841_4749
/** Where the headers of version 5 say which filesystem they are of. */
const AGF_UUID_AT = 64
const AGFL_UUID_AT = 8
const AGI_UUID_AT = 296
/** NULLAGBLOCK */
const NULL_BLOCK = 0xffff_ffff
const INODES_PER_CHUNK = 64
const BASIC_BLOCK = 512

/** Blocks in a row, numbered in the group. */
export interface AgRun {
  readonly start: number
  readonly count: number
}

/** What an allocation group holds that others do not. */
export interface AgContents {
  readonly agno: number
  /** Blocks. */
  readonly length: number
  /** The log, right behind what every group begins with. */
  readonly log?: number
  /** Blocks of the free list, which lie behind the log. */
  readonly freeList: number
  /** The first inodes: chunks in a row, the first inodes of which are in use. */
  readonly inodes?: AgRun & { readonly used: number }
}

export interface AgImage {
  /** All that the group begins with, but for its superblock: that sector is zero. */
  readonly bytes: Uint8Array
  /** Blocks that count as free in the superblock. */
  readonly free: number
}

/** What the parts of a new group are made from. */
interface Plan extends AgContents {
  readonly sb: Superblock
  readonly places: AgPlaces
  readonly bytes: Uint8Array
  readonly agflStart: number
  readonly freeRuns: readonly AgRun[]
  readonly freeBlocks: number
}

/** A new allocation group, as mkfs.xfs and growing make it (xfs_ag_init_headers), of version 4 or 5. */
export function agImage(sb: Superblock, contents: AgContents): AgImage {
  const { length, log = 0, freeList, inodes } = contents
  const places = agPlaces(sb)
  const agflStart = places.end + log
  const inUse = [{ start: 0, count: agflStart + freeList }, ...(inodes ? [inodes] : [])]
  const freeRuns = gaps(inUse, length)
  const freeBlocks = freeRuns.reduce((sum, { count }) => sum + count, 0)
  const bytes = new Uint8Array(places.end * sb.sb_blocksize)
  const plan: Plan = { ...contents, sb, places, bytes, agflStart, freeRuns, freeBlocks }
  fillAgf(plan)
  fillAgfl(plan)
  fillAgi(plan)
  fillRoots(plan)
  return { bytes, free: freeBlocks + freeList }
}

function sectorOf({ sb, bytes }: Plan, number: number): ByteView {
  const sector = bytes.subarray(number * sb.sb_sectsize, (number + 1) * sb.sb_sectsize)
  return bigEndian(sector, 'xfs header of an allocation group')
}

/** What AGF and AGI begin with. */
function header(plan: Plan, number: number, magic: number): ByteView {
  const view = sectorOf(plan, number)
  view.setU32(0, magic)
  view.setU32(4, 1)
  view.setU32(8, plan.agno)
  view.setU32(12, plan.length)
  return view
}

function seal({ sb }: Plan, sector: Uint8Array, uuidAt: number, crcAt: number): void {
  if (!sb.isV5) return
  sector.set(sb.metaUuid, uuidAt)
  storeChecksum(sector, crcAt)
}

function fillAgf(plan: Plan): void {
  const { sb, places, freeList, freeRuns, freeBlocks } = plan
  const { bytes } = header(plan, AG_SECTOR.AGF, AGF_MAGIC)
  const agf = new Agf(bytes, sb)
  agf.bnoRoot = places.bno
  agf.cntRoot = places.cnt
  agf.bnoLevel = 1
  agf.cntLevel = 1
  if (places.rmap !== undefined) {
    agf.rmapRoot = places.rmap
    agf.rmapLevel = 1
    agf.agf_rmap_blocks = 1
  }
  if (places.refcount !== undefined) {
    agf.agf_refcount_root = places.refcount
    agf.agf_refcount_level = 1
    agf.agf_refcount_blocks = 1
  }
  // As mkfs.xfs leaves it: the ring's first place stays empty.
  agf.agf_flfirst = 1
  agf.agf_fllast = freeList
  agf.agf_flcount = freeList
  agf.agf_freeblks = freeBlocks
  agf.agf_longest = Math.max(0, ...freeRuns.map(({ count }) => count))
  seal(plan, bytes, AGF_UUID_AT, AGF_CRC_OFFSET)
}

function fillAgfl(plan: Plan): void {
  const { sb, agno, agflStart, freeList } = plan
  const view = sectorOf(plan, AG_SECTOR.AGFL)
  if (sb.isV5) {
    view.setU32(0, AGFL_MAGIC)
    view.setU32(4, agno)
  }
  const ring = sb.isV5 ? AGFL_HEADER : 0
  for (let place = 0; place < agflSize(sb); place++)
    view.setU32(ring + place * 4, place >= 1 && place <= freeList ? agflStart + place - 1 : NULL_BLOCK)
  seal(plan, view.bytes, AGFL_UUID_AT, AGFL_CRC_OFFSET)
}

function fillAgi(plan: Plan): void {
  const { sb, places, inodes } = plan
  const { bytes } = header(plan, AG_SECTOR.AGI, AGI_MAGIC)
  const agi = new Agi(bytes, sb)
  agi.agi_count = (inodes?.count ?? 0) * sb.sb_inopblock
  agi.agi_root = places.inobt
  agi.agi_level = 1
  agi.agi_freecount = agi.agi_count - (inodes?.used ?? 0)
  agi.agi_newino = inodes ? inodes.start * sb.sb_inopblock : NULL_AGINO
  agi.agi_dirino = NULL_AGINO
  for (let bucket = 0; bucket < UNLINKED_BUCKETS; bucket++) agi.setUnlinked(bucket, NULL_AGINO)
  agi.agi_iblocks = 1
  if (places.finobt !== undefined) {
    agi.agi_free_root = places.finobt
    agi.agi_free_level = 1
    agi.agi_fblocks = 1
  }
  seal(plan, bytes, AGI_UUID_AT, AGI_CRC_OFFSET)
}

function fillRoots(plan: Plan): void {
  const { sb, agno, places, bytes, freeRuns } = plan
  const root = <Record>(
    kind: BtreeKind<Record>,
    block: number | undefined,
    records: readonly WriteRecord[],
  ): void => {
    if (block === undefined) return
    const at = block * sb.sb_blocksize
    const daddr = (agno * sb.sb_agblocks + block) * (sb.sb_blocksize / BASIC_BLOCK)
    fillRoot(bytes.subarray(at, at + sb.sb_blocksize), kind, { agno, daddr }, records, sb)
  }
  const byLength = [...freeRuns].sort((a, b) => a.count - b.count || a.start - b.start)
  const chunks = inodeRecords(plan)
  root(BNOBT, places.bno, freeRuns.map(allocRecord))
  root(CNTBT, places.cnt, byLength.map(allocRecord))
  root(inobtKind(sb.hasSparseInodes), places.inobt, chunks)
  root(finobtKind(sb.hasSparseInodes), places.finobt, chunks)
  root(RMAPBT, places.rmap, rmapRecords(plan))
  root(REFCBT, places.refcount, [])
}

function allocRecord({ start, count }: AgRun): WriteRecord {
  return (view, at) => {
    view.setU32(at, start)
    view.setU32(at + 4, count)
  }
}

/** What lies between and behind runs that are in order. */
function gaps(used: readonly AgRun[], end: number): AgRun[] {
  const free: AgRun[] = []
  let at = 0
  for (const { start, count } of [...used, { start: end, count: 0 }]) {
    if (start > at) free.push({ start: at, count: start - at })
    at = start + count
  }
  return free
}

function inodeRecords({ sb, inodes }: Plan): WriteRecord[] {
  if (inodes === undefined) return []
  const count = (inodes.count * sb.sb_inopblock) / INODES_PER_CHUNK
  return Array.from({ length: count }, (_, chunk): WriteRecord => {
    const used = Math.min(INODES_PER_CHUNK, Math.max(0, inodes.used - chunk * INODES_PER_CHUNK))
    return (view, at) => {
      view.setU32(at, inodes.start * sb.sb_inopblock + chunk * INODES_PER_CHUNK)
      if (sb.hasSparseInodes) {
        view.setU8(at + 6, INODES_PER_CHUNK)
        view.setU8(at + 7, INODES_PER_CHUNK - used)
      } else view.setU32(at + 4, INODES_PER_CHUNK - used)
      view.setBig(at + 8, BigInt.asUintN(64, -1n << BigInt(used)))
    }
  })
}

/** Every block that is in use, by whom; neighbours of one owner are one record. */
function rmapRecords({ places, log = 0, freeList, agflStart, inodes }: Plan): WriteRecord[] {
  const { headers, bno, inobt, finobt, rmap, refcount, end } = places
  const owned: (AgRun & { owner: bigint })[] = []
  const own = (owner: bigint, start: number | undefined, count: number) => {
    if (start === undefined || count === 0) return
    const before = owned.at(-1)
    if (before?.owner === owner && before.start + before.count === start)
      owned[owned.length - 1] = { ...before, count: before.count + count }
    else owned.push({ start, count, owner })
  }
  own(OWN.FS, 0, headers)
  own(OWN.AG, bno, 2)
  own(OWN.INOBT, inobt, finobt === undefined ? 1 : 2)
  own(OWN.AG, rmap, 1)
  own(OWN.REFC, refcount, 1)
  own(OWN.LOG, end, log)
  own(OWN.AG, agflStart, freeList)
  own(OWN.INODES, inodes?.start, inodes?.count ?? 0)
  return owned.map(
    ({ start, count, owner }): WriteRecord =>
      (view, at) => {
        view.setU32(at, start)
        view.setU32(at + 4, count)
        view.setBig(at + 8, owner)
      },
  )
}
