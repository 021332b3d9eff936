import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeXfs, withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { DIFLAG, DIFLAG2, type Dinode, FORMAT } from '../../src/filesystem/xfs/dinode.ts'
import { lookupName } from '../../src/filesystem/xfs/directory.ts'
import { readData } from '../../src/filesystem/xfs/file-data.ts'
import { truncateData, writeData } from '../../src/filesystem/xfs/fork/file-write.ts'
import { emptyFork, ForkEditor, resizeForks } from '../../src/filesystem/xfs/fork/fork-edit.ts'
import { forkTree } from '../../src/filesystem/xfs/fork/fork-tree.ts'
import type { Soon } from '../../src/filesystem/xfs/soon.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { pattern } from '../support/filesystem-contract.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { kernelTree } from '../support/tree-rows.ts'
import { withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

const BLOCK = 4096

/** An image with empty files, or what a command line leaves in it when it is mounted. */
async function imageWith(
  names: readonly string[],
  args: readonly string[] = [],
  script = '',
): Promise<string> {
  const image = join(temporaryFolder(), 'image')
  const lines = ['/', '0 0', 'd--755 0 0', ...names.map(name => `${name} ---644 0 0 /dev/null`), '$']
  await runOk('sh', ['-c', `printf '%s\\n' "$@" >${image}.proto`, 'sh', ...lines])
  await makeXfs(image, 320, [...args, '-p', `${image}.proto`])
  if (script !== '') await withXfsMount(image, 'noatime', top => runOk('sh', ['-ec', `cd ${top}\n${script}`]))
  return writes(image, 'xfs')
}

async function find({ volume, inodes }: XfsWriter, name: string): Promise<number> {
  const root = await inodes.read(volume.superblock.sb_rootino)
  return lookupName({ volume, inodes }, root, new TextEncoder().encode(name))
}

/** One transaction that changes a file. */
async function edit<T>(writer: XfsWriter, name: string, use: (inode: Dinode) => Soon<T>): Promise<T> {
  const ino = await find(writer, name)
  return inTransaction(writer, async () => use(await writer.inodes.edit(ino)))
}

async function content(writer: XfsWriter, name: string): Promise<Uint8Array> {
  const inode = await writer.inodes.read(await find(writer, name))
  const bytes = new Uint8Array(inode.di_size)
  await readData(writer.volume, inode, 0, bytes)
  return bytes
}

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_repair'))('file content on XFS', () => {
  test('that lay behind the end of a file never comes back', async () => {
    const image = await imageWith(['a', 'b', 'c', 'd'])
    await withXfsWriter(image, async writer => {
      // Blocks behind the end with something in them, as old kernels left them when they allocated ahead.
      for (const name of 'abcd')
        await edit(writer, name, async inode => {
          await writeData(writer, inode, 0, new Uint8Array(5 * BLOCK).fill(0xee))
          inode.di_size = 100
        })
      await edit(writer, 'a', inode => truncateData(writer, inode, 3 * BLOCK + 5))
      await edit(writer, 'b', inode => writeData(writer, inode, 2 * BLOCK + 7, pattern(9, 1)))
      await edit(writer, 'c', inode => writeData(writer, inode, 200, pattern(9, 1)))
      await edit(writer, 'd', inode => truncateData(writer, inode, 50))
      await edit(writer, 'd', inode => truncateData(writer, inode, 6 * BLOCK))
    })
    await withXfsWriter(image, async writer => {
      const expected = async (name: string, size: number, kept: number, at = 0, written = 0) => {
        const bytes = new Uint8Array(size).fill(0xee, 0, kept)
        bytes.set(pattern(written, 1), at)
        expect(Buffer.compare(await content(writer, name), bytes), name).toBe(0)
      }
      await expected('a', 3 * BLOCK + 5, 100)
      await expected('b', 2 * BLOCK + 16, 100, 2 * BLOCK + 7, 9)
      await expected('c', 209, 100, 200, 9)
      await expected('d', 6 * BLOCK, 50)
      // Behind the end of the file's last block there is nothing either, whoever looks next.
      const inode = await writer.inodes.read(await find(writer, 'd'))
      expect(inode.di_nblocks).toBe(1)
    })
  })

  test('that does not fit is not written, and nothing has changed', async () => {
    const image = await imageWith(['full', 'file'])
    await withXfsWriter(image, async writer => {
      await edit(writer, 'file', inode => writeData(writer, inode, 10, pattern(5000, 3)))
      await edit(writer, 'full', async inode => {
        const free = await writer.space.freeBlocks()
        await new ForkEditor(writer, inode, 'data').allocate(0, free - 40, { unwritten: true })
      })
      const before = await writer.space.freeBlocks()
      await expect(
        edit(writer, 'file', inode => writeData(writer, inode, 5, new Uint8Array(60 * BLOCK).fill(1))),
      ).rejects.toMatchObject({ code: 'ENOSPC' })
      expect(await writer.space.freeBlocks()).toBe(before)
      const bytes = new Uint8Array(5010)
      bytes.set(pattern(5000, 3), 10)
      expect(Buffer.compare(await content(writer, 'file'), bytes)).toBe(0)
      await edit(writer, 'file', inode => writeData(writer, inode, 0, new Uint8Array(20 * BLOCK).fill(1)))
      await edit(writer, 'full', inode => emptyFork(writer, inode, 'data'))
    })
  })

  test('has its bounds', async () => {
    const image = await imageWith(['file', 'realtime'])
    await withXfsWriter(image, async writer => {
      const far = Number.MAX_SAFE_INTEGER - 3
      await edit(writer, 'file', inode => writeData(writer, inode, far, pattern(3, 1)))
      expect((await writer.inodes.read(await find(writer, 'file'))).di_size).toBe(Number.MAX_SAFE_INTEGER)
      const fails = async (at: number, code: string) =>
        expect(
          edit(writer, 'file', inode => writeData(writer, inode, at, pattern(4, 1))),
        ).rejects.toMatchObject({
          code,
        })
      await fails(far, 'EFBIG')
      await fails(-1, 'EINVAL')
      await fails(0.5, 'EINVAL')
      await expect(edit(writer, 'file', inode => truncateData(writer, inode, 2 ** 53))).rejects.toMatchObject(
        {
          code: 'EINVAL',
        },
      )
      await edit(writer, 'file', inode => truncateData(writer, inode, 0))
      for (const change of [writeData, truncateData])
        await expect(
          edit(writer, 'realtime', async inode => {
            inode.di_flags |= DIFLAG.REALTIME
            await (change === writeData
              ? writeData(writer, inode, 0, pattern(3, 1))
              : truncateData(writer, inode, 7))
          }),
        ).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED', message: /real-time/ })
    })
  })

  test('is not written into headers, the log, or what does not exist, and these are not freed', async () => {
    const image = await imageWith(['file'])
    await withXfsWriter(image, async writer => {
      const { volume } = writer
      const { sb_logstart } = volume.superblock
      const header = new Uint8Array(BLOCK)
      await volume.device.read(0, header)
      for (const start of [0, sb_logstart + 3, volume.geometry.fsBlock(9, 1)]) {
        const ways = [
          (inode: Dinode) => writeData(writer, inode, 1, pattern(10, 1)),
          (inode: Dinode) => truncateData(writer, inode, 0),
          (inode: Dinode) => truncateData(writer, inode, 70),
          (inode: Dinode) => emptyFork(writer, inode, 'data'),
        ]
        for (const way of ways)
          await expect(
            edit(writer, 'file', async inode => {
              inode.dataExtents = 1
              inode.di_nblocks = 1
              inode.di_size = BLOCK
              const { literal } = inode.data
              literal.setU32(8, Math.floor(start / 2 ** 11))
              literal.setU32(12, (start % 2 ** 11) * 2 ** 21 + 1)
              await way(inode)
            }),
          ).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
      }
      const after = new Uint8Array(BLOCK)
      await volume.device.read(0, after)
      expect(Buffer.compare(header, after)).toBe(0)
    })
  })

  test('whose map is damaged is changed, or the damage is told of', async () => {
    const image = await imageWith(['file'], ['-m', 'crc=0', '-b', 'size=512', '-i', 'size=256'])
    await withXfsWriter(image, async writer => {
      await edit(writer, 'file', async inode => {
        const editor = new ForkEditor(writer, inode, 'data')
        for (let at = 0; at < 700; at += 2) await editor.allocate(at, 1)
        inode.di_size = 700 * 512
      })
      const { buffers, geometry } = writer.volume
      const state = async (inode: Dinode) => {
        const tree = forkTree(writer, inode, 'data')
        const blocks: number[] = []
        for await (const pointer of tree.blocks()) blocks.push(geometry.volumeBlock(pointer))
        return blocks
      }
      let refused = 0
      const stop = new Error('taken back')
      await fc.assert(
        fc.asyncProperty(
          fc.nat(),
          fc.array(fc.tuple(fc.nat(), fc.nat({ max: 511 }), fc.integer({ min: 1, max: 255 })), {
            minLength: 1,
            maxLength: 4,
          }),
          fc.nat({ max: 5 }),
          async (seed, damages, way) => {
            const change = edit(writer, 'file', async inode => {
              const blocks = await state(inode)
              for (const [which, at, bits] of damages) {
                const block = blocks[which % (blocks.length + 1)]
                const bytes =
                  block === undefined
                    ? inode.data.literal.bytes
                    : await buffers.edit([block], { at: 0, length: 512, crcAt: 0 })
                bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ bits
              }
              // Only the metadata: blocks of data may be anyone's now, and what is written to them stays.
              const editor = new ForkEditor(writer, inode, 'data')
              const from = seed % 700
              if (way === 0) await editor.unmap(from, from + 300)
              else if (way === 1) await emptyFork(writer, inode, 'data')
              else if (way === 2) await editor.allocate(from | 1, 1)
              else if (way === 3) await editor.setWritten(from, from + 90)
              else if (way === 4) await resizeForks(writer, inode, 9)
              else await truncateData(writer, inode, from * 512)
              throw stop
            })
            const error = await change.then(
              () => stop,
              (reason: unknown) => reason,
            )
            if (error === stop) return
            refused++
            expect(error).toMatchObject({ code: expect.stringMatching(/^(ERR_CORRUPT|ENOSPC)$/) })
          },
        ),
        propertySettings(30),
      )
      expect(refused).toBeGreaterThan(10)
      await edit(writer, 'file', inode => emptyFork(writer, inode, 'data'))
    })
  })

  test('in more blocks than one extent can have', async () => {
    const image = join(temporaryFolder(), 'image')
    await runOk('sh', [
      '-c',
      `printf '/\\n0 0\\nd--755 0 0\\nbig ---644 0 0 /dev/null\\n$\\n' >${image}.proto`,
    ])
    await makeXfs(image, 4000, ['-m', 'crc=0', '-b', 'size=512', '-d', 'agcount=2', '-p', `${image}.proto`])
    writes(image, 'xfs')
    const most = 2 ** 21 - 1
    await withXfsWriter(image, async writer => {
      const runs = await edit(writer, 'big', inode =>
        new ForkEditor(writer, inode, 'data').allocate(5, most + 1000, { unwritten: true }),
      )
      expect(runs.map(({ count }) => count)).toEqual([most, 1000])
      await edit(writer, 'big', async inode => {
        const editor = new ForkEditor(writer, inode, 'data')
        await editor.setWritten(100, most)
        await editor.setWritten(0, 101)
        await editor.setWritten(most, 2 * most)
        expect(inode.dataExtents).toBe(2)
        await editor.unmap(most, most + 9)
        await editor.allocate(most, 9)
        expect(inode.di_nblocks).toBe(most + 1000)
      })
    })
  })
})

