import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { growPartition, type PartitionGrowth } from '../../src/volume/grow-partition.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 2 ** 20

interface Table {
  readonly label: string
  readonly lastlba?: number
  readonly partitions: readonly { start: number; size: number; type: string; uuid?: string; name?: string }[]
}

async function table(image: string): Promise<Table> {
  const { partitiontable } = JSON.parse(await runOk('sfdisk', ['-J', image])) as { partitiontable: Table }
  return partitiontable
}

async function disk(megabytes: number, script: string): Promise<string> {
  const image = join(temporaryFolder(), 'disk')
  await runOk('truncate', ['-s', `${megabytes}M`, image])
  await runOk('sfdisk', ['-q', image], script)
  return image
}

async function grow(image: string, number: number): Promise<PartitionGrowth> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  try {
    return await growPartition(device, await readVolumes(device), number)
  } finally {
    await device.close()
  }
}

const sizes = (partitions: Table['partitions']) =>
  partitions.map(({ start, size }) => [start / 2048, size / 2048])

describe.skipIf(!haveTool('sfdisk') || !haveTool('sgdisk'))('a partition of a GPT grows', () => {
  test('to the end of a disk that became larger, and the backup moves there', async () => {
    const image = await disk(
      64,
      'label: gpt\nsize=10M, name=boot\nname="the root", attrs=LegacyBIOSBootable\n',
    )
    const before = await table(image)
    await runOk('truncate', ['-s', '200M', image])
    const { after, limit } = await grow(image, 2)
    expect([after, limit]).toEqual([188 * MIB, 'the disk ends'])
    const now = await table(image)
    expect(sizes(now.partitions)).toEqual([
      [1, 10],
      [11, 188],
    ])
    const identity = ({ partitions }: Table) => partitions.map(({ size: _, ...rest }) => rest)
    expect(identity(now)).toEqual(identity(before))
    expect(await runOk('sgdisk', ['-v', image])).toContain('No problems found')
    // The kernel and gdisk go by the backup too when the first copy is gone.
    await runOk('dd', [
      'if=/dev/zero',
      `of=${image}`,
      'bs=512',
      'seek=1',
      'count=1',
      'conv=notrunc',
      'status=none',
    ])
    const device = new StorageDevice(await FileStorage.open(image, 'read'))
    const { volumes } = await readVolumes(device)
    expect(volumes.map(({ length }) => length)).toEqual([10 * MIB, 188 * MIB])
    await device.close()
  })

  test('up to the next one, whatever their order in the table', async () => {
    const image = await disk(64, 'label: gpt\nstart=40M,size=5M\nstart=1M,size=10M\n')
    expect(await grow(image, 2)).toEqual({ before: 10 * MIB, after: 39 * MIB, limit: '/dev/sda1 begins' })
    expect(await grow(image, 2)).toEqual({ before: 39 * MIB, after: 39 * MIB, limit: '/dev/sda1 begins' })
    expect(await grow(image, 1)).toMatchObject({ before: 5 * MIB, after: 23 * MIB, limit: 'the disk ends' })
    expect(await runOk('sgdisk', ['-v', image])).toContain('No problems found')
  })

  test('with sectors of 4 KiB', async () => {
    const device = new MemoryDevice(64 * MIB)
    await writeGpt(device, [{ type: GPT_TYPE.linux, length: 8 * MIB, label: 'one' }], { sectorSize: 4096 })
    const before = await readVolumes(device)
    const grown = await growPartition(device, before, 1)
    expect(grown).toMatchObject({ before: 8 * MIB, after: 62 * MIB })
    const after = await readVolumes(device)
    expect(after.warnings).toEqual([])
    expect(after.volumes).toMatchObject([{ label: 'one', offset: MIB, length: 62 * MIB }])
    expect(after.diskId).toBe(before.diskId)
  })

  test('not without a sound first copy', async () => {
    const image = await disk(64, 'label: gpt\nsize=10M\n')
    await runOk('dd', [
      'if=/dev/zero',
      `of=${image}`,
      'bs=512',
      'seek=1',
      'count=1',
      'conv=notrunc',
      'status=none',
    ])
    await expect(grow(image, 1)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    await expect(grow(image, 3)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  })

  test('and other entries of a hybrid MBR stay', async () => {
    const image = await disk(64, 'label: gpt\nsize=10M\nsize=10M\n')
    const { status } = await run('sgdisk', ['-h', '1', image])
    expect(status).toBe(0)
    await runOk('truncate', ['-s', '100M', image])
    const before = await runOk('od', ['-A', 'd', '-t', 'x1', '-j', '446', '-N', '64', image])
    await grow(image, 2)
    expect(await runOk('od', ['-A', 'd', '-t', 'x1', '-j', '446', '-N', '64', image])).toBe(before)
  })
})

describe.skipIf(!haveTool('sfdisk'))('a partition of an MBR grows', () => {
  test('to the end of the disk, or up to the next one', async () => {
    const image = await disk(
      64,
      'label: dos\nlabel-id: 0x12345678\nstart=1M,size=10M\nstart=30M,size=10M,bootable\n',
    )
    await runOk('truncate', ['-s', '100M', image])
    expect(await grow(image, 1)).toEqual({ before: 10 * MIB, after: 29 * MIB, limit: '/dev/sda2 begins' })
    expect(await grow(image, 2)).toEqual({ before: 10 * MIB, after: 69 * MIB, limit: 'the disk ends' })
    const { partitions } = await table(image)
    expect(sizes(partitions)).toEqual([
      [1, 29],
      [30, 69],
    ])
    expect(await runOk('sfdisk', ['--verify', image])).toContain('No errors detected')
  })

  test('up to 2 TiB', async () => {
    const image = await disk(64, 'label: dos\nstart=1M,size=10M\n')
    await runOk('truncate', ['-s', '3T', image])
    const { after, limit } = await grow(image, 1)
    expect([2 ** 41 - after, limit]).toEqual([MIB, 'no MBR can say more, at 2 TiB'])
    expect(sizes((await table(image)).partitions)).toEqual([[1, 2 ** 21 - 1]])
  })

  test('but no logical or extended one', async () => {
    const image = await disk(64, 'label: dos\nstart=1M,size=10M\ntype=5\nsize=10M\n')
    await expect(grow(image, 2)).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
    await expect(grow(image, 5)).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
    expect(await grow(image, 1)).toMatchObject({ before: 10 * MIB, limit: '/dev/sda2 begins' })
  })
})
