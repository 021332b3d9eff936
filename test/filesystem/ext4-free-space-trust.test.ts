import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { withExt4, writeAt } from '../../native-fixtures/ext4-images.ts'
import { copyImage, dirtyByKernel, openVolume } from '../../native-fixtures/ext4-journals.ts'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import { snapshot } from '../support/filesystem-snapshot.ts'
import { type FreeSpace, freeSpaceOf, readAt, scribble } from '../support/free-space.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  peersFolder,
  run,
  runOk,
  temporaryFolder,
} from '../support/native.ts'

checkWrittenImages()

const tools = haveTool('mke2fs') && haveTool('e2fsck') && haveTool('debugfs')

/** Of the images of e2fsprogs, all with DRYDISK_RUNS (some minutes), else each of so many. */
const STEP = process.env.DRYDISK_RUNS === undefined ? 15 : 1
/** Images that take more time than they are worth: large ones, and two with 50 000 names each. */
const MOST_BYTES = 64 << 20
const SLOW = /^f_h_(normal|unsigned)/
const peers = peersFolder()

/** A filesystem with a few files; mke2fs copies them in, so nothing but e2fsprogs has touched it. */
async function make(options: string, megabytes = 24): Promise<string> {
  const folder = temporaryFolder()
  const path = join(folder, 'image')
  mkdirSync(join(folder, 'content'))
  for (let index = 0; index < 8; index++)
    writeFileSync(join(folder, 'content', `f${index}`), Buffer.alloc(50_000 * index + 1, index + 1))
  writeFileSync(path, '')
  truncateSync(path, megabytes << 20)
  await runOk('mke2fs', [
    '-q',
    '-F',
    '-b',
    '1024',
    ...options.split(' '),
    '-d',
    join(folder, 'content'),
    path,
  ])
  return path
}

/** Requests of debugfs that change the image; it recomputes checksums. */
async function debugfs(path: string, ...requests: string[]): Promise<void> {
  for (const request of requests) {
    const { stderr } = await run('debugfs', ['-w', '-R', request, path])
    const complaint = stderr.split('\n').filter(line => line !== '' && !line.startsWith('debugfs 1.'))
    if (complaint.length > 0) throw new Error(`${request}: ${complaint.join('\n')}`)
  }
}

async function ranges(path: string): Promise<FreeSpace> {
  const free = await freeSpaceOf(path)
  if ('error' in free) throw new Error(free.message)
  return free
}

/** Where a group's bitmap and inode table are, by dumpe2fs's word. */
async function group(
  path: string,
  number: number,
): Promise<{ bitmap: number; table: number; first: number; last: number }> {
  const text = await runOk('dumpe2fs', [path])
  const part = text.slice(text.indexOf(`Group ${number}: `))
  const find = (pattern: RegExp): number => Number(pattern.exec(part)?.[1])
  return {
    bitmap: find(/Block bitmap at (\d+)/),
    table: find(/Inode table at (\d+)/),
    first: find(/Blocks (\d+)-/),
    last: find(/Blocks \d+-(\d+)/),
  }
}

describe.skipIf(!tools)('a filesystem whose accounting is in doubt is left whole', () => {
  test.each<[string, string, RegExp, string[]]>([
    ['errors are marked', '-t ext4', /marked as having errors/, ['ssv state 3']],
    [
      'it was not unmounted, and has no journal',
      '-t ext2',
      /no journal and was not cleanly unmounted/,
      ['ssv state 0'],
    ],
    ['it is not marked clean', '-t ext4', /not marked as cleanly unmounted/, ['ssv state 0']],
    ['the superblock counts otherwise', '-t ext4', /counts 7 free/, ['ssv free_blocks_count 7']],
    ['a descriptor is damaged', '-t ext4', /descriptor of group 1/, ['set_bg 1 checksum 1']],
    [
      'a descriptor is damaged, crc16',
      '-t ext4 -O ^metadata_csum,uninit_bg',
      /descriptor of group 1/,
      ['set_bg 1 checksum 1'],
    ],
    [
      'an inode table is free in its bitmap',
      '-t ext2',
      /has metadata of the filesystem free/,
      ['freeb 270', 'setb 8000'],
    ],
    [
      'a feature may change bitmaps',
      '-t ext4',
      /may change what its bitmaps mean: FEATURE_R20/,
      ['feature FEATURE_R20'],
    ],
    ['snapshots of Next3', '-t ext3', /has_snapshot/, ['feature FEATURE_R7']],
    ['it may be mounted elsewhere', '-t ext4 -O mmp', /has the filesystem mounted/, ['dump_mmp']],
  ])('%s', async (what, options, message, requests) => {
    const path = await make(options)
    if (what.startsWith('it may be mounted')) {
      const block = Number(/MMP block number: +(\d+)/.exec(await runOk('dumpe2fs', ['-h', path]))?.[1])
      writeAt(path, [block * 1024 + 4], Uint8Array.of(1, 0, 0, 0))
    } else {
      expect(await freeSpaceOf(path)).not.toHaveProperty('error')
      await debugfs(path, ...requests)
    }
    const free = await freeSpaceOf(path)
    expect(free).toMatchObject({ message: expect.stringMatching(message) })
  })
})

