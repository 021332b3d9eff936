import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Dinode, FORMAT } from '../../src/filesystem/xfs/dinode.ts'
import { lookupName } from '../../src/filesystem/xfs/directory.ts'
import { emptyFork, ForkEditor, resizeForks } from '../../src/filesystem/xfs/fork/fork-edit.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { stingy, withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'version 4, blocks of 512 bytes': ['-m', 'crc=0', '-b', 'size=512', '-i', 'size=256'],
  'blocks of 1 KiB, reverse mapping': ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1', '-i', 'nrext64=1'],
  'blocks of 4 KiB, inodes of 2 KiB': ['-i', 'size=2048'],
}
const FILES = 8
const BLOCKS = 1500

/** What a block of a fork is. */
type State = 'hole' | 'data' | 'unwritten'
type Which = 'data' | 'attribute'

interface Operation {
  readonly op: 'allocate' | 'comb' | 'unmap' | 'setWritten' | 'resize'
  readonly which: Which
  readonly from: number
  readonly count: number
  readonly flag: boolean
}

const operation: fc.Arbitrary<Operation> = fc.record({
  op: fc.constantFrom('allocate', 'comb', 'comb', 'unmap', 'setWritten', 'resize'),
  which: fc.constantFrom<Which>('data', 'data', 'attribute'),
  from: fc.nat({ max: BLOCKS - 1 }),
  count: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 700 })),
  flag: fc.boolean(),
})

/** The states of a fork's blocks as its map has them. */
async function statesOf(editor: ForkEditor): Promise<State[]> {
  const states: State[] = []
  for await (const { count, block, unwritten } of editor.map.runs(0, BLOCKS)) {
    const state = block === undefined ? 'hole' : unwritten ? 'unwritten' : 'data'
    for (let index = 0; index < count; index++) states.push(state)
  }
  return states
}

/** Stretches of a range that are holes. */
function holes(states: readonly State[], from: number, to: number): { from: number; count: number }[] {
  const found: { from: number; count: number }[] = []
  for (let at = from; at < to; at++) {
    if (states[at] !== 'hole') continue
    const last = found.at(-1)
    if (last !== undefined && last.from + last.count === at) last.count++
    else found.push({ from: at, count: 1 })
  }
  return found
}

async function change(
  writer: XfsWriter,
  inode: Dinode,
  states: Record<Which, State[]>,
  { op, which, from, count, flag }: Operation,
): Promise<void> {
  if (op === 'resize') {
    const units = inode.literalSize / 8
    const forkoff = flag ? 7 + (from % Math.floor(units - 11)) : 0
    const before = inode.di_forkoff
    const done = await resizeForks(writer, inode, forkoff)
    expect(inode.di_forkoff).toBe(done ? forkoff : before)
    if (forkoff !== 0) expect(done).toBe(true)
    else expect(done).toBe(states.attribute.every(state => state === 'hole'))
    return
  }
  if (which === 'attribute' && inode.attributes === undefined) return
  const editor = new ForkEditor(writer, inode, which)
  const mine = states[which]
  const to = Math.min(BLOCKS, from + count)
  const unwritten = flag && which === 'data'
  if (op === 'allocate')
    for (const hole of holes(mine, from, to)) {
      const contiguous = count % 2 === 0 && hole.count < 5
      const runs = await editor.allocate(hole.from, hole.count, { unwritten, contiguous })
      if (contiguous) expect(runs.length).toBe(1)
      mine.fill(unwritten ? 'unwritten' : 'data', hole.from, hole.from + hole.count)
    }
  else if (op === 'comb')
    for (let at = from; at < to; at += 2) {
      if (mine[at] !== 'hole') continue
      await editor.allocate(at, 1, { unwritten })
      mine[at] = unwritten ? 'unwritten' : 'data'
    }
  else if (op === 'unmap') {
    await editor.unmap(from, to)
    mine.fill('hole', from, to)
  } else {
    await editor.setWritten(from, to)
    for (let at = from; at < to; at++) if (mine[at] === 'unwritten') mine[at] = 'data'
  }
}

