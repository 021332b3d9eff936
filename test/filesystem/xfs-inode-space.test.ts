import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { haveXfsMounts, makeXfs, mountedXfs, quickFolder } from '../../native-fixtures/xfs-logs.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { haveTool, propertySettings, runOk } from '../support/native.ts'
import { inodeBooks, NOW, repairSays, withWriter } from '../support/xfs-inodes.ts'

interface Variant {
  readonly name: string
  readonly mkfs: string
  readonly megabytes?: number
}

const VARIANTS: readonly Variant[] = [
  { name: 'as mkfs.xfs makes it', mkfs: '-d agcount=4' },
  { name: 'blocks of 1 KiB, reverse mapping', mkfs: '-b size=1024 -m rmapbt=1 -i nrext64=1 -d agcount=3' },
  { name: 'sectors of 4 KiB, inodes of 1 KiB', mkfs: '-s size=4096 -i size=1024 -d agcount=2' },
  {
    name: 'inodes of 2 KiB, without later features',
    mkfs: '-i size=2048,sparse=0,nrext64=0 -m finobt=0,reflink=0,bigtime=0',
  },
  {
    name: 'without sparse inodes, another UUID',
    mkfs: '-i sparse=0 -m uuid=7c21b4a0-8f0c-4a3c-9a53-2f3cdd9d1d10',
  },
  { name: 'blocks of 64 KiB', mkfs: '-b size=65536 -d agcount=2', megabytes: 160 },
  {
    name: 'blocks of 16 KiB, inodes of 256 bytes: a chunk is a block',
    mkfs: '-b size=16384 -m crc=0 -i size=256',
    megabytes: 160,
  },
  { name: 'stripes, blocks of 2 KiB', mkfs: '-b size=2048 -d su=64k,sw=3,agcount=2' },
  {
    name: 'version 4, blocks of 512 bytes, counters not lazy',
    mkfs: '-m crc=0 -b size=512 -i size=256 -l lazy-count=0 -d agcount=2',
  },
]

const FILE = 0o100644

async function image(mkfs: string, megabytes = 64): Promise<string> {
  const path = join(quickFolder(), 'image')
  await makeXfs(path, megabytes, mkfs.split(' '))
  return path
}

async function allocate(writer: XfsWriter, parent: number, mode = FILE): Promise<number> {
  return inTransaction(writer, async () => (await writer.inodeAllocator.allocate(parent, mode)).ino)
}

async function free(writer: XfsWriter, ino: number): Promise<void> {
  await inTransaction(writer, async () => writer.inodeAllocator.free(await writer.inodes.edit(ino)))
}