describe.skipIf(!tools)('damage of single bitmaps', () => {
  /** All free space but that of some groups. */
  async function without(path: string, before: FreeSpace, groups: readonly number[]): Promise<RangeSet> {
    const rest = new RangeSet()
    for (const { start, end } of before.ranges.ranges()) rest.add(start, end)
    for (const number of groups) {
      const { first, last } = await group(path, number)
      rest.delete(first * 1024, (last + 1) * 1024)
    }
    return rest
  }

  test.each([
    ['a wrong checksum', '-t ext4', /checksum is wrong/],
    ['a wrong count', '-t ext3', /has \d+ free, but the group descriptor says/],
  ])('%s: its group counts as in use', async (_, options, message) => {
    const path = await make(options)
    const before = await ranges(path)
    const { bitmap } = await group(path, 0)
    const expected = await without(path, before, [0])
    const [byte = 0] = readAt(path, bitmap * 1024 + 900, 1)
    writeAt(path, [bitmap * 1024 + 900], Uint8Array.of(byte ^ 1))
    const after = await ranges(path)
    expect(after.warnings).toEqual([expect.stringMatching(message)])
    expect([...after.ranges.ranges()]).toEqual([...expected.ranges()])
  })

  test('of many groups: the warnings stay few', async () => {
    const path = await make('-t ext4 -g 1024 -O ^metadata_csum,^uninit_bg')
    const before = await ranges(path)
    const text = await runOk('dumpe2fs', [path])
    // Where a bitmap was never written what is in its place says nothing.
    const written = [...text.matchAll(/^Group (\d+): (?!.*BLOCK_UNINIT)/gm)].map(([, number]) =>
      Number(number),
    )
    expect(written.length).toBeGreaterThan(8)
    const expected = await without(path, before, written)
    const places = await Promise.all(written.map(async number => (await group(path, number)).bitmap))
    for (const bitmap of places)
      writeAt(path, [bitmap * 1024 + 120], Uint8Array.of((readAt(path, bitmap * 1024 + 120, 1)[0] ?? 0) ^ 1))
    const after = await ranges(path)
    expect(after.warnings.length).toBe(9)
    expect(after.warnings[8]).toContain(`${written.length - 8} more groups`)
    expect([...after.ranges.ranges()]).toEqual([...expected.ranges()])
  })

  test('the journal free: nothing is believed', async () => {
    const path = await make('-t ext3')
    const blocks = (await runOk('debugfs', ['-R', 'blocks <8>', path])).trim().split(/\s+/).map(Number)
    const inside = blocks[100] ?? 0
    const number = Math.floor((inside - 1) / 8192)
    const free = [...(await ranges(path)).ranges.ranges()].find(({ start }) => start / 1024 > number * 8192)
    await debugfs(path, `freeb ${inside}`, `setb ${(free?.start ?? 0) / 1024}`)
    expect(await freeSpaceOf(path)).toMatchObject({ message: expect.stringMatching(/has the journal free/) })
  })
})