describe.skipIf(!haveTool('mkfs.xfs') || !haveLoopMounts())('what Linux made on XFS', () => {
  test('blocks that a file has twice are its own after a write', async () => {
    const script = `
      head -c 40960 /dev/zero | tr '\\0' x >twice
      xfs_io -c 'reflink twice 0 40960 16384' -c 'reflink twice 4096 57344 4096' twice >/dev/null
      cp --reflink=always twice other`
    const image = await imageWith([], ['-m', 'rmapbt=1,reflink=1'], script)
    await withXfsWriter(image, async writer => {
      const model = await content(writer, 'twice')
      expect(model.length).toBe(61440)
      const before = model.slice()
      for (const [at, length] of [
        [100, 9000],
        [41000, 20000],
        [0, 61440],
        [5, 3],
      ] as const) {
        const bytes = pattern(length, at)
        await edit(writer, 'twice', inode => writeData(writer, inode, at, bytes))
        model.set(bytes, at)
        expect(Buffer.compare(await content(writer, 'twice'), model)).toBe(0)
      }
      expect(Buffer.compare(await content(writer, 'other'), before)).toBe(0)
      await edit(writer, 'other', inode => truncateData(writer, inode, 50000))
      await edit(writer, 'other', inode => truncateData(writer, inode, 61440))
      expect(Buffer.compare(await content(writer, 'other'), before.fill(0, 50000))).toBe(0)
      await edit(writer, 'other', async inode => {
        expect(inode.di_flags2 & DIFLAG2.REFLINK).not.toBe(0n)
        await truncateData(writer, inode, 0)
        expect(inode.di_flags2 & DIFLAG2.REFLINK).toBe(0n)
      })
    })
  })

  test('the boundary of the forks moves below whatever they hold', async () => {
    const script = `
      mkdir short long
      touch short/a short/b short/c empty
      for n in $(seq 250); do touch long/name-$n-is-this; done
      ln -s target link
      ln -s $(printf %0200d 7) longer
      mkfifo fifo
      printf some >some
      for n in 1 3 5 7 9; do xfs_io -c "pwrite -q $((n * 8192)) 4096" some; done
      for name in short long empty fifo some; do setfattr -hn trusted.one -v "$(printf %020d 9)" $name; done
      setfattr -n user.many -v "$(head -c 3000 /dev/zero | tr '\\0' y)" empty
      setfattr -hn trusted.t -v v link`
    const image = await imageWith([], [], script)
    const tree = () => withXfsMount(image, 'ro,norecovery,noatime', top => kernelTree(top))
    const before = await tree()
    let moved = 0
    for (const forkoff of [7, 24, 37, 15, 30]) {
      await withXfsWriter(image, async writer => {
        for (const name of ['short', 'long', 'empty', 'link', 'longer', 'fifo', 'some'])
          await edit(writer, name, async inode => {
            const was = inode.di_forkoff
            const units = inode.data.format === FORMAT.DEV ? 1 : forkoff
            const done = await resizeForks(writer, inode, was === 0 ? 0 : units)
            if (done && inode.di_forkoff !== was) moved++
            if (!done) expect(inode.di_forkoff).toBe(was)
          })
      })
      await runOk('xfs_repair', ['-n', '-f', image])
    }
    expect(await tree()).toEqual(before)
    expect(moved).toBeGreaterThan(10)
  })
})