async function check(writer: XfsWriter, inode: Dinode, states: Record<Which, State[]>): Promise<void> {
  for (const which of ['data', 'attribute'] as const) {
    const fork = which === 'data' ? inode.data : inode.attributes
    const mine = states[which]
    if (fork === undefined) {
      expect(mine.every(state => state === 'hole')).toBe(true)
      continue
    }
    const editor = new ForkEditor(writer, inode, which)
    expect(await statesOf(editor)).toEqual(mine)
    expect(await editor.end()).toBe(mine.findLastIndex(state => state !== 'hole') + 1)
    const free = [...mine, ...Array.from({ length: 9 }, (): State => 'hole')]
    const hole = free.findIndex((_, at) => at >= 5 && free.slice(at, at + 3).every(state => state === 'hole'))
    expect(await editor.firstHole(5, 3)).toBe(hole)
    // What fits into the inode is there, as the kernel wants it.
    const fits = fork.nextents <= Math.floor(fork.literal.length / 16)
    expect(fork.format).toBe(fits ? FORMAT.EXTENTS : FORMAT.BTREE)
  }
}

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_repair'))('the map of a fork', () => {
  for (const [name, args] of Object.entries(VARIANTS))
    test(name, async () => {
      const image = join(temporaryFolder(), 'image')
      const proto = `${image}.proto`
      const lines = Array.from({ length: FILES }, (_, n) => `f${n} ---644 0 0 /dev/null`)
      await runOk('sh', [
        '-c',
        `printf '%s\\n' "$@" >${proto}`,
        'sh',
        '/',
        '0 0',
        'd--755 0 0',
        ...lines,
        '$',
      ])
      await runOk('truncate', ['-s', '320M', image])
      await runOk('mkfs.xfs', ['-q', ...args, '-p', proto, image])
      writes(image, 'xfs')
      const free = await withXfsWriter(image, writer => writer.space.freeBlocks())
      const model = new Map<number, Record<Which, State[]>>()
      let next = 0
      await fc.assert(
        fc.asyncProperty(
          fc.array(operation, { minLength: 5, maxLength: 30 }),
          fc.nat({ max: 5 }),
          async (list, piece) => {
            const file = next++ % FILES
            let step = 0
            const wrap = stingy(() => (piece === 0 ? 1 << 30 : 1 + (step++ % piece)))
            const states: Record<Which, State[]> = model.get(file) ?? {
              data: Array.from({ length: BLOCKS }, (): State => 'hole'),
              attribute: Array.from({ length: BLOCKS }, (): State => 'hole'),
            }
            model.set(file, states)
            await withXfsWriter(
              image,
              async writer => {
                const { volume, inodes } = writer
                const root = await inodes.read(volume.superblock.sb_rootino)
                const ino = await lookupName({ volume, inodes }, root, new TextEncoder().encode(`f${file}`))
                for (const each of list) {
                  await inTransaction(writer, async () =>
                    change(writer, await inodes.edit(ino), states, each),
                  )
                  await check(writer, await inodes.read(ino), states)
                }
                // No attributes are there: xfs_repair would look for some.
                await inTransaction(writer, async () => {
                  const inode = await inodes.edit(ino)
                  await emptyFork(writer, inode, 'attribute')
                  states.attribute.fill('hole')
                  expect(await resizeForks(writer, inode, 0)).toBe(true)
                })
                await check(writer, await inodes.read(ino), states)
              },
              wrap,
            )
          },
        ),
        propertySettings(6),
      )
      await runOk('xfs_repair', ['-n', '-f', image])
      await withXfsWriter(image, async writer => {
        const { volume, inodes } = writer
        const root = await inodes.read(volume.superblock.sb_rootino)
        for (const file of model.keys()) {
          const ino = await lookupName({ volume, inodes }, root, new TextEncoder().encode(`f${file}`))
          await inTransaction(writer, async () => {
            const inode = await inodes.edit(ino)
            await emptyFork(writer, inode, 'data')
            expect([inode.di_nblocks, inode.di_format]).toEqual([0, FORMAT.EXTENTS])
          })
        }
        // Trees of free space and of reverse mappings may keep a level, and the free lists the blocks that it may cost.
        const kept = free - (await writer.space.freeBlocks())
        expect(Math.abs(kept)).toBeLessThanOrEqual(16)
      })
    })
})