describe.skipIf(!tools || !haveLoopMounts())('a journal that is still to be replayed', () => {
  // What was there before is at home; what is deleted, replaced and new, only the journal knows: fsync commits, and leaves
  // writing home for later.
  const script = `
    mkdir -p boot; for i in $(seq 1 100); do head -c $((i * 700)) /dev/urandom > f$i; done
    head -c 300000 /dev/urandom > boot/grub.cfg; head -c 3000000 /dev/urandom > boot/vmlinuz.old; sync -f .
    rm -f f1? f2?; rm boot/vmlinuz.old
    head -c 310000 /dev/urandom > boot/grub.cfg.new; mv boot/grub.cfg.new boot/grub.cfg
    mkdir new; for i in 1 2 3; do head -c 200000 /dev/urandom > new/x$i; done; sync new/x3
    rm new/x2 f30; sync new/x1`

  const tree = (path: string) => withExt4(path, false, fs => snapshot(fs, { times: true }))
  /** As GRUB reads it: the journal is not looked at. */
  async function atHome(path: string): Promise<unknown> {
    const volume = await openVolume(path, false)
    try {
      return await snapshot(new Ext4FileSystem(volume, []), { times: true })
    } finally {
      await volume.device.close()
    }
  }

  test.each([
    ['ext4', '-t ext4', ''],
    ['without checksums', '-t ext4 -O ^metadata_csum,^64bit', ''],
    ['ext3', '-t ext3', ''],
    ['data journalled', '-t ext4', ',data=journal'],
  ])('%s: replayed afterwards, it is as if nothing had been dropped', async (_, options, mount) => {
    const folder = temporaryFolder()
    const [dirty, dropped] = [join(folder, 'dirty.img'), join(folder, 'dropped.img')]
    dirtyByKernel(await make(options, 48), dirty, script, mount)
    expect(await runOk('dumpe2fs', ['-h', dirty])).toContain('needs_recovery')
    const free = await ranges(dirty)
    expect(free.warnings).toEqual([])
    expect(free.ranges.total).toBeGreaterThan(10 << 20)
    const [home, replayed] = [await atHome(dirty), await tree(dirty)]
    await copyImage(dirty, dropped)
    scribble(dropped, free.ranges)
    expect(await atHome(dropped)).toEqual(home)
    expect(await tree(dropped)).toEqual(replayed)
    await run('e2fsck', ['-y', '-E', 'journal_only', dropped])
    await runOk('e2fsck', ['-fn', dropped])
    expect(await tree(dropped)).toEqual(replayed)
  })

  test.skipIf(!haveTool('python3'))('fast commits to apply: it is left whole', async () => {
    const folder = temporaryFolder()
    const dirty = join(folder, 'dirty.img')
    const fsync = `python3 -c "import os; os.fsync(os.open('old', os.O_RDWR))"`
    const script = `echo x > old; sync -f .; echo more >> old; ${fsync}`
    let answer: object = {}
    // On a busy machine the kernel may make a full commit of it.
    for (let attempt = 0; attempt < 5 && !('error' in answer); attempt++) {
      dirtyByKernel(await make('-t ext4 -O fast_commit -J size=4'), dirty, script)
      answer = await freeSpaceOf(dirty)
    }
    expect(answer).toMatchObject({ message: expect.stringMatching(/fast commits to apply/) })
  })
})

describe.skipIf(!tools)('orphans', () => {
  test('an unlinked file that was open keeps its blocks, for the clean-up at the next mount', async () => {
    const path = await make('-t ext4 -O ^orphan_file')
    const ino = Number(/Inode: (\d+)/.exec(await runOk('debugfs', ['-R', 'stat /f7', path]))?.[1])
    await debugfs(path, 'unlink /f7', `sif <${ino}> links_count 0`, `ssv last_orphan ${ino}`)
    const blocks = (await runOk('debugfs', ['-R', `blocks <${ino}>`, path])).trim().split(/\s+/).map(Number)
    const free = await ranges(path)
    expect(blocks.length).toBeGreaterThan(300)
    for (const block of blocks) expect(free.ranges.has(block * 1024)).toBe(false)
    scribble(path, free.ranges)
    await run('e2fsck', ['-p', path])
    await runOk('e2fsck', ['-fn', path])
  })
})

describe.skipIf(peers === undefined || !tools)('damaged images of e2fsprogs', () => {
  /** The tree, or the error that reading it ends with. */
  async function reading(path: string): Promise<unknown> {
    try {
      return await withExt4(path, false, fs => snapshot(fs, { times: true }))
    } catch (error) {
      return String(error)
    }
  }

  test('what is free is not missed, or drydisk says why it cannot tell', async () => {
    const folder = temporaryFolder()
    await runOk('tar', ['-xJf', join(peers ?? '', 'e2fsprogs.tar.xz'), '-C', folder])
    const images = readdirSync(folder).filter(name => name.endsWith('.img'))
    let told = 0
    for (const [index, name] of images.sort().entries()) {
      const original = join(folder, name)
      if (index % STEP !== 0 || SLOW.test(name) || statSync(original).size > MOST_BYTES) continue
      const free = await freeSpaceOf(original)
      if ('error' in free) {
        expect(free.message).not.toBe('')
        continue
      }
      told++
      const path = join(folder, 'dropped')
      await copyImage(original, path)
      scribble(path, free.ranges)
      expect(await reading(path), name).toEqual(await reading(original))
      const { status } = await run('e2fsck', ['-fn', original])
      if (status === 0) await runOk('e2fsck', ['-fn', path])
    }
    expect(told).toBeGreaterThan(4)
  }, 900_000)
})
