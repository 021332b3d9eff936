import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { withExt4, withKernelMount } from '../../native-fixtures/ext4-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { type MakeExt4Options, makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

const MIB = 2 ** 20
const UUID = '01234567-89ab-4cde-8f01-23456789abcd'
const HASH_SEED = 'fedcba98-7654-4321-8fed-cba987654321'
/** mke2fs takes its clock from here. */
const SECONDS = 1_700_000_000

async function make(size: number, options: MakeExt4Options = {}): Promise<string> {
  const path = join(temporaryFolder(), 'image')
  const storage = await FileStorage.open(path, 'create')
  await storage.truncate(size)
  const device = new StorageDevice(storage)
  try {
    await makeExt4(device, {
      uuid: UUID,
      hashSeed: HASH_SEED,
      now: () => BigInt(SECONDS) * 10n ** 9n,
      ...options,
    })
  } finally {
    await device.close()
  }
  return writes(path, 'ext4')
}

/** dumpe2fs without what must differ: generations are in checksums, and mke2fs counts its writes. */
async function dump(image: string): Promise<string[]> {
  const text = await runOk('dumpe2fs', [image])
  return text
    .replace(/,? csum 0x[0-9a-f]+/g, '')
    .split('\n')
    .filter(
      line => !/^(Checksum:|Lifetime writes:|Filesystem created:|Last checked:|Last write time:)/.test(line),
    )
}

const SAME: readonly [string, number, readonly string[], MakeExt4Options][] = [
  ['1 MiB', 1, [], {}],
  ['100 MiB, 1 KiB blocks', 100, [], {}],
  ['64 MiB, 4 KiB blocks', 64, ['-b', '4096'], { blockSize: 4096 }],
  ['3 GiB, two flex groups', 3072, [], {}],
  ['without flex_bg', 300, ['-O', '^flex_bg'], { features: ['^flex_bg'] }],
  [
    'uninit_bg for metadata_csum',
    100,
    ['-O', '^metadata_csum,uninit_bg'],
    { features: ['^metadata_csum', 'uninit_bg'] },
  ],
  ['no checksums', 100, ['-O', '^metadata_csum'], { features: ['^metadata_csum'] }],
  ['32-bit', 100, ['-O', '^64bit'], { features: ['^64bit'] }],
  ['no journal', 100, ['-O', '^has_journal'], { features: ['^has_journal'] }],
  ['64 KiB blocks', 600, ['-b', '65536'], { blockSize: 65536 }],
]

describe.skipIf(!haveTool('mke2fs'))('makes what mke2fs makes', () => {
  test.each(SAME)('%s', async (_, megabytes, args, options) => {
    const ours = await make(megabytes * MIB, { ...options, label: 'same' })
    const theirs = join(temporaryFolder(), 'image')
    await runOk('truncate', ['-s', `${megabytes}M`, theirs])
    await runOk('mke2fs', [
      '-q',
      '-F',
      '-t',
      'ext4',
      '-L',
      'same',
      '-U',
      UUID,
      '-E',
      `hash_seed=${HASH_SEED}`,
      ...args,
      theirs,
    ])
    // Of one group alone mke2fs spreads the structures as if the flex group were full; of more it packs them.
    const places = /^ {2}(Inode bitmap|Inode table|Free blocks)/
    const text = async (image: string) => {
      const lines = await dump(image)
      return lines.some(line => line.startsWith('Group 1:'))
        ? lines
        : lines.filter(line => !places.test(line))
    }
    expect(await text(ours)).toEqual(await text(theirs))
  })
})

const SHAPES: readonly [string, number, MakeExt4Options][] = [
  ['orphan file', 300, { features: ['orphan_file'] }],
  [
    'checksum seed, inline data, large directories',
    100,
    { features: ['metadata_csum_seed', 'inline_data', 'large_dir', 'ea_inode'] },
  ],
  ['128-byte inodes', 100, { inodeSize: 128 }],
  ['1 KiB inodes, many', 300, { inodeSize: 1024, inodeRatio: 4096, blockSize: 1024 }],
  ['inode tables longer than a flex group', 1024, { blockSize: 1024, inodeRatio: 1024 }],
  ['20 GiB', 20480, {}],
  ['a last group that is too short', 8.06, {}],
  ['no sparse_super', 64, { features: ['^sparse_super', '^resize_inode'] }],
  ['no extents', 300, { features: ['^extent', '^64bit', '^metadata_csum'] }],
  ['no file types', 64, { features: ['^filetype'] }],
  ['no reserved blocks', 64, { reservedPercent: 0 }],
  ['a journal of chosen size', 128, { journalBlocks: 2048 }],
]

