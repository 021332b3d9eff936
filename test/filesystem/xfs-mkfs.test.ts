import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withXfs, withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isXfsLogDirty } from '../../src/filesystem/xfs/log-state.ts'
import { type MakeXfsOptions, makeXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
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

const MIB = 2 ** 20
const UUID = '01234567-89ab-4cde-8f01-23456789abcd'

async function make(size: number, options: MakeXfsOptions = {}): Promise<string> {
  const path = join(temporaryFolder(), 'image')
  const storage = await FileStorage.open(path, 'create')
  await storage.truncate(size)
  const device = new StorageDevice(storage)
  try {
    await makeXfs(device, { uuid: UUID, label: 'same', ...options })
    expect(await isXfsLogDirty(device)).toBe(false)
  } finally {
    await device.close()
  }
  return path
}

/** mkfs.xfs with the same options; `undefined` when it refuses them. Small filesystems it makes for its own tests alone. */
async function native(size: number, options: MakeXfsOptions): Promise<string | undefined> {
  const path = join(temporaryFolder(), 'image')
  await runOk('truncate', ['-s', String(size), path])
  const {
    blockSize = 4096,
    sectorSize = 512,
    inodeSize = 512,
    directoryBlockSize,
    agCount,
    features = [],
  } = options
  const has = (name: string, byDefault: number) =>
    features.includes(name) ? 1 : features.includes(`^${name}`) ? 0 : byDefault
  const metadata = [
    `uuid=${UUID}`,
    ...['finobt', 'reflink', 'bigtime'].map(name => `${name}=${has(name, 1)}`),
    `inobtcount=${has('inobtcount', has('finobt', 1))}`,
    `rmapbt=${has('rmapbt', 0)}`,
  ]
  const { status } = await run('env', [
    'TEST_DIR=1',
    'TEST_DEV=1',
    'QA_CHECK_FS=1',
    'mkfs.xfs',
    ...['-q', '-L', 'same', '-b', `size=${blockSize}`, '-s', `size=${sectorSize}`, '-m', metadata.join(',')],
    ...['-i', `size=${inodeSize},sparse=${has('sparse', 1)},nrext64=${has('nrext64', 0)}`],
    ...(directoryBlockSize === undefined ? [] : ['-n', `size=${directoryBlockSize}`]),
    ...(agCount === undefined ? [] : ['-d', `agcount=${agCount}`]),
    path,
  ])
  return status === 0 ? path : undefined
}

async function superblock(image: string): Promise<Map<string, string>> {
  const text = await runOk('xfs_db', ['-r', '-c', 'sb 0', '-c', 'p', image])
  return new Map([...text.matchAll(/^(\w+) = (.*)$/gm)].map(([, name = '', value = '']) => [name, value]))
}

/** Everything that xfs_db knows of a new filesystem, but for times and what depends on them. */
async function dump(image: string, shape: MakeXfsOptions): Promise<string[]> {
  const sb = await superblock(image)
  const agCount = Number(sb.get('agcount'))
  const rootino = Number(sb.get('rootino'))
  const features = shape.features ?? []
  const agfTrees = [
    ...['bnoroot', 'cntroot'],
    ...(features.includes('rmapbt') ? ['rmaproot'] : []),
    ...(features.includes('^reflink') ? [] : ['refcntroot']),
  ]
  const agiTrees = ['root', ...(features.includes('^finobt') ? [] : ['free_root'])]
  const commands = ['sb 0', 'p']
  for (let agno = 0; agno < Math.min(agCount, 6); agno++) {
    for (const header of ['agf', 'agi', 'agfl']) commands.push(`${header} ${agno}`, 'p')
    for (const tree of agfTrees) commands.push(`agf ${agno}`, `addr ${tree}`, 'p')
    for (const tree of agiTrees) commands.push(`agi ${agno}`, `addr ${tree}`, 'p')
  }
  for (const inode of [0, 1, 2, 3, 63]) commands.push(`inode ${rootino + inode}`, 'p')
  const text = await runOk('xfs_db', ['-r', ...commands.flatMap(command => ['-c', command]), image])
  return text.split('\n').filter(line => !/time\.|change_count|^v3\.crc/.test(line))
}

/** With one group xfs_repair has nothing to compare the superblock with, and wants to be told. */
async function repair(image: string): Promise<void> {
  await runOk('xfs_repair', ['-n', '-f', '-o', 'force_geometry', image])
}

const SAME: readonly [string, number, MakeXfsOptions][] = [
  ['300 MiB', 300 * MIB, {}],
  ['1 GiB, all features', 1024 * MIB, { features: ['rmapbt', 'nrext64'] }],
  ['as RHEL 8 mounts it', 700 * MIB, { features: ['^bigtime', '^inobtcount'] }],
  ['without what came later', 513 * MIB, { features: ['^finobt', '^reflink', '^bigtime', '^sparse'] }],
  ['sectors of 4 KiB', 512 * MIB, { sectorSize: 4096, features: ['rmapbt'] }],
  ['blocks of 1 KiB, a last group that is shorter', 512 * MIB + 1024, { blockSize: 1024 }],
  ['blocks of 64 KiB, two chunks at once', 900 * MIB, { blockSize: 65536, inodeSize: 512 }],
  ['inodes of 2 KiB, directories of 64 KiB', 300 * MIB, { inodeSize: 2048, directoryBlockSize: 65536 }],
  ['a last group that is too short', 20 * 1024 * MIB + 12288, { agCount: 7 }],
  ['one group', 20 * MIB, { small: true, features: ['rmapbt', '^reflink'] }],
  ['two groups', 40 * MIB, { small: true }],
  ['2 TiB, a log of 1 GiB', 2 ** 41, {}],
  ['5 TiB, groups of 1 TiB', 5 * 2 ** 40 + 7 * MIB, {}],
]

describe.skipIf(!haveTool('mkfs.xfs'))('makes what mkfs.xfs makes', () => {
  test.each(SAME)('%s', async (_, size, options) => {
    const ours = await make(size, options)
    const theirs = await native(size, options)
    if (theirs === undefined) throw new Error('mkfs.xfs refused')
    expect(await dump(ours, options)).toEqual(await dump(theirs, options))
    await repair(ours)
  })

  const choice = (features: readonly string[]) =>
    fc.tuple(...features.map(name => fc.constantFrom(name, `^${name}`)))
  const shapes = fc
    .record({
      blockSize: fc.constantFrom(1024, 2048, 4096, 4096, 8192, 16384, 32768, 65536),
      sectorSize: fc.constantFrom(512, 512, 1024, 4096),
      inodeSize: fc.constantFrom(512, 512, 1024, 2048),
      directoryBlockSize: fc.constantFrom(4096, 16384, 65536),
      agCount: fc.constantFrom(undefined, undefined, 1, 2, 3, 4),
      features: choice(['finobt', 'rmapbt', 'reflink', 'bigtime', 'sparse', 'nrext64']),
      counts: fc.boolean(),
      kib: fc
        .tuple(fc.constantFrom(20, 33, 47, 100, 300, 513, 3000, 20000, 3_000_000), fc.nat({ max: 999 }))
        .map(([mib, more]) => mib * 1024 + more),
    })
    .filter(
      ({ blockSize, sectorSize, inodeSize, directoryBlockSize }) =>
        sectorSize <= blockSize && inodeSize <= blockSize / 2 && directoryBlockSize >= blockSize,
    )

  test('whatever the options', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async ({ kib, agCount, counts, features, ...rest }) => {
        const withCounts = counts && features.includes('finobt')
        const options: MakeXfsOptions = {
          ...rest,
          small: true,
          features: [...features, withCounts ? 'inobtcount' : '^inobtcount'],
          ...(agCount === undefined ? {} : { agCount }),
        }
        const theirs = await native(kib * 1024, options)
        if (theirs === undefined) {
          await expect(make(kib * 1024, options)).rejects.toMatchObject({ name: 'DrydiskError' })
          return
        }
        const ours = await make(kib * 1024, options)
        await repair(ours)
        const sb = await superblock(ours)
        // A log that takes the whole group leaves mkfs.xfs no room for the free list, and ours one block.
        const crowded = Number(sb.get('agblocks')) - Number(sb.get('logblocks')) < 64
        if (!crowded) expect(await dump(ours, options)).toEqual(await dump(theirs, options))
      }),
      propertySettings(12),
    )
  })
})

