import { expect } from 'vitest'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { finobtKind, type InobtRecord, inobtKind } from '../../src/filesystem/xfs/btree-kinds.ts'
import { createWriter } from '../../src/filesystem/xfs/create-writer.ts'
import { inodesThere } from '../../src/filesystem/xfs/inode-space/inode-record.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { XfsVolume } from '../../src/filesystem/xfs/volume.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { run } from './native.ts'

/** 2026-11-22 in nanoseconds. */
export const NOW = 1_795_305_600_000_000_123n

export async function writerOf(device: BlockDevice): Promise<XfsWriter> {
  return createWriter(new XfsVolume(device, await readSuperblock(device)), undefined, () => NOW)
}

/** The parts that write, on an image without a log to replay; what they change is in the image afterwards. */
export async function withWriter<Result>(
  image: string,
  use: (writer: XfsWriter) => Promise<Result>,
): Promise<Result> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  try {
    const writer = await writerOf(device)
    const result = await use(writer)
    await writer.volume.buffers.flush()
    await device.flush()
    return result
  } finally {
    await device.close()
  }
}

/** All inodes as the trees have them. */
export interface InodeBooks {
  readonly used: ReadonlySet<number>
  readonly free: number
  readonly records: readonly InobtRecord[]
}

async function recordsOf(volume: XfsVolume, agno: number, tree: 'inobt' | 'finobt'): Promise<InobtRecord[]> {
  const agi = await volume.readAgi(agno)
  const sparse = volume.superblock.hasSparseInodes
  const leaves =
    tree === 'inobt'
      ? volume.agBtree(inobtKind(sparse), agno, agi.agi_root, agi.agi_level).leaves()
      : volume.agBtree(finobtKind(sparse), agno, agi.agi_free_root, agi.agi_free_level).leaves()
  const all: InobtRecord[] = []
  for await (const records of leaves) all.push(...records)
  return all
}

/** Reads all trees, and holds them against each other, the AGIs and the superblock. */
export async function inodeBooks(volume: XfsVolume): Promise<InodeBooks> {
  const used = new Set<number>()
  const everything: InobtRecord[] = []
  let [total, free] = [0, 0]
  for (let agno = 0; agno < volume.geometry.agCount; agno++) {
    const agi = await volume.readAgi(agno)
    const records = await recordsOf(volume, agno, 'inobt')
    let [count, freecount] = [0, 0]
    for (const record of records) {
      count += record.ir_count
      freecount += record.ir_freecount
      const there = inodesThere(record)
      for (let offset = 0; offset < 64; offset++)
        if (((there & ~record.ir_free) >> BigInt(offset)) & 1n)
          used.add(volume.geometry.inodeNumber(agno, record.ir_startino + offset))
    }
    expect([agi.agi_count, agi.agi_freecount], `AGI ${agno}`).toEqual([count, freecount])
    if (volume.superblock.hasFinobt)
      expect(await recordsOf(volume, agno, 'finobt'), `finobt ${agno}`).toEqual(
        records.filter(({ ir_freecount }) => ir_freecount > 0),
      )
    everything.push(...records)
    total += count
    free += freecount
  }
  const { icount, ifree } = await volume.counters()
  expect([icount, ifree], 'superblock').toEqual([total, free])
  return { used, free, records: everything }
}

/** What xfs_repair says of an image, apart from inodes that no name leads to, which are told by their numbers. */
export async function repairSays(image: string): Promise<{ disconnected: Set<number>; rest: string[] }> {
  const { stdout, stderr } = await run('xfs_repair', ['-n', '-f', image])
  const disconnected = new Set<number>()
  const rest: string[] = []
  for (const line of `${stdout}\n${stderr}`.split('\n')) {
    const found = /^disconnected inode (\d+), would move to lost\+found$/.exec(line)
    if (found !== null) disconnected.add(Number(found[1]))
    else if (/^would have reset inode \d+ nlinks from 0 to 1$/.test(line)) continue
    else if (!isRoutine(line)) rest.push(line)
  }
  return { disconnected, rest }
}

/** What it says of every image. */
function isRoutine(line: string): boolean {
  return (
    line === '' ||
    /^(Phase \d| {8}- )/.test(line) ||
    /^(Cannot get host filesystem geometry\.|Repair may fail if there is|the image and the host filesystem\.)/.test(
      line,
    ) ||
    /^No modify flag set, skipping (phase 5|filesystem flush and exiting\.)$/.test(line)
  )
}
