import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { writeAt } from '../../native-fixtures/ext4-images.ts'
import { copyImage } from '../../native-fixtures/ext4-journals.ts'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { DroppableRanges } from '../../src/copy/droppable-ranges.ts'
import { type DiskFreeSpace, type FreeRangesOptions, freeRanges } from '../../src/copy/free-ranges.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { SliceDevice } from '../../src/device/slice-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { freeByDumpe2fs, readAt, scribble } from '../support/free-space.ts'
import { checkWrittenImages, haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'

checkWrittenImages()

const MIB = 1 << 20
const tools =
  haveTool('sfdisk') && haveTool('sgdisk') && haveTool('mkswap') && haveTool('mke2fs') && haveTool('blkid')

function emptyDisk(megabytes: number, junk = false): string {
  const path = join(temporaryFolder(), 'disk.raw')
  writeFileSync(path, junk ? Buffer.alloc(MIB, 0x5b) : '')
  truncateSync(path, megabytes * MIB)
  return path
}

async function free(path: string, options?: FreeRangesOptions): Promise<DiskFreeSpace> {
  const device = new StorageDevice(await FileStorage.open(path, 'read'))
  try {
    return await freeRanges(device, options)
  } finally {
    await device.close()
  }
}

/** The disk once all that is free holds junk. */
async function dropped(path: string): Promise<string> {
  const copy = `${path}.dropped`
  await copyImage(path, copy)
  scribble(copy, (await free(path)).ranges)
  return copy
}

const megabytes = (ranges: RangeSet): number[][] =>
  [...ranges.ranges()].map(({ start, end }) => [start / MIB, end / MIB])

/** Puts swap at an offset of the disk. */
async function swapAt(path: string, offset: number, length: number, ...options: string[]): Promise<void> {
  const part = `${path}.swap`
  writeFileSync(part, '')
  truncateSync(part, length)
  await runOk('mkswap', [...options, part])
  writeAt(path, [offset], readAt(part, 0, 65_536))
}

describe.skipIf(!tools)('what nobody wants on a disk', () => {
  test('GPT: an ext4 partition, swap, unknown content and gaps', async () => {
    const path = emptyDisk(200)
    await runOk('sgdisk', [
      ...['-n', '1:10M:+60M', '-t', '1:8300', '-n', '2:80M:+20M', '-t', '2:8200'],
      ...['-n', '14:2M:+2M', '-t', '14:ef02', '-n', '15:100M:+10M', '-t', '15:ef00', path],
    ])
    await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', `offset=${10 * MIB}`, path, '50m'])
    await swapAt(path, 80 * MIB, 20 * MIB, '-L', 'label', '-U', '11111111-2222-3333-4444-555555555555')
    const found = await free(path)
    const theirs = await freeByDumpe2fs(`${path}?offset=${10 * MIB}`)
    expect(found.warnings).toEqual([])
    expect(found.volumes).toEqual([
      { name: '/dev/sda1', type: 'ext4', dropped: theirs.total },
      { name: '/dev/sda2', type: 'swap', dropped: 20 * MIB - 4096 },
      { name: '/dev/sda14', type: '', dropped: 0, reason: expect.stringContaining('no filesystem') },
      { name: '/dev/sda15', type: '', dropped: 0, reason: expect.stringContaining('no filesystem') },
    ])
    // Up to the first partition, in use; 4-10, 70-80 and from 110 to what is kept at the end, free. The filesystem is shorter
    // than its partition: 60-70 is not its own.
    expect([...found.ranges.ranges(0, 10 * MIB)]).toEqual([{ start: 4 * MIB, end: 10 * MIB }])
    expect([...found.ranges.ranges(60 * MIB, 80 * MIB)]).toEqual([{ start: 70 * MIB, end: 80 * MIB }])
    expect([...found.ranges.ranges(100 * MIB, 200 * MIB)]).toEqual([{ start: 110 * MIB, end: 199 * MIB }])
    expect(found.gaps).toBe((6 + 10 + 89) * MIB)
    expect(found.ranges.total).toBe(found.gaps + theirs.total + 20 * MIB - 4096)

    const copy = await dropped(path)
    expect(await runOk('sgdisk', ['-v', copy])).toContain('No problems found')
    expect(await runOk('sfdisk', ['-d', copy])).toBe(
      (await runOk('sfdisk', ['-d', path])).replaceAll(path, copy),
    )
    await runOk('e2fsck', ['-fn', `${copy}?offset=${10 * MIB}`])
    for (const offset of [10 * MIB, 80 * MIB]) {
      const say = (disk: string) => runOk('blkid', ['-p', '-O', `${offset}`, '-o', 'export', disk])
      expect((await say(copy)).replaceAll(copy, path)).toBe(await say(path))
    }
    expect((await free(path, { gaps: false, swap: false })).ranges.total).toBe(theirs.total)
    expect((await free(path, { ignore: ['/dev/sda1', '/dev/sda2'], gaps: false })).ranges.total).toBe(0)
  })

  test('a swap area reads the same to swaplabel before and after, whatever the size of its pages', async () => {
    for (const page of [4096, 8192, 16_384, 32_768, 65_536]) {
      const path = emptyDisk(8, true)
      await runOk('mkswap', ['-p', `${page}`, '-L', 'here', path])
      const found = await free(path)
      expect(found.volumes).toEqual([{ name: '/dev/sda', type: 'swap', dropped: 8 * MIB - page }])
      const copy = await dropped(path)
      expect(readAt(copy, 0, page).equals(readAt(path, 0, page))).toBe(true)
      if (page === 4096) expect(await runOk('swaplabel', [copy])).toBe(await runOk('swaplabel', [path]))
    }
  })

  test('a swap area that is shorter than its partition owns only its pages', async () => {
    const path = emptyDisk(8)
    await runOk('mkswap', [path, '4096'])
    expect(megabytes((await free(path)).ranges)).toEqual([[1 / 256, 4]])
    const longer = emptyDisk(8)
    await runOk('mkswap', [longer])
    truncateSync(longer, 7 * MIB)
    expect((await free(longer)).volumes).toMatchObject([
      { dropped: 0, reason: expect.stringContaining('last page') },
    ])
  })

  test('swap of a machine with the other byte order', async () => {
    const path = emptyDisk(8)
    await runOk('mkswap', [path])
    const header = readAt(path, 1024, 12)
    writeAt(path, [1024], header.swap32())
    expect((await free(path)).ranges.total).toBe(8 * MIB - 4096)
  })

  test.each(['S1SUSPEND\0', 'S2SUSPEND\0', 'ULSUSPEND\0', 'LINHIB0001', '\xed\xc3\x02\xe9\x98\x56\xe5\x0c'])(
    'a hibernated machine (%j) keeps all of its disk',
    async signature => {
      const path = emptyDisk(100)
      await runOk('sfdisk', ['-q', path], 'label: dos\n2048,40960,83\n,40960,82\n')
      await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', `offset=${MIB}`, path, '20m'])
      await swapAt(path, 21 * MIB, 20 * MIB)
      expect((await free(path)).volumes.map(({ dropped }) => dropped > 0)).toEqual([true, true])
      writeAt(path, [21 * MIB + 4086], Buffer.from(signature, 'latin1'))
      const found = await free(path)
      expect(found.ranges.total).toBe(0)
      expect(found.volumes).toMatchObject([
        { type: 'ext4', reason: expect.stringMatching(/hibernated machine.*sda2/) },
        { type: 'swsuspend', reason: expect.stringMatching(/hibernated machine/) },
      ])
    },
  )

  test('swap of version 0 is left alone', async () => {
    const path = emptyDisk(8)
    writeAt(path, [4086], Buffer.from('SWAP-SPACE'))
    expect((await free(path)).volumes).toMatchObject([{ reason: expect.stringContaining('version 0') }])
  })

  test.each([
    [
      'label: dos\n2048,20480,83\n40960,20480,83\n',
      [
        [11, 20],
        [30, 99],
      ],
    ],
    // GRUB between the MBR and a first partition that begins late, the order of entries not that of places.
    [
      'label: dos\n102400,2048,83\n63,2000,83\n',
      [
        [2063 / 2048, 50],
        [51, 99],
      ],
    ],
    // The chain of logical partitions runs through all of the extended one.
    [
      'label: dos\n2048,20480,83\n40960,81920,5\n43008,2048,83\n61440,2048,83\n',
      [
        [11, 20],
        [60, 99],
      ],
    ],
    ['label: dos\n2048,20480,42\n40960,20480,83\n', []],
    ['label: dos\n2048,,83\n', []],
    [
      'label: gpt\nfirst-lba: 34\nstart=34,size=2014\nstart=40960,size=2048\n',
      [
        [1, 20],
        [21, 99],
      ],
    ],
    ['label: gpt\n', []],
  ])('gaps of %j', async (table, expected) => {
    const path = emptyDisk(100, true)
    await runOk('sfdisk', ['-q', '--wipe', 'always', path], table)
    const found = await free(path)
    expect(megabytes(found.ranges)).toEqual(expected)
    const copy = await dropped(path)
    expect(await runOk('sfdisk', ['-d', copy])).toBe(
      (await runOk('sfdisk', ['-d', path])).replaceAll(path, copy),
    )
    expect(readAt(copy, 0, MIB).equals(readAt(path, 0, MIB))).toBe(true)
  })

  test('gaps are nobody’s only where the table is beyond doubt', async () => {
    const path = emptyDisk(100)
    await runOk('sgdisk', ['-n', '1:10M:+10M', '-n', '2:40M:+10M', path])
    expect(megabytes((await free(path)).ranges)).toEqual([
      [20, 40],
      [50, 99],
    ])
    const check = async (change: (copy: string) => unknown, expected: number[][]): Promise<void> => {
      const copy = `${path}.copy`
      await copyImage(path, copy)
      await change(copy)
      expect(megabytes((await free(copy)).ranges)).toEqual(expected)
    }
    // The image was made larger; the backup is damaged; the first copy is damaged; both are.
    await check(copy => truncateSync(copy, 200 * MIB), [])
    await check(copy => writeAt(copy, [100 * MIB - 512 + 60], Uint8Array.of(1)), [])
    await check(copy => writeAt(copy, [512 + 60], Uint8Array.of(1)), [])
    await check(copy => writeAt(copy, [512 + 60, 100 * MIB - 512 + 60], Uint8Array.of(1)), [])
    // A hybrid MBR names space that the GPT does not.
    await check(
      copy => writeAt(copy, [446 + 16], hybridEntry(60, 10)),
      [
        [20, 40],
        [50, 60],
        [70, 99],
      ],
    )
    // An ISO image for USB sticks: what lies between its partitions is its content.
    await check(copy => writeAt(copy, [0x8001], Buffer.from('CD001')), [])
  })

  function hybridEntry(start: number, length: number): Buffer {
    const entry = Buffer.alloc(16)
    entry[4] = 0x0c
    entry.writeUInt32LE(start * 2048, 8)
    entry.writeUInt32LE(length * 2048, 12)
    return entry
  }

  test('overlapping volumes, and one that is named twice', async () => {
    const path = emptyDisk(100)
    await runOk('sfdisk', ['-q', path], 'label: dos\n2048,40960,83\n61440,40960,83\n')
    for (const offset of [MIB, 30 * MIB])
      await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', `offset=${offset}`, path, '20m'])
    const before = await free(path)
    expect(before.volumes.every(({ dropped }) => dropped > 0)).toBe(true)
    const device = new StorageDevice(await FileStorage.open(path, 'read'))
    const list = await readVolumes(device)
    const [first, second] = list.volumes
    if (first === undefined || second === undefined) throw new Error('no volumes')
    const twice = await freeRanges(device, { volumes: { ...list, volumes: [first, second, first] } })
    expect([...twice.ranges.ranges()]).toEqual([...before.ranges.ranges()])
    const whole = {
      ...first,
      device: new SliceDevice(device, 2 * MIB, 60 * MIB),
      offset: 2 * MIB,
      length: 60 * MIB,
    }
    const over = await freeRanges(device, { volumes: { ...list, volumes: [first, second, whole] } })
    expect(over.volumes.map(({ dropped }) => dropped)).toEqual([0, 0, 0])
    expect(over.volumes[0]?.reason).toContain('overlaps')
    await device.close()
    writeAt(path, [446 + 12], Uint8Array.of(0, 0, 1, 0))
    expect((await free(path)).ranges.total).toBe(before.gaps > 0 ? 0 : -1)
  })

  test('a filesystem that is larger than its partition', async () => {
    const path = emptyDisk(100)
    await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', `offset=${MIB}`, path, '90m'])
    await runOk('sfdisk', ['-q', '--wipe', 'never', path], 'label: dos\n2048,40960,83\n')
    expect((await free(path, { gaps: false })).volumes).toMatchObject([
      { type: 'ext4', dropped: 0, reason: expect.stringContaining('blocks that the volume holds') },
    ])
  })
})

describe('volumes that may be something else', () => {
  async function ext4(size: number): Promise<MemoryDevice> {
    const device = new MemoryDevice(size)
    await makeExt4(device)
    return device
  }

  test.each<[string, string, (device: MemoryDevice) => Promise<void>]>([
    ['zfs_member', 'little', async device => zfs(device, true)],
    ['zfs_member', 'big', async device => zfs(device, false)],
    ['linux_raid_member', '1.0', async device => md(device, device.size - 8192)],
    ['linux_raid_member', '0.90', async device => md(device, device.size - 65_536)],
    ['xfs', '', async device => device.write(0, Buffer.from('XFSB'))],
    ['btrfs', '', async device => device.write(65_536 + 0x40, Buffer.from('_BHRfS_M'))],
  ])('%s %s', async (type, _, change) => {
    const device = await ext4(64 * MIB)
    expect((await freeRanges(device)).ranges.total).toBeGreaterThan(30 * MIB)
    await change(device)
    expect((await freeRanges(device)).volumes).toMatchObject([
      { dropped: 0, reason: expect.stringContaining(type) },
    ])
  })

  async function zfs(device: MemoryDevice, little: boolean): Promise<void> {
    const magic = Buffer.alloc(8)
    if (little) magic.writeBigUInt64LE(0xbab10cn)
    else magic.writeBigUInt64BE(0xbab10cn)
    await device.write(128 * 1024 + 7 * 4096, magic)
  }

  async function md(device: MemoryDevice, at: number): Promise<void> {
    await device.write(at, Uint8Array.of(0xfc, 0x4e, 0x2b, 0xa9))
  }

  test('an empty disk, one of a few bytes, and noise', async () => {
    for (const size of [0, 1, 511, 512, 4096, 70_000])
      expect((await freeRanges(new MemoryDevice(size))).ranges.total).toBe(0)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(6 * MIB), fc.uint8Array({ minLength: 1, maxLength: 40 })), {
          maxLength: 12,
        }),
        async noise => {
          const device = await ext4(6 * MIB)
          for (const [at, bytes] of noise) await device.write(Math.min(at, device.size - 40), bytes)
          const found = await freeRanges(device)
          for (const { start, end } of found.ranges.ranges()) {
            expect(start % 512 === 0 && end % 512 === 0).toBe(true)
            expect(end).toBeLessThanOrEqual(device.size)
          }
        },
      ),
      propertySettings(100),
    )
  })

  test('errors of input are not taken for doubts', async () => {
    const device = await ext4(64 * MIB)
    const failing = Object.create(device, {
      read: {
        value: async (offset: number, into: Uint8Array) => {
          if (offset > 4 * MIB) throw Object.assign(new Error('EIO'), { code: 'EIO' })
          await device.read(offset, into)
        },
      },
    }) as MemoryDevice
    await expect(freeRanges(failing)).rejects.toThrow('EIO')
  })
})

describe('ranges in bounded memory', () => {
  test('the shortest go when there are too many', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 100_000 })), {
          maxLength: 300,
        }),
        fc.integer({ min: 2, max: 50 }),
        (runs, most) => {
          const all = new RangeSet()
          const bounded = new DroppableRanges(most)
          let at = 0
          for (const [gap, length] of runs) {
            at += gap * 512
            all.add(at, at + length)
            bounded.add(at, at + length)
            at += length
          }
          expect(bounded.ranges.runs).toBeLessThanOrEqual(most)
          for (const { start, end } of bounded.ranges.ranges()) {
            expect(all.covers(start, end)).toBe(true)
            expect(start % 512 === 0 && end % 512 === 0 && end - start >= bounded.shortest).toBe(true)
          }
          for (const { start, end } of all.ranges())
            if (end - start >= bounded.shortest + 1024)
              expect(bounded.ranges.intersects(start, end)).toBe(true)
          expect(bounded.within(0, at)).toBe(bounded.ranges.total)
        },
      ),
      propertySettings(200),
    )
  })
})