describe.skipIf(!haveLoopMounts() || !haveTool('xfs_repair'))('the kernel works with it', () => {
  const shapes: readonly [string, number, MakeXfsOptions][] = [
    ['as it comes', 300, {}],
    ['all features', 400, { features: ['rmapbt', 'nrext64'], inodeSize: 1024 }],
    ['least features', 300, { features: ['^finobt', '^reflink', '^bigtime', '^sparse'], blockSize: 1024 }],
    ['sectors of 4 KiB, 17 groups', 1300, { sectorSize: 4096, agCount: 17, features: ['rmapbt'] }],
    ['the smallest there is', 16, { small: true }],
    ['a log that fills its group', 300, { small: true, agCount: 7, features: ['rmapbt'] }],
  ]
  test.each(shapes)('%s', async (_, megabytes, options) => {
    const image = await make(megabytes * MIB, options)
    const { free, own } = await withXfs(image, async fs => {
      const { freeBlocks, blockSize } = await fs.statfs()
      let free = 0
      for await (const { length } of fs.freeRanges()) free += length
      expect(fs.warnings).toEqual([])
      return { free, own: freeBlocks * blockSize }
    })
    expect(free).toBeGreaterThanOrEqual(own)
    await withXfsMount(image, 'ro', async folder => {
      const [counted = 0, size = 0] = (await runOk('stat', ['-f', '-c', '%f %S', folder]))
        .split(' ')
        .map(Number)
      expect(counted * size).toBe(own)
    })
    await withXfsMount(image, 'noatime', async folder => {
      for (let index = 0; index < 300; index++)
        writeFileSync(join(folder, `file ${index}`), `${index}`.repeat(100))
      await runOk('mkdir', ['-p', join(folder, 'a/b/c')])
      await runOk('dd', ['if=/dev/zero', `of=${join(folder, 'a/data')}`, 'bs=64k', 'count=16', 'status=none'])
    })
    await repair(image)
    await withXfs(image, async fs => {
      const entries: string[] = []
      for await (const { name } of fs.readdir(fs.root)) entries.push(new TextDecoder().decode(name))
      expect(entries.filter(name => name.startsWith('file '))).toHaveLength(300)
    })
  })
})

