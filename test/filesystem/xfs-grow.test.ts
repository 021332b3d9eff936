import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeXfs, withXfs, withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { type GrownXfs, type GrowXfsOptions, growXfs } from '../../src/filesystem/xfs/grow.ts'
import { makeXfs as makeOwnXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
import { haveLoopMounts, haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 2 ** 20

async function resize(image: string, size: number): Promise<void> {
  await runOk('truncate', ['-s', String(size), image])
}

async function grow(image: string, options: GrowXfsOptions = {}): Promise<GrownXfs> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  try {
    return await growXfs(device, options)
  } finally {
    await device.close()
  }
}

async function repair(image: string): Promise<void> {
  await runOk('xfs_repair', ['-n', '-f', '-o', 'force_geometry', image])
}

async function copyOf(image: string): Promise<string> {
  const copy = join(temporaryFolder(), 'copy')
  await runOk('cp', ['--sparse=always', image, copy])
  return copy
}

async function show(image: string, ...commands: string[]): Promise<Map<string, string>> {
  const text = await runOk('xfs_db', ['-r', ...commands.flatMap(command => ['-c', command]), image])
  return new Map([...text.matchAll(/^(\w+) = (.*)$/gm)].map(([, name = '', value = '']) => [name, value]))
}

/** Of every allocation group, its copy of the superblock and what it counts; the free list may be filled another way. */
async function headers(image: string, agCount: number) {
  const commands = Array.from({ length: agCount }, (_, agno) => [
    ...[`sb ${agno}`, 'p dblocks agcount inprogress', `agf ${agno}`, 'p length freeblks flcount'],
    ...[`agi ${agno}`, 'p length count freecount'],
  ]).flat()
  const text = await runOk('xfs_db', ['-r', ...commands.flatMap(command => ['-c', command]), image])
  const values = [...text.matchAll(/^\w+ = (\w+)$/gm)].map(([, value = '']) => value)
  expect(values).toHaveLength(agCount * 9)
  return Array.from({ length: agCount }, (_, agno) => {
    const [dblocks, agcount, inprogress, length, freeblks, flcount, ...inodes] = values.slice(
      agno * 9,
      agno * 9 + 9,
    )
    return { dblocks, agcount, inprogress, length, free: Number(freeblks) + Number(flcount), inodes }
  })
}

/** All that a new allocation group begins with, but for where in the log it was last written. */
async function newGroup(image: string, agno: number, features: string): Promise<string[]> {
  const commands = [`agf ${agno}`, 'p', `agi ${agno}`, 'p', `agfl ${agno}`, 'p']
  for (const tree of [
    'bnoroot',
    'cntroot',
    ...(features.includes('rmapbt=1') ? ['rmaproot'] : []),
    'refcntroot',
  ])
    commands.push(`agf ${agno}`, `addr ${tree}`, 'p')
  for (const tree of ['root', 'free_root']) commands.push(`agi ${agno}`, `addr ${tree}`, 'p')
  const text = await runOk('xfs_db', ['-r', ...commands.flatMap(command => ['-c', command]), image])
  return text.split('\n').filter(line => !/^(lsn|crc) = /.test(line))
}

const SHAPES: readonly [string, readonly string[], number, number][] = [
  ['within the last group', ['-d', 'agsize=100m'], 350, 390],
  ['to the end of the last group', ['-d', 'agsize=100m'], 350, 400],
  ['by several groups, the last of them short', ['-m', 'rmapbt=1', '-d', 'agsize=100m'], 350, 717],
  ['by a rest that is too short', ['-b', 'size=1024', '-m', 'rmapbt=1'], 300, 300.03],
  ['by the shortest group', ['-d', 'agcount=4'], 320, 320.25],
  ['with sectors of 4 KiB', ['-s', 'size=4096', '-m', 'rmapbt=1'], 300, 801],
  ['to twenty times the size', ['-b', 'size=1024', '-i', 'nrext64=1'], 300, 6000],
]

describe.skipIf(!haveLoopMounts() || !haveTool('mkfs.xfs'))('grows as xfs_growfs does', () => {
  test.each(SHAPES)('%s', async (_, args, before, after) => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, before, args)
    await withXfsMount(image, 'noatime', async folder => {
      for (let index = 0; index < 50; index++)
        writeFileSync(join(folder, `${index}`), `${index}`.repeat(5000))
      for (let index = 0; index < 50; index += 3) await runOk('rm', [join(folder, `${index}`)])
    })
    const theirs = await copyOf(image)
    for (const path of [image, theirs]) await resize(path, Math.round(after * MIB))
    const grown = await grow(image)
    await withXfsMount(theirs, 'noatime', folder => runOk('xfs_growfs', [folder]))
    await repair(image)

    const [own, sb] = [await show(image, 'sb 0', 'p'), await show(theirs, 'sb 0', 'p')]
    for (const field of [
      'dblocks',
      'agcount',
      'agblocks',
      'fdblocks',
      'icount',
      'ifree',
      'imax_pct',
      'inprogress',
    ])
      expect([field, own.get(field)]).toEqual([field, sb.get(field)])
    const agCount = Number(sb.get('agcount'))
    expect(grown.agCount).toBe(agCount)
    expect(grown.after).toBe(Number(sb.get('dblocks')) * Number(sb.get('blocksize')))
    expect(grown.before).toBe(before * MIB)
    const [groups, theirGroups] = [await headers(image, agCount), await headers(theirs, agCount)]
    // Linux writes the copies of the superblock even when nothing grows.
    if (grown.after === grown.before) for (const group of [...groups, ...theirGroups]) group.inprogress = ''
    expect(groups).toEqual(theirGroups)
    if (grown.after > grown.before)
      for (const { dblocks, agcount, inprogress } of groups)
        expect([dblocks, agcount, inprogress]).toEqual([sb.get('dblocks'), sb.get('agcount'), '0'])
    const first = Math.ceil((before * MIB) / grown.agSize)
    for (const agno of new Set([first, agCount - 1].filter(each => each >= first && each < agCount)))
      expect(await newGroup(image, agno, args.join())).toEqual(await newGroup(theirs, agno, args.join()))
    await withXfsMount(image, 'noatime', async folder => {
      const blocks = Number(await runOk('stat', ['-f', '-c', '%b', folder]))
      expect(blocks).toBe(Number(sb.get('dblocks')) - Number(sb.get('logblocks')))
      await runOk('cmp', [join(folder, '1'), '-'], '1'.repeat(5000))
      await runOk('fallocate', [
        '-l',
        String(Math.max(MIB, grown.after - grown.before)),
        join(folder, 'more'),
      ])
    })
    await repair(image)
  })
})

