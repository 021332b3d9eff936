import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withExt4, withKernelMount } from '../../native-fixtures/ext4-images.ts'
import { makeRandom, randomShape } from '../support/ext4-random.ts'
import { snapshot } from '../support/filesystem-snapshot.ts'
import { freeByDumpe2fs, freeSpaceOf, scribble } from '../support/free-space.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

const tools = haveTool('mke2fs') && haveTool('e2fsck') && haveTool('dumpe2fs') && haveTool('debugfs')

/** Files of many sizes, some of them large enough for extent blocks, one with holes. */
function fillFolder(folder: string, kilobytes: number, seed: number): void {
  mkdirSync(join(folder, 'd'), { recursive: true })
  let left = kilobytes
  for (let index = 0; left > 0 && index < 60; index++) {
    const size = 1 + (((seed + index) * 7919) % Math.max(1, Math.ceil(left / 3)))
    writeFileSync(join(folder, index % 3 === 0 ? 'd' : '', `f${index}`), Buffer.alloc(size << 10, index + 1))
    left -= size
  }
  const holes = join(folder, 'holes')
  writeFileSync(holes, 'begin')
  truncateSync(holes, 3 << 20)
}

const tree = (path: string) => withExt4(path, false, fs => snapshot(fs, { times: true }))

/** All that is free is what dumpe2fs lists, and none of it is missed. */
async function expectExact(path: string): Promise<void> {
  const free = await freeSpaceOf(path)
  if ('error' in free) throw new Error(free.message)
  expect(free.warnings).toEqual([])
  const theirs = await freeByDumpe2fs(path)
  expect([...free.ranges.ranges()]).toEqual([...theirs.ranges()])
  const before = await tree(path)
  scribble(path, free.ranges)
  await runOk('e2fsck', ['-fn', path])
  expect(await tree(path)).toEqual(before)
}

/** bigalloc beside what other tests know how to write to. */
const shapes = fc.tuple(
  randomShape,
  fc.option(fc.constantFrom(2, 4, 16), { nil: undefined, freq: 3 }),
  fc.nat(1000),
  fc.boolean(),
)

describe.skipIf(!tools)('free space of ext2, ext3 and ext4', () => {
  test('is what dumpe2fs says, and nobody misses it', async () => {
    let made = 0
    await fc.assert(
      fc.asyncProperty(shapes, async ([shape, ratio, seed, byKernel]) => {
        const folder = temporaryFolder()
        const path = join(folder, 'image')
        const content = join(folder, 'content')
        fillFolder(content, Math.floor(shape.kilobytes / 3), seed)
        const blockSize = Number(shape.options[shape.options.indexOf('-b') + 1])
        const clusters =
          ratio === undefined ? [] : ['-O', 'bigalloc,extent,^meta_bg', '-C', `${blockSize * ratio}`]
        const options = [...shape.options, ...clusters, '-d', content]
        if (!(await makeRandom(path, { ...shape, options }))) return
        made++
        writes(path, 'ext4')
        // Freed space with something in it, and what the kernel makes of groups that were never written.
        if (byKernel && haveLoopMounts())
          await withKernelMount(path, async root => {
            await runOk('sh', [
              '-c',
              `cd ${root} && rm -f f1 f2 d/f3 && for i in 1 2 3; do cp f5 new$i; done; rm -f new2`,
            ])
          })
        await expectExact(path)
      }),
      propertySettings(10),
    )
    expect(made).toBeGreaterThan(4)
  })

  test.each([
    ['ext2 with a superblock in each group', 24, '-t ext2 -b 1024 -O ^sparse_super,^resize_inode'],
    ['uninit_bg without metadata_csum', 200, '-t ext4 -b 1024 -O ^metadata_csum,uninit_bg'],
    ['without flex_bg', 200, '-t ext4 -b 2048 -g 4096 -O ^flex_bg'],
    ['meta_bg', 200, '-t ext4 -b 1024 -O meta_bg,^resize_inode'],
    ['meta_bg and many groups', 60, '-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode,64bit'],
    ['sparse_super2', 100, '-t ext4 -b 1024 -O sparse_super2,^resize_inode'],
    ['large room for descriptors', 200, '-t ext4 -b 1024 -E resize=4000000'],
    ['bigalloc of 64 KiB', 300, '-t ext4 -g 2048 -O bigalloc -C 65536'],
    ['bigalloc with 1 KiB blocks', 100, '-t ext4 -b 1024 -O bigalloc -C 16384'],
    ['bigalloc of 1 MiB, no flex_bg', 300, '-t ext4 -O bigalloc,^flex_bg -C 1048576'],
    ['64 KiB blocks', 300, '-t ext4 -b 65536 -g 1024'],
    ['a last group of a few blocks', 50, '-t ext4 -b 1024 IMAGE 16700'],
    ['no lazy initialisation', 60, '-t ext4 -b 1024 -E lazy_itable_init=0,lazy_journal_init=0'],
    ['quota, project, casefold, verity', 60, '-t ext4 -O quota,project,casefold,verity'],
    ['without a journal', 60, '-t ext4 -O ^has_journal'],
    ['smaller than its volume', 50, '-t ext4 IMAGE 30m'],
  ])('%s', async (_, megabytes, options) => {
    const folder = temporaryFolder()
    const path = writes(join(folder, 'image'), 'ext4')
    writeFileSync(path, '')
    truncateSync(path, megabytes << 20)
    fillFolder(join(folder, 'content'), 2000, 3)
    const args = (options.includes('IMAGE') ? options : `${options} IMAGE`)
      .split(' ')
      .map(word => (word === 'IMAGE' ? path : word))
    await runOk('mke2fs', ['-q', '-F', '-d', join(folder, 'content'), ...args])
    // mke2fs leaves quota out of what it copies.
    await run('e2fsck', ['-fy', path])
    await expectExact(path)
  })
})
