import { bigEndian } from '../../../bytes/byte-view.ts'
import { AG_SECTOR } from '../ag-header.ts'
import { AGF_CRC_OFFSET, Agf } from '../agf.ts'
import { AGFL_CRC_OFFSET, AGFL_HEADER, agflSize } from '../agfl.ts'
import { AGI_CRC_OFFSET, Agi, NULL_AGINO, UNLINKED_BUCKETS } from '../agi.ts'
import { BNOBT, CNTBT, finobtKind, inobtKind, REFCBT, RMAPBT } from '../btree-kinds.ts'
import { storeChecksum } from '../checksum.ts'
import type { Superblock } from '../superblock.ts'
import { OWN } from '../writer.ts'
import { type AgPlaces, agPlaces } from './ag-places.ts'
import { fillRoot, type WriteRecord } from './root-block.ts'

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

/** A new allocation group, as mkfs.xfs and growing make it (xfs_ag_init_headers), of version 4 or 5. */
export function agImage(sb: Superblock, contents: AgContents): AgImage {
  const { agno, length, freeList, inodes } = contents
  const places = agPlaces(sb)
  const bytes = new Uint8Array(places.end * sb.sb_blocksize)
  const agflStart = places.end + (contents.log ?? 0)
  const free = gaps([{ start: 0, count: agflStart + freeList }, ...(inodes ? [inodes] : [])], length)
  const total = free.reduce((sum, { count }) => sum + count, 0)

  const sector = (number: number, magic: number) => {
    const header = bytes.subarray(number * sb.sb_sectsize, (number + 1) * sb.sb_sectsize)
    const view = bigEndian(header, 'xfs header of an allocation group')
    if (number !== AG_SECTOR.AGFL || sb.isV5) view.setU32(0, magic)
    return view
  }
  const seal = (header: Uint8Array, uuidAt: number, crcAt: number) => {
    if (!sb.isV5) return
    header.set(sb.metaUuid, uuidAt)
    storeChecksum(header, crcAt)
  }

  const agfView = sector(AG_SECTOR.AGF, 0x5841_4746)
  agfView.setU32(4, 1)
  agfView.setU32(8, agno)
  agfView.setU32(12, length)
  const agf = new Agf(agfView.bytes, sb)
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
  agf.agf_freeblks = total
  agf.agf_longest = Math.max(0, ...free.map(({ count }) => count))
  seal(agfView.bytes, 64, AGF_CRC_OFFSET)

  const agfl = sector(AG_SECTOR.AGFL, 0x5841_464c)
  if (sb.isV5) agfl.setU32(4, agno)
  const ring = sb.isV5 ? AGFL_HEADER : 0
  for (let place = 0; place < agflSize(sb); place++)
    agfl.setU32(ring + place * 4, place >= 1 && place <= freeList ? agflStart + place - 1 : 0xffff_ffff)
  seal(agfl.bytes, 8, AGFL_CRC_OFFSET)

  const chunks = inodeRecords(sb, inodes)
  const agiView = sector(AG_SECTOR.AGI, 0x5841_4749)
  agiView.setU32(4, 1)
  agiView.setU32(8, agno)
  agiView.setU32(12, length)
  const agi = new Agi(agiView.bytes, sb)
  agi.agi_count = chunks.length * INODES_PER_CHUNK
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
  seal(agiView.bytes, 296, AGI_CRC_OFFSET)

  const root = <Record>(
    kind: Parameters<typeof fillRoot<Record>>[1],
    block: number | undefined,
    records: readonly WriteRecord[],
  ) => {
    if (block === undefined) return
    const at = block * sb.sb_blocksize
    const daddr = (agno * sb.sb_agblocks + block) * (sb.sb_blocksize / BASIC_BLOCK)
    fillRoot(bytes.subarray(at, at + sb.sb_blocksize), kind, { agno, daddr }, records, sb)
  }
  const allocRecord =
    ({ start, count }: AgRun): WriteRecord =>
    (view, at) => {
      view.setU32(at, start)
      view.setU32(at + 4, count)
    }
  root(BNOBT, places.bno, free.map(allocRecord))
  const byLength = [...free].sort((a, b) => a.count - b.count || a.start - b.start)
  root(CNTBT, places.cnt, byLength.map(allocRecord))
  root(inobtKind(sb.hasSparseInodes), places.inobt, chunks)
  root(finobtKind(sb.hasSparseInodes), places.finobt, chunks)
  root(RMAPBT, places.rmap, rmapRecords(places, contents, agflStart))
  root(REFCBT, places.refcount, [])
  return { bytes, free: total + freeList }
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

function inodeRecords(sb: Superblock, inodes: AgContents['inodes']): WriteRecord[] {
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
function rmapRecords(
  { headers, bno, inobt, finobt, rmap, refcount, end }: AgPlaces,
  { log, freeList, inodes }: AgContents,
  agflStart: number,
): WriteRecord[] {
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
  own(OWN.LOG, end, log ?? 0)
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