describe.skipIf(!haveTool('mkfs.xfs'))('an XFS filesystem that grows', () => {
  test('may be full', async () => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, 300, ['-m', 'rmapbt=1', '-d', 'agsize=80m'])
    if (!haveLoopMounts()) return
    await withXfsMount(image, 'noatime', async folder => {
      await run('dd', ['if=/dev/zero', `of=${join(folder, 'all')}`, 'bs=64k', 'status=none'])
      for (let index = 0; index < 200; index++)
        await run('fallocate', ['-l', '4096', join(folder, `block-${index}`)])
    })
    await resize(image, 333 * MIB)
    await grow(image)
    await repair(image)
    await resize(image, 900 * MIB)
    await grow(image)
    await repair(image)
    await withXfsMount(image, 'noatime', folder => runOk('fallocate', ['-l', '400M', join(folder, 'more')]))
    await repair(image)
  })

  test('may have a log that is dirty', async () => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, 300, [])
    if (!haveLoopMounts() || !haveTool('xfs_io')) return
    await withXfsMount(image, 'noatime', async folder => {
      for (let index = 0; index < 40; index++) writeFileSync(join(folder, `file-${index}`), 'text')
      await runOk('sync', ['-f', folder])
      writeFileSync(join(folder, 'last'), 'text')
      await runOk('xfs_io', ['-x', '-c', 'shutdown -f', folder])
    })
    await resize(image, 500 * MIB)
    expect(await grow(image)).toMatchObject({ before: 300 * MIB, after: 500 * MIB })
    await repair(image)
    await withXfs(image, async fs => {
      let files = 0
      for await (const { type } of fs.readdir(fs.root)) if (type === 'file') files++
      expect(files).toBe(41)
    })
  })

  test('may be of version 4', async () => {
    for (const args of [
      ['-m', 'crc=0'],
      ['-m', 'crc=0', '-l', 'lazy-count=0', '-n', 'ftype=0', '-i', 'attr=1'],
      ['-m', 'crc=0', '-b', 'size=512', '-l', 'version=1'],
    ]) {
      const image = join(temporaryFolder(), 'image')
      await makeXfs(image, 300, [...args, '-d', 'agsize=80m'])
      for (const megabytes of [310, 350, 700]) {
        await resize(image, megabytes * MIB + 5000)
        await grow(image)
        await repair(image)
      }
    }
  })

  test('has another UUID than its metadata', async () => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, 300, [])
    await runOk('xfs_admin', ['-U', 'generate', image])
    await resize(image, 401 * MIB)
    await grow(image)
    await repair(image)
  })

  test('again and again, whatever its shape', async () => {
    const shapes = fc.record({
      block: fc.constantFrom(1024, 4096, 4096, 16384, 65536),
      features: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
      agCount: fc.constantFrom(2, 4, 4, 7),
      steps: fc.array(fc.integer({ min: 0, max: 150_000 }), { minLength: 1, maxLength: 4 }),
    })
    await fc.assert(
      fc.asyncProperty(shapes, async ({ block, features, agCount, steps }) => {
        const image = join(temporaryFolder(), 'image')
        const [rmapbt, reflink, finobt, sparse] = features
        const names = Object.entries({ rmapbt, reflink, finobt, sparse })
        const storage = await FileStorage.open(image, 'create')
        let kib = 300 * 1024 + (steps[0] ?? 0)
        await storage.truncate(kib * 1024)
        const device = new StorageDevice(storage)
        const made = await makeOwnXfs(device, {
          blockSize: block,
          small: true,
          agCount,
          features: names.map(([name, on]) => (on ? name : `^${name}`)),
        }).catch((error: unknown) => {
          // With large blocks and many trees, the least log does not fit into a group.
          expect(error).toMatchObject({ code: 'ENOSPC' })
          return 'too small'
        })
        await device.close()
        fc.pre(made === undefined)
        for (const step of steps) {
          kib += step
          await resize(image, kib * 1024)
          const { after } = await grow(image)
          expect(kib * 1024 - after).toBeLessThan(64 * block)
          await repair(image)
        }
      }),
      propertySettings(8),
    )
  })

  test('to 12 TiB, which costs little', async () => {
    const image = join(temporaryFolder(), 'image')
    await resize(image, 2 ** 40)
    await runOk('mkfs.xfs', ['-q', image])
    await resize(image, 12 * 2 ** 40)
    expect(await grow(image)).toMatchObject({ after: 12 * 2 ** 40, agCount: 48 })
    await repair(image)
  })

  test('does not when there is nothing to gain, and says so', async () => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, 300, [])
    const before = await copyOf(image)
    expect(await grow(image)).toMatchObject({ before: 300 * MIB, after: 300 * MIB })
    await runOk('cmp', ['-n', '8M', image, before])
    await resize(image, 400 * MIB)
    expect(await grow(image, { size: 350 * MIB })).toMatchObject({ after: 350 * MIB })
    await repair(image)
    await expect(grow(image, { size: 340 * MIB })).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    await expect(grow(image, { size: 401 * MIB })).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  })

  test('is refused, unchanged, where something is wrong', async () => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, 300, ['-d', 'agsize=100m'])
    await resize(image, 450 * MIB)
    const device = new StorageDevice(await FileStorage.open(image, 'read'))
    await expect(growXfs(device)).rejects.toMatchObject({ code: 'EROFS' })
    await device.close()

    const damaged: readonly [string, readonly string[], RegExp][] = [
      ['the AGF of the last group', ['agf 2', 'write -d length 1000'], /AGF/],
      ['the AGI of the last group', ['agi 2', 'write -c length 1000'], /AGI/],
      ['needs repair', ['sb 0', 'write -d features_incompat 0x1b'], /needing repair/],
      ['a feature that nobody knows', ['sb 0', 'write -d features_ro_compat 0x10f'], /ro_compat 0x100/],
    ]
    for (const [what, commands, message] of damaged) {
      const copy = await copyOf(image)
      await runOk('xfs_db', ['-x', ...commands.flatMap(command => ['-c', command]), copy])
      // A write would be another error.
      const unwritten = new StorageDevice(await FileStorage.open(copy, 'read'))
      Object.defineProperty(unwritten, 'writable', { value: true })
      await expect(growXfs(unwritten), what).rejects.toMatchObject({
        message: expect.stringMatching(message),
      })
      await unwritten.close()
    }
    const short = await copyOf(image)
    const groups = ['dblocks 256', 'agblocks 64', 'agblklog 6', 'agcount 4']
    await runOk('xfs_db', [
      '-x',
      '-c',
      'sb 0',
      ...groups.flatMap(field => ['-c', `write -d ${field}`]),
      short,
    ])
    await expect(grow(short)).rejects.toMatchObject({ message: expect.stringMatching(/16 MiB, at least/) })
    const tiny = new MemoryDevice(MIB)
    await expect(growXfs(tiny)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  })
})