/** The same pick from a list for the same step. */
function pick<Item>(items: readonly Item[], step: number): Item {
  const item = items[(step * 7919) % items.length]
  if (item === undefined) throw new Error('nothing to pick from')
  return item
}

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_repair'))(
  'inodes of XFS are allocated and freed',
  () => {
    for (const { name, mkfs, megabytes } of VARIANTS)
      test(name, async () => {
        const path = await image(mkfs, megabytes)
        const untouched = await repairSays(path)
        expect(untouched).toEqual({ disconnected: new Set(), rest: [] })
        const made = new Set<number>()
        const before = await withWriter(path, async writer => {
          const { sb_rootino } = writer.volume.superblock
          const books = await inodeBooks(writer.volume)
          const free = await writer.space.freeBlocks()
          for (let n = 0; n < 400; n++) {
            const ino = await allocate(writer, n % 3 === 0 ? sb_rootino : pick([...made, sb_rootino], n))
            expect(made.has(ino) || books.used.has(ino), `${ino}`).toBe(false)
            made.add(ino)
          }
          expect((await inodeBooks(writer.volume)).used).toEqual(new Set([...books.used, ...made]))
          return { books, free }
        })
        expect(await repairSays(path)).toEqual({ disconnected: made, rest: [] })

        await withWriter(path, async writer => {
          for (let n = 0; n < 250; n++) {
            const ino = pick([...made], n)
            await free(writer, ino)
            made.delete(ino)
          }
          for (let n = 0; n < 40; n++) made.add(await allocate(writer, pick([...made], n)))
        })
        expect(await repairSays(path)).toEqual({ disconnected: made, rest: [] })

        await withWriter(path, async writer => {
          for (const ino of made) await free(writer, ino)
          const { used, free: left } = await inodeBooks(writer.volume)
          expect(used).toEqual(before.books.used)
          if (writer.volume.superblock.sb_inopblock > 64) return
          expect(left).toBe(before.books.free)
          expect(await writer.space.freeBlocks()).toBe(before.free)
        })
        expect(await repairSays(path)).toEqual({ disconnected: new Set(), rest: [] })
      }, 60_000)

    const deep = [
      ['-b size=1024 -m rmapbt=1 -d agcount=2', 4200],
      ['-m crc=0 -b size=512 -i size=256 -d agcount=2', 2400],
    ] as const
    for (const [mkfs, count] of deep)
      test(`trees of several levels (${mkfs})`, async () => {
        const path = await image(mkfs)
        const made: number[] = []
        const levels = async ({ volume }: XfsWriter) => {
          const { agi_level, agi_free_level } = await volume.readAgi(0)
          return Math.min(agi_level, volume.superblock.hasFinobt ? agi_free_level : agi_level)
        }
        const before = await withWriter(path, async writer => {
          const books = await inodeBooks(writer.volume)
          const { sb_rootino } = writer.volume.superblock
          await inTransaction(writer, async () => {
            for (let n = 0; n < count; n++)
              made.push((await writer.inodeAllocator.allocate(sb_rootino, FILE)).ino)
          })
          for (let n = 0; n < made.length; n += 40) await free(writer, made.splice(n, 1)[0] ?? 0)
          expect(await levels(writer)).toBeGreaterThan(1)
          return { books, free: await writer.space.freeBlocks() }
        })
        expect(await repairSays(path)).toEqual({ disconnected: new Set(made), rest: [] })
        await withWriter(path, async writer => {
          await inTransaction(writer, async () => {
            for (let n = 0; made.length > 0; n++) {
              const [ino = 0] = made.splice((n * 7919) % made.length, 1)
              await writer.inodeAllocator.free(await writer.inodes.edit(ino))
            }
          })
          expect(await levels(writer)).toBe(1)
          expect(await inodeBooks(writer.volume)).toEqual(before.books)
        })
        expect(await repairSays(path)).toEqual({ disconnected: new Set(), rest: [] })
      }, 60_000)

    test.skipIf(!haveXfsMounts())('the kernel goes on where drydisk stopped', async () => {
      const path = await image('-b size=1024 -m rmapbt=1 -d agcount=2')
      const made = new Set<number>()
      await withWriter(path, async writer => {
        for (let n = 0; n < 300; n++) made.add(await allocate(writer, writer.volume.superblock.sb_rootino))
        for (let n = 0; n < 100; n++) {
          const ino = pick([...made], n)
          await free(writer, ino)
          made.delete(ino)
        }
      })
      await mountedXfs(path, async folder => {
        await runOk('sh', ['-c', 'cd "$1" && seq 500 | xargs touch && rm ./*7 && mkdir a b c', '-', folder])
      })
      expect(await repairSays(path)).toEqual({ disconnected: made, rest: [] })
      await withWriter(path, async writer => {
        for (const ino of made) await free(writer, ino)
        await inodeBooks(writer.volume)
      })
      expect(await repairSays(path)).toEqual({ disconnected: new Set(), rest: [] })
    })

    test('an inode has what a new one has, and a generation that goes on', async () => {
      for (const mkfs of ['-m rmapbt=1 -i nrext64=1', '-m crc=0', '-m bigtime=0']) {
        const path = await image(mkfs)
        await withWriter(path, async writer => {
          const { superblock } = writer.volume
          const root = superblock.sb_rootino
          const first = await inTransaction(writer, async () => {
            const inode = await writer.inodeAllocator.allocate(root, 0o041755)
            inode.data.literal.setU64(0, 12_345)
            inode.di_size = 77
            inode.di_uid = 5
            inode.di_flags = 0x40
            return { ino: inode.ino, gen: inode.di_gen }
          })
          await free(writer, first.ino)
          await expect(async () => writer.inodes.read(first.ino)).rejects.toMatchObject({
            code: 'ERR_CORRUPT',
          })
          const inode = await inTransaction(writer, () => writer.inodeAllocator.allocate(root, 0o100640))
          expect(inode.ino).toBe(first.ino)
          expect(inode.di_gen).toBe((first.gen + 1) >>> 0)
          expect([inode.type, inode.di_mode, inode.di_uid, inode.di_size]).toEqual(['file', 0o640, 0, 0])
          expect([inode.di_nlink, inode.di_nblocks, inode.di_flags, inode.di_forkoff]).toEqual([0, 0, 0, 0])
          expect([inode.dataExtents, inode.attributeExtents, inode.attributes]).toEqual([0, 0, undefined])
          expect(inode.data.literal.bytes.every(byte => byte === 0)).toBe(true)
          expect(inode.isUnlinkedLast).toBe(true)
          expect([inode.atime, inode.mtime, inode.ctime]).toEqual([NOW, NOW, NOW])
          expect([inode.di_version, inode.hasBigTime]).toEqual(
            superblock.isV5 ? [3, mkfs !== '-m bigtime=0'] : [2, false],
          )
          if (superblock.isV5) expect(inode.crtime).toBe(NOW)
          await free(writer, inode.ino)
        })
        expect(await repairSays(path)).toEqual({ disconnected: new Set(), rest: [] })
      }
    })

    test('what the filesystem needs is not freed, nor what is free', async () => {
      const path = await image('-d agcount=2')
      await withWriter(path, async writer => {
        const { sb_rootino, sb_rbmino, sb_rsumino } = writer.volume.superblock
        const before = await inodeBooks(writer.volume)
        for (const ino of [sb_rootino, Number(sb_rbmino), Number(sb_rsumino)])
          await expect(free(writer, ino)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
        const ino = await allocate(writer, sb_rootino)
        const inode = await writer.inodes.read(ino)
        await free(writer, ino)
        await expect(inTransaction(writer, () => writer.inodeAllocator.free(inode))).rejects.toMatchObject({
          code: 'ERR_CORRUPT',
        })
        const full = await allocate(writer, sb_rootino)
        const blocks = async () => {
          const open = await writer.inodes.edit(full)
          open.di_nblocks = 3
          await writer.inodeAllocator.free(open)
        }
        await expect(inTransaction(writer, blocks)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
        await free(writer, full)
        expect(await inodeBooks(writer.volume)).toEqual(before)
      })
      expect((await repairSays(path)).rest).toEqual([])
    })

    test('sb_imax_pct is kept to, and another group is used when one is full', async () => {
      const path = await image('-d agcount=4 -i maxpct=1')
      const made = new Set<number>()
      await withWriter(path, async writer => {
        const { sb_rootino, sb_dblocks, sb_inopblock } = writer.volume.superblock
        const most = Math.floor(Math.floor(sb_dblocks / 100) / 8) * 8 * sb_inopblock
        await expect(
          (async () => {
            for (;;) made.add(await allocate(writer, sb_rootino))
          })(),
        ).rejects.toMatchObject({ code: 'ENOSPC', message: expect.stringContaining('1 %') })
        const { used, free } = await inodeBooks(writer.volume)
        expect(free).toBe(0)
        expect(used.size).toBe(most)
      })
      expect(await repairSays(path)).toEqual({ disconnected: made, rest: [] })
    })

    test('a full filesystem: every group, then ENOSPC, and nothing changed by it', async () => {
      const path = await image('-d agcount=2 -i maxpct=100,size=2048 -m rmapbt=1', 32)
      const made = new Set<number>()
      await withWriter(path, async writer => {
        const { sb_rootino } = writer.volume.superblock
        for (;;)
          try {
            made.add(await allocate(writer, sb_rootino))
          } catch (error) {
            expect(isDrydiskError(error, 'ENOSPC')).toBe(true)
            break
          }
        const groups = new Set([...made].map(ino => writer.volume.geometry.inodePlace(ino)?.agno))
        expect(groups).toEqual(new Set([0, 1]))
        const { used, free } = await inodeBooks(writer.volume)
        expect(free).toBe(0)
        expect(used.size).toBe(made.size + 3)
      })
      expect(await repairSays(path)).toEqual({ disconnected: made, rest: [] })
      await withWriter(path, async writer => {
        for (const ino of made) await free(writer, ino)
      })
      expect(await repairSays(path)).toEqual({ disconnected: new Set(), rest: [] })
    }, 60_000)

    test('random allocations and frees, some of them rolled back', async () => {
      const step = fc.record({
        act: fc.constantFrom('allocate', 'allocate', 'free', 'fail', 'flush'),
        which: fc.nat(10_000),
        count: fc.integer({ min: 1, max: 90 }),
      })
      const mkfs = fc.constantFrom(...VARIANTS.filter(({ megabytes }) => megabytes === undefined))
      await fc.assert(
        fc.asyncProperty(mkfs, fc.array(step, { minLength: 5, maxLength: 25 }), async (variant, steps) => {
          const path = await image(variant.mkfs)
          const made = new Set<number>()
          await withWriter(path, async writer => {
            const root = writer.volume.superblock.sb_rootino
            const { used } = await inodeBooks(writer.volume)
            for (const { act, which, count } of steps) {
              if (act === 'flush') await writer.volume.buffers.flush()
              else if (act === 'fail')
                await inTransaction(writer, async () => {
                  for (const ino of [...made].slice(which % 100, (which % 100) + count))
                    await writer.inodeAllocator.free(await writer.inodes.edit(ino))
                  for (let n = 0; n < count; n++) await writer.inodeAllocator.allocate(root, FILE)
                  throw new Error('on purpose')
                }).catch(error => expect(error.message).toBe('on purpose'))
              else
                for (let n = 0; n < count; n++)
                  if (act === 'allocate') made.add(await allocate(writer, pick([root, ...made], which + n)))
                  else if (made.size > 0) {
                    const ino = pick([...made], which + n)
                    await free(writer, ino)
                    made.delete(ino)
                  }
              expect((await inodeBooks(writer.volume)).used).toEqual(new Set([...used, ...made]))
            }
          })
          expect(await repairSays(path)).toEqual({ disconnected: made, rest: [] })
        }),
        propertySettings(4),
      )
    }, 120_000)
  },
)
