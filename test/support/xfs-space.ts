import { join } from 'node:path'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { BtreeEditor } from '../../src/filesystem/xfs/btree-edit.ts'
import { type AgfTree, agfRoot } from '../../src/filesystem/xfs/btree-edit-store.ts'
import {
  BNOBT,
  type BtreeKind,
  CNTBT,
  REFCBT,
  RMAPBT,
  type RmapRecord,
} from '../../src/filesystem/xfs/btree-kinds.ts'
import { Inodes } from '../../src/filesystem/xfs/inodes.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { neededInFreeList } from '../../src/filesystem/xfs/space/free-list.ts'
import { createSpace, type XfsSpace } from '../../src/filesystem/xfs/space/space.ts'
import { XfsVolume } from '../../src/filesystem/xfs/volume.ts'
import { runOk, temporaryFolder, writes } from './native.ts'

/** With these mkfs.xfs makes filesystems that are too small for it otherwise. */
const TINY = ['TEST_DIR=1', 'TEST_DEV=1', 'QA_CHECK_FS=1']

export async function makeTinyXfs(megabytes: number, args: readonly string[]): Promise<string> {
  const image = writes(join(temporaryFolder(), 'image'), 'xfs')
  await runOk('truncate', ['-s', `${megabytes}M`, image])
  await runOk('env', [...TINY, 'mkfs.xfs', '-q', ...args, image])
  return image
}

export interface SpaceBench {
  readonly volume: XfsVolume
  readonly inodes: Inodes
  readonly space: XfsSpace
}

/** A filesystem's space without the filesystem: what is allocated belongs to nobody who exists. */
export async function withSpace<Result>(
  image: string,
  use: (bench: SpaceBench) => Promise<Result>,
): Promise<Result> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  try {
    const volume = new XfsVolume(device, await readSuperblock(device))
    const result = await use({ volume, inodes: new Inodes(volume), space: createSpace(volume) })
    await volume.buffers.flush()
    await device.flush()
    return result
  } finally {
    await device.close()
  }
}

/** What an allocation group's trees say, found to agree with each other and with what the headers count. */
export interface GroupState {
  /** A 1 for each free block. */
  readonly free: Uint8Array
  /** Of the free list, and of the trees that take from it. */
  readonly own: ReadonlySet<number>
  /** Of the tree of reference counts. */
  readonly refcountbt: readonly number[]
  readonly needed: number
  readonly listed: number
  readonly rmaps: readonly RmapRecord[]
  readonly references: ReadonlyMap<number, number>
}

function expectSame(what: string, found: unknown, expected: unknown): void {
  const [a, b] = [found, expected].map(value =>
    JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? `${each}n` : each)),
  )
  if (a !== b) throw new Error(`${what}: found ${a?.slice(0, 2000)}, expected ${b?.slice(0, 2000)}`)
}

async function blocksOf<Record>(
  volume: XfsVolume,
  kind: BtreeKind<Record>,
  agno: number,
  tree: AgfTree,
): Promise<{ records: Record[]; blocks: number[] }> {
  const none = async () => {
    throw new Error('only read')
  }
  const editor = new BtreeEditor<Record>({
    volume,
    kind,
    owner: agno,
    root: agfRoot(volume, agno, tree),
    blocks: { allocateBlock: none, freeBlock: none },
    volumeBlock: pointer => volume.geometry.inAg(agno, pointer),
  })
  const [records, blocks]: [Record[], number[]] = [[], []]
  for await (const record of editor.records()) records.push(record)
  for await (const block of editor.blocks()) blocks.push(block)
  return { records, blocks }
}

