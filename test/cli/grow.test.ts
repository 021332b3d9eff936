import { statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { SliceDevice } from '../../src/device/slice-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { makeXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const MIB = 2 ** 20

/** A disk with /boot on ext4, a small XFS, and another XFS behind it. */
async function makeDisk(format: 'raw' | 'qcow2'): Promise<string> {
  const raw = join(temporaryFolder(), 'disk.raw')
  const storage = await FileStorage.open(raw, 'create')
  await storage.truncate(700 * MIB)
  const disk = new StorageDevice(storage)
  const linux = { type: GPT_TYPE.linux }
  const placed = await writeGpt(disk, [
    { ...linux, length: 20 * MIB },
    { ...linux, length: 301 * MIB },
    { ...linux, length: 310 * MIB },
  ])
  for (const [index, { offset, length }] of placed.entries()) {
    const volume = new SliceDevice(disk, offset, length)
    if (index === 0) await makeExt4(volume)
    else await makeXfs(volume, { label: `xfs${index}` })
  }
  await disk.close()
  if (format === 'raw') return raw
  const image = join(temporaryFolder(), 'disk.qcow2')
  await runOk('qemu-img', ['convert', '-O', 'qcow2', raw, image])
  return writes(image, 'qcow2')
}

async function partitionOf(image: string, offset: number, length: number): Promise<string> {
  const folder = temporaryFolder()
  const [raw, part] = [join(folder, 'raw'), join(folder, 'part')]
  await runOk('qemu-img', ['convert', '-O', 'raw', image, raw])
  expect(await runOk('sgdisk', ['-v', raw])).toContain('No problems found')
  const places = [`skip=${offset / MIB}`, `count=${length / MIB}`]
  await runOk('dd', [`if=${raw}`, `of=${part}`, 'bs=1M', ...places, 'conv=sparse', 'status=none'])
  return part
}

describe.skipIf(!haveTool('xfs_repair') || !haveTool('qemu-img') || !haveTool('sgdisk'))('grow', () => {
  test('the last XFS and its partition, after the disk', async () => {
    const image = await makeDisk('qcow2')
    await cliOk('resize', image, '+500M')
    const planned = JSON.parse(await cliOk('grow', '--dry-run', '--json', image)) as object
    expect(planned).toMatchObject({
      volume: '/dev/sda3',
      type: 'xfs',
      partition: { before: 310 * MIB, after: 877 * MIB, limit: 'the disk ends' },
      filesystem: { before: 310 * MIB, after: 877 * MIB },
      warnings: [],
    })
    expect((await cli('info', image)).stderr + (await cliOk('info', image))).toContain('backup GPT')
    expect(await cliOk('grow', image)).toMatch(
      /\/dev\/sda3: partition 310 MiB → 877 MiB \(it ends where the disk ends\), xfs 310 MiB → 877 MiB \(12 alloc/,
    )
    const part = await partitionOf(image, 322 * MIB, 877 * MIB)
    await runOk('xfs_repair', ['-n', '-f', part])
    expect(await runOk('xfs_db', ['-r', '-c', 'label', part])).toContain('xfs2')
    const again = await cliOk('grow', image)
    expect(again).toContain(
      '/dev/sda3: xfs of 877 MiB fills its partition already (it ends where the disk ends)',
    )
    expect(await cliOk('grow', image, '/dev/sda2')).toContain('already (it ends where /dev/sda3 begins)')
  })

  test('the filesystem alone', async () => {
    const image = await makeDisk('raw')
    await runOk('sgdisk', ['-d', '3', '-n', '3:322M:+360M', image])
    expect(await cliOk('grow', '--keep-partition', image, '/dev/vda3')).toContain(
      '/dev/sda3: xfs 310 MiB → 360 MiB',
    )
    await runOk('xfs_repair', ['-n', '-f', await partitionOf(image, 322 * MIB, 360 * MIB)])
  })

  test('one that fills a disk', async () => {
    const image = join(temporaryFolder(), 'bare.raw')
    await runOk('truncate', ['-s', '300M', image])
    await runOk('mkfs.xfs', ['-q', image])
    await runOk('truncate', ['-s', '500M', image])
    expect(await cliOk('grow', image)).toContain('/dev/sda: xfs 300 MiB → 500 MiB')
    writes(image, 'xfs')
  })

  test('refuses, and writes nothing', async () => {
    const image = await makeDisk('raw')
    const written = () => statSync(image, { bigint: true }).mtimeNs
    const before = written()
    const refused: readonly [readonly string[], number, RegExp][] = [
      [['/dev/sda1'], 1, /\/dev\/sda1 holds ext4, and drydisk makes XFS larger, not ext4/],
      [
        ['/dev/sda7'],
        1,
        /no volume "\/dev\/sda7" on this disk: it has \/dev\/sda1, \/dev\/sda2, \/dev\/sda3/,
      ],
      [['--format', 'vdi'], 2, /--format is vdi/],
    ]
    for (const [args, status, message] of refused) {
      const result = await cli('grow', image, ...args)
      expect([result.status, result.stderr]).toEqual([status, expect.stringMatching(message)])
    }
    expect(written()).toBe(before)
    const demo = join(temporaryFolder(), 'demo.qcow2')
    await cliOk('make-fs', '--demo', '--size', '96M', demo)
    expect((await cli('grow', demo)).stderr).toMatch(/no XFS filesystem on this disk.*\/dev\/sda1 holds ext4/)
  })
})
