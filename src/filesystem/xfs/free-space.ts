import { RangeSet } from '../../bytes/range-set.ts'
import { DrydiskError } from '../../errors.ts'
import type { ByteRange } from '../filesystem.ts'
import type { Agf } from './agf.ts'
import { BNOBT, CNTBT, inobtKind } from './btree-kinds.ts'
import { unknownRoCompat } from './features.ts'
import type { XfsVolume } from './volume.ts'

function doubt(what: string, structure: string, agno?: number): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `xfs: ${what}: its free space is not to be believed; run xfs_repair first`,
    { structure, agno },
  )
}

/** Free blocks in a row, in an allocation group. */
interface Run {
  readonly start: number
  readonly count: number
}

/**
 * The free space by the trees of every allocation group, as bytes of the volume. Space that is free by mistake is a file lost,
 * so whatever counts it has to agree: both trees with the AGF, all AGFs with the superblock, and nothing that is known to be
 * in use may be free: headers, free lists, inodes, the log. Blocks of a free list stay: they are the trees' next blocks.
 *
 * With a log that is to be replayed, nothing is told: replay reads what it changes, and what it frees is free only afterwards.
 * @param state.doubts what opening warned of.
 * @param state.replayed whether the log was replayed in memory only.
 */
export async function* freeRanges(
  volume: XfsVolume,
  state: { readonly doubts: readonly string[]; readonly replayed: boolean },
): AsyncIterable<ByteRange> {
  const { superblock, geometry } = volume
  // Of such a log xfs_repair would be no advice: it can but throw it away.
  if (state.replayed)
    throw new DrydiskError(
      'ERR_CORRUPT',
      'xfs: the log is still to be replayed, and its free space not to be believed before; mount the filesystem once',
      { structure: 'log' },
    )
  const [first] = state.doubts
  if (first !== undefined) throw doubt(first, 'superblock')
  const unknown = unknownRoCompat(superblock.sb_features_ro_compat)
  if (unknown.length > 0)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `xfs: the filesystem has features that may change what its free space means: ${unknown.join(', ')}`,
      { features: unknown.join(',') },
    )
  await requireSameCount(volume)
  let held: ByteRange | undefined
  for (let agno = 0; agno < geometry.agCount; agno++)
    for (const { start, count } of await freeInGroup(volume, agno)) {
      const offset = (agno * geometry.agBlocks + start) * geometry.blockSize
      const length = count * geometry.blockSize
      if (held !== undefined && held.offset + held.length === offset)
        held = { offset: held.offset, length: held.length + length }
      else {
        if (held !== undefined) yield held
        held = { offset, length }
      }
    }
  if (held !== undefined) yield held
}

/** With lazy counters an unmount writes what the groups add up to; without, every transaction does (xfs_initialize_perag_data). */
async function requireSameCount(volume: XfsVolume): Promise<void> {
  const { superblock, geometry } = volume
  if (!superblock.hasLazyCounts) return
  let total = 0
  for (let agno = 0; agno < geometry.agCount; agno++) {
    const agf = await volume.readAgf(agno)
    total += agf.agf_freeblks + agf.agf_flcount + agf.agf_btreeblks
  }
  const { fdblocks } = await volume.counters()
  if (total !== fdblocks)
    throw doubt(
      `the superblock counts ${fdblocks} free blocks, and the allocation groups ${total}`,
      'superblock',
    )
}

async function freeInGroup(volume: XfsVolume, agno: number): Promise<Run[]> {
  const agf = await volume.readAgf(agno)
  const inUse = await knownInUse(volume, agno, agf)
  const runs: Run[] = []
  let total = 0
  let longest = 0
  let end = 0
  const wrong = (what: string) => doubt(`allocation group ${agno} ${what}`, 'bnobt', agno)
  for await (const records of volume.agBtree(BNOBT, agno, agf.bnoRoot, agf.bnoLevel).leaves())
    for (const { ar_startblock: start, ar_blockcount: count } of records) {
      if (count === 0 || start < end || start + count > agf.agf_length)
        throw wrong(`has ${count} blocks free from ${start}, which overlap others or do not exist`)
      if (inUse.intersects(start, start + count))
        throw wrong(`has blocks from ${start} to ${start + count} free, and some hold metadata`)
      end = start + count
      total += count
      longest = Math.max(longest, count)
      runs.push({ start, count })
    }
  if (total !== agf.agf_freeblks || longest !== agf.agf_longest)
    throw wrong(
      `counts ${agf.agf_freeblks} blocks free and ${agf.agf_longest} in a row, and its tree has ${total} and ${longest}`,
    )
  const [records, blocks] = await countByLength(volume, agno, agf)
  if (records !== runs.length || blocks !== total)
    throw wrong('has two trees of its free space, and they do not agree')
  return runs
}

async function countByLength(volume: XfsVolume, agno: number, agf: Agf): Promise<[number, number]> {
  let count = 0
  let blocks = 0
  for await (const records of volume.agBtree(CNTBT, agno, agf.cntRoot, agf.cntLevel).leaves())
    for (const { ar_blockcount } of records) {
      count++
      blocks += ar_blockcount
    }
  return [count, blocks]
}

/** Blocks of a group that are in use whatever its trees say. */
async function knownInUse(volume: XfsVolume, agno: number, agf: Agf): Promise<RangeSet> {
  const { superblock, geometry } = volume
  const { sb_sectsize, sb_blocksize, sb_inopblock, sb_logstart, sb_logblocks } = superblock
  const inUse = new RangeSet()
  inUse.add(0, Math.ceil((4 * sb_sectsize) / sb_blocksize))
  for (const root of [agf.bnoRoot, agf.cntRoot]) inUse.add(root, root + 1)
  for (const block of await volume.readAgfl(agno, agf)) inUse.add(block, block + 1)
  if (sb_logstart !== 0 && geometry.agOf(sb_logstart) === agno) {
    const start = geometry.agBlockOf(sb_logstart)
    inUse.add(start, start + sb_logblocks)
  }
  const agi = await volume.readAgi(agno)
  const kind = inobtKind(superblock.hasSparseInodes)
  for await (const records of volume.agBtree(kind, agno, agi.agi_root, agi.agi_level).leaves())
    for (const { ir_startino, ir_holemask } of records)
      for (let part = 0; part < 16; part++) {
        if ((ir_holemask >>> part) & 1) continue
        const block = Math.floor((ir_startino + part * 4) / sb_inopblock)
        inUse.add(block, Math.max(block + 1, Math.ceil((ir_startino + part * 4 + 4) / sb_inopblock)))
      }
  return inUse
}