describe('a new XFS filesystem', () => {
  test('is the same on a device that was full before', async () => {
    const options: MakeXfsOptions = { uuid: UUID, small: true, now: () => 10n ** 18n }
    const clean = new MemoryDevice(20 * MIB)
    const used = new MemoryDevice(20 * MIB)
    await used.write(0, new Uint8Array(20 * MIB).fill(0xa5))
    const [a, b] = [new Uint8Array(20 * MIB), new Uint8Array(20 * MIB)]
    await makeXfs(clean, options)
    await makeXfs(used, options)
    await clean.read(0, a)
    await used.read(0, b)
    expect(Buffer.compare(a, b)).toBe(0)
  })

  test('has the label, the UUID and nothing else', async () => {
    const image = writes(await make(300 * MIB, { label: 'Ein Name' }), 'xfs')
    await withXfs(image, async fs => {
      expect([fs.label, fs.uuid]).toEqual(['Ein Name', UUID])
      const entries: string[] = []
      for await (const { name } of fs.readdir(fs.root)) entries.push(new TextDecoder().decode(name))
      expect(entries.filter(name => name !== '.' && name !== '..')).toEqual([])
      expect((await fs.stat(fs.root)).mode & 0o7777).toBe(0o755)
    })
  })

  const refused: readonly [string, number, MakeXfsOptions, string, RegExp][] = [
    ['a small volume', 299, {}, 'ENOSPC', /300 MiB/],
    ['a tiny volume', 10, { small: true }, 'ENOSPC', /too small/],
    ['one group', 300, { agCount: 1 }, 'ERR_INVALID_ARGUMENT', /second superblock/],
    ['a small log', 300, { logBlocks: 4096 }, 'ERR_INVALID_ARGUMENT', /64 MiB is the least/],
    ['a log that is too small', 300, { small: true, logBlocks: 600 }, 'ERR_INVALID_ARGUMENT', /a log of 600/],
    ['too many groups', 300, { agCount: 40 }, 'ERR_INVALID_ARGUMENT', /40 allocation groups/],
    ['a long label', 300, { label: 'thirteen byte' }, 'ERR_INVALID_ARGUMENT', /13 bytes/],
    ['no UUID', 300, { uuid: 'x' }, 'ERR_INVALID_ARGUMENT', /no UUID/],
    ['small blocks', 300, { blockSize: 512 }, 'ERR_INVALID_ARGUMENT', /block size 512/],
    [
      'sectors larger than blocks',
      300,
      { blockSize: 1024, sectorSize: 4096 },
      'ERR_INVALID_ARGUMENT',
      /sector size/,
    ],
    ['small inodes', 300, { inodeSize: 256 }, 'ERR_INVALID_ARGUMENT', /inode size 256/],
    ['small directories', 300, { directoryBlockSize: 2048 }, 'ERR_INVALID_ARGUMENT', /directory block size/],
    ['version 4', 300, { features: ['^crc'] }, 'ERR_UNSUPPORTED', /version 5 only/],
    ['an unknown feature', 300, { features: ['metadir'] }, 'ERR_UNSUPPORTED', /"metadir"/],
    [
      'a feature without another',
      300,
      { features: ['^finobt', 'inobtcount'] },
      'ERR_INVALID_ARGUMENT',
      /needs finobt/,
    ],
  ]
  test.each(refused)('is refused: %s', async (_, megabytes, options, code, message) => {
    const device = new MemoryDevice(megabytes * MIB)
    const before = new Uint8Array(4096).fill(1)
    await device.write(0, before)
    await expect(makeXfs(device, options)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
    const after = new Uint8Array(4096)
    await device.read(0, after)
    expect(after).toEqual(before)
  })
})