describe('makes filesystems that everybody reads', () => {
  test.each(SHAPES)('%s', async (_, megabytes, options) => {
    const image = await make(Math.floor(megabytes * MIB), options)
    const name = new TextEncoder().encode('hello')
    await withExt4(image, true, async fs => {
      expect(fs.uuid).toBe(UUID)
      const ino = await fs.create(fs.root, name, { mode: 0o640, uid: 1, gid: 2 })
      await fs.write(ino, 5000, new TextEncoder().encode('world'))
      await fs.sync()
    })
    if (!haveLoopMounts()) return
    const { readFile, rm, readdir } = await import('node:fs/promises')
    await withKernelMount(image, async folder => {
      expect((await readdir(folder)).sort()).toEqual(['hello', 'lost+found'])
      expect((await readFile(join(folder, 'hello'))).subarray(5000).toString()).toBe('world')
      await rm(join(folder, 'hello'))
    })
  })

  test.skipIf(!haveTool('resize2fs'))('grows by resize2fs into the room of the resize inode', async () => {
    const image = await make(64 * MIB, { blockSize: 1024 })
    await runOk('truncate', ['-s', '600M', image])
    await runOk('resize2fs', ['-f', image])
    await withExt4(image, false, async fs => expect((await fs.statfs()).blocks).toBe(600 * 1024))
  })

  test('on a volume full of other bytes', async () => {
    const image = join(temporaryFolder(), 'image')
    const storage = await FileStorage.open(image, 'create')
    await storage.write(0, new Uint8Array(16 * MIB).fill(0xa5))
    const device = new StorageDevice(storage)
    await makeExt4(device, {})
    await device.close()
    writes(image, 'ext4')
  })
})

test('the same options give the same bytes', async () => {
  const images = []
  for (let index = 0; index < 2; index++) {
    const device = new MemoryDevice(8 * MIB)
    await makeExt4(device, { uuid: UUID, hashSeed: HASH_SEED, now: () => 1_700_000_000_123_456_789n })
    const bytes = new Uint8Array(8 * MIB)
    await device.read(0, bytes)
    images.push(bytes)
  }
  expect(Buffer.compare(images[0] ?? new Uint8Array(), images[1] ?? new Uint8Array())).toBe(0)
})

test.each([
  ['ERR_INVALID_ARGUMENT', { blockSize: 3000 }, /block size 3000/],
  ['ERR_INVALID_ARGUMENT', { inodeSize: 100 }, /inode size 100/],
  ['ERR_INVALID_ARGUMENT', { label: 'seventeen letters' }, /17 bytes/],
  ['ERR_INVALID_ARGUMENT', { uuid: 'x' }, /uuid "x"/],
  ['ERR_INVALID_ARGUMENT', { features: ['no_such'] }, /"no_such"/],
  ['ERR_INVALID_ARGUMENT', { features: ['inline_data'], inodeSize: 128 }, /inline_data needs extra_isize/],
  ['ERR_INVALID_ARGUMENT', { features: ['^sparse_super'] }, /resize_inode needs sparse_super/],
  ['ERR_UNSUPPORTED', { features: ['bigalloc'] }, /bigalloc/],
  ['ERR_INVALID_ARGUMENT', { journalBlocks: 100 }, /journal/],
  ['ENOSPC', { journalBlocks: 8192 }, /./],
] as const)('%s for %j', async (code, options, message) => {
  const error = await makeExt4(new MemoryDevice(8 * MIB), options).catch((e: unknown) => e)
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
})

test.each([0, 1000, 1024, 20 * 1024])('ENOSPC for a volume of %d bytes', async size => {
  await expect(makeExt4(new MemoryDevice(size))).rejects.toMatchObject({ code: 'ENOSPC' })
})

test('a filesystem that was made is opened as what it is', async () => {
  const device = new MemoryDevice(64 * MIB)
  await makeExt4(device, { label: 'label é', features: ['orphan_file'] })
  const fs = await openExt4(device, { writable: true })
  expect(fs).toMatchObject({ type: 'ext4', label: 'label é', warnings: [] })
  await fs.close()
})