/** Walks everything about one group's space with readers alone. */
export async function groupState(volume: XfsVolume, agno: number): Promise<GroupState> {
  const { superblock } = volume
  const agf = await volume.readAgf(agno)
  const group = `group ${agno}`
  const bno = await blocksOf(volume, BNOBT, agno, 'bno')
  const cnt = await blocksOf(volume, CNTBT, agno, 'cnt')
  const length = volume.geometry.agLength(agno)
  const free = new Uint8Array(length)
  let end = -1
  let total = 0
  for (const { ar_startblock, ar_blockcount } of bno.records) {
    if (ar_startblock <= end || ar_blockcount === 0 || ar_startblock + ar_blockcount > length)
      throw new Error(`${group}: ${ar_blockcount} free from ${ar_startblock}, behind what ends at ${end}`)
    end = ar_startblock + ar_blockcount
    free.fill(1, ar_startblock, end)
    total += ar_blockcount
  }
  const sorted = [...bno.records].sort(
    (a, b) => a.ar_blockcount - b.ar_blockcount || a.ar_startblock - b.ar_startblock,
  )
  expectSame(`${group} cntbt`, cnt.records, sorted)
  expectSame(`${group} agf_freeblks`, agf.agf_freeblks, total)
  expectSame(`${group} agf_longest`, agf.agf_longest, sorted.at(-1)?.ar_blockcount ?? 0)
  const list = await volume.readAgfl(agno, agf)
  const rmap = superblock.hasRmapbt
    ? await blocksOf(volume, RMAPBT, agno, 'rmap')
    : { records: [], blocks: [] }
  const own = [...bno.blocks, ...cnt.blocks, ...rmap.blocks, ...list]
  expectSame(`${group}: blocks of the trees and the free list`, new Set(own).size, own.length)
  for (const block of own) if (free[block]) throw new Error(`${group}: block ${block} is free and in use`)
  if (superblock.hasLazyCounts)
    expectSame(
      `${group} agf_btreeblks`,
      agf.agf_btreeblks,
      own.length - list.length - (superblock.hasRmapbt ? 3 : 2),
    )
  expectSame(`${group} agf_rmap_blocks`, agf.agf_rmap_blocks, rmap.blocks.length)
  const references = new Map<number, number>()
  const refcountbt: number[] = []
  if (superblock.hasReflink) {
    const refcount = await blocksOf(volume, REFCBT, agno, 'refcount')
    expectSame(`${group} agf_refcount_blocks`, agf.agf_refcount_blocks, refcount.blocks.length)
    refcountbt.push(...refcount.blocks)
    let last = { end: -1, references: 0 }
    for (const { rc_startblock, rc_blockcount, rc_refcount } of refcount.records) {
      if (rc_startblock < last.end || (rc_startblock === last.end && rc_refcount === last.references))
        throw new Error(`${group}: references from ${rc_startblock} are not joined with those before`)
      last = { end: rc_startblock + rc_blockcount, references: rc_refcount }
      for (let block = rc_startblock; block < last.end; block++) references.set(block, rc_refcount)
    }
  }
  if (superblock.hasRmapbt) checkOwners(group, free, rmap.records, references, new Set(own))
  return {
    free,
    own: new Set(own),
    refcountbt,
    needed: neededInFreeList(superblock, agf),
    listed: list.length,
    rmaps: rmap.records,
    references,
  }
}

/** Blocks are free, or have as many owners as references. */
function checkOwners(
  group: string,
  free: Uint8Array,
  rmaps: readonly RmapRecord[],
  references: ReadonlyMap<number, number>,
  own: ReadonlySet<number>,
): void {
  const owners = new Uint16Array(free.length)
  const ofGroup = new Set<number>()
  for (const { rm_startblock, rm_blockcount, rm_owner } of rmaps)
    for (let block = rm_startblock; block < rm_startblock + rm_blockcount; block++) {
      owners[block] = (owners[block] ?? 0) + 1
      if (BigInt.asIntN(64, rm_owner) === -5n) ofGroup.add(block)
    }
  for (const [block, count] of owners.entries()) {
    const expected = free[block] ? 0 : (references.get(block) ?? 1)
    if (count !== expected) throw new Error(`${group}: block ${block} has ${count} owners, not ${expected}`)
  }
  checkJoined(group, rmaps)
  expectSame(`${group}: blocks of OWN_AG`, [...ofGroup].sort(), [...own].sort())
}

/** What goes on in the same fork and on the volume is one record. */
function checkJoined(group: string, rmaps: readonly RmapRecord[]): void {
  const UNWRITTEN = 1n << 61n
  const BMBT = 1n << 62n
  const key = (block: number, owner: bigint, offset: bigint) => `${block} ${owner} ${offset}`
  const begins = new Set(rmaps.map(each => key(each.rm_startblock, each.rm_owner, each.rm_offset)))
  for (const { rm_startblock, rm_blockcount, rm_owner, rm_offset } of rmaps) {
    const hasOffset = rm_owner < 1n << 63n && (rm_offset & BMBT) === 0n
    const next = rm_offset + (hasOffset ? BigInt(rm_blockcount) : 0n)
    if (begins.has(key(rm_startblock + rm_blockcount, rm_owner, next)))
      throw new Error(`${group}: ${rm_owner} has blocks from ${rm_startblock} in two records, not in one`)
    if (!hasOffset && (rm_offset & ~(BMBT | UNWRITTEN | (1n << 63n))) !== 0n)
      throw new Error(`${group}: ${rm_owner} has an offset where it can have none`)
  }
}

/** All groups; and that the superblock counts what they have. */
export async function allGroups(volume: XfsVolume): Promise<GroupState[]> {
  const groups: GroupState[] = []
  let fdblocks = 0
  for (let agno = 0; agno < volume.geometry.agCount; agno++) {
    const state = await groupState(volume, agno)
    const roots = volume.superblock.hasRmapbt ? 3 : 2
    fdblocks += state.free.reduce((sum, bit) => sum + bit, 0) + state.own.size - roots
    groups.push(state)
  }
  expectSame('sb_fdblocks', (await volume.counters()).fdblocks, fdblocks)
  return groups
}
