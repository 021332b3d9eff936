import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { withKernelMount } from '../../native-fixtures/ext4-images.ts'
import { parseUuid } from '../../src/bytes/guid.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { changeExt4Uuid } from '../../src/filesystem/ext4/change-uuid.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { Ext4Volume, readSuperblock } from '../../src/filesystem/ext4/volume.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

const UUID = '01234567-89ab-4cde-8f01-23456789abcd'
const bytesOf = (uuid: string) => parseUuid(uuid) ?? new Uint8Array(16)

async function change(path: string, uuid = UUID): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  try {
    await changeExt4Uuid(device, bytesOf(uuid))
  } finally {
    await device.close()
  }
}

async function uuidOf(path: string): Promise<string | undefined> {
  return /^Filesystem UUID: +(\S+)/m.exec(await runOk('dumpe2fs', ['-h', path]))?.[1]
}

/** What every checksum is on: directories of all forms, long chains of extents, attributes of their own block. */
const FILL = `
import os, sys
top = sys.argv[1]
os.makedirs(top + '/large')
for i in range(900): open(top + '/large/a-long-name-%05d' % i + 'g' * 120, 'w').close()
os.makedirs(top + '/small/deeper')
for i in range(5): open(top + '/small/%d' % i, 'w').write('x' * i)
with open(top + '/scattered', 'wb') as file:
    for i in range(700):
        file.seek(i * 16384)
        file.write(b'data')
for name in ('one', 'two', 'three'):
    open(top + '/' + name, 'w').close()
    os.setxattr(top + '/' + name, 'user.long', b'v' * 600)
os.symlink('s' * 200, top + '/slow')
os.symlink('fast', top + '/fast')
os.mkfifo(top + '/fifo')
`

const REMOVE = `
import os, sys
top = sys.argv[1]
os.unlink(top + '/scattered')
for i in range(0, 900, 3): os.unlink(top + '/large/a-long-name-%05d' % i + 'g' * 120)
`

async function makeFilled(arguments_: readonly string[], megabytes = 64): Promise<string> {
  const path = join(temporaryFolder(), 'image')
  await runOk('truncate', ['-s', `${megabytes}M`, path])
  await runOk('mke2fs', ['-q', '-F', ...arguments_, path])
  await withKernelMount(path, folder => runOk('python3', ['-c', FILL, folder]))
  return writes(path, 'ext4')
}

/** Bytes of times and counters of writes, which tune2fs sets and which say nothing. */
function withoutTimes(image: Uint8Array, superblocks: readonly number[]): Uint8Array {
  for (const at of superblocks) {
    image.fill(0, at + 0x30, at + 0x34)
    image.fill(0, at + 0x3a, at + 0x3c)
    image.fill(0, at + 0x178, at + 0x180)
    image.fill(0, at + 0x3fc, at + 0x400)
  }
  return image
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  return Buffer.from(a).equals(Buffer.from(b)) ? -1 : a.findIndex((byte, at) => byte !== b[at])
}

const VARIANTS: readonly [string, readonly string[]][] = [
  ['metadata_csum, 1 KiB blocks, many groups', ['-t', 'ext4', '-b', '1024', '-O', 'metadata_csum']],
  [
    'metadata_csum, meta_bg, without 64bit',
    ['-t', 'ext4', '-b', '1024', '-O', 'metadata_csum,meta_bg,^resize_inode,^64bit'],
  ],
  ['metadata_csum, inline_data, mmp', ['-t', 'ext4', '-b', '1024', '-O', 'metadata_csum,inline_data']],
  ['metadata_csum_seed', ['-t', 'ext4', '-b', '4096', '-O', 'metadata_csum,metadata_csum_seed']],
  [
    'uninit_bg',
    ['-t', 'ext4', '-b', '1024', '-I', '128', '-O', '^metadata_csum,uninit_bg,^64bit,^resize_inode'],
  ],
  ['ext2', ['-t', 'ext2', '-b', '1024']],
]

describe.skipIf(!haveLoopMounts() || !haveTool('tune2fs') || !haveTool('python3'))('as tune2fs -U', () => {
  test.each(VARIANTS)('%s', async (name, arguments_) => {
    const image = await makeFilled(arguments_)
    // tune2fs asks for that.
    await runOk('e2fsck', ['-fp', image])
    if (name.includes('mmp')) await runOk('tune2fs', ['-O', 'mmp', image])
    const theirs = `${image}.tune2fs`
    await runOk('cp', ['--sparse=always', image, theirs])
    await change(image)
    await runOk('tune2fs', ['-f', '-U', UUID, theirs])
    expect(await uuidOf(image)).toBe(UUID)
    const groups = await runOk('dumpe2fs', [image])
    const blockSize = Number(/^Block size: +(\d+)/m.exec(groups)?.[1])
    const copies = [...groups.matchAll(/Backup superblock at (\d+)/g)].map(
      ([, block]) => Number(block) * blockSize,
    )
    // tune2fs leaves that checksum as it was; debugfs verifies ours.
    const mmp = Number(/^MMP block number: +(\d+)/m.exec(groups)?.[1] ?? 0) * blockSize
    const [ours, expected] = [image, theirs].map(path =>
      withoutTimes(new Uint8Array(readFileSync(path)), [1024, ...copies, ...(mmp > 0 ? [mmp] : [])]),
    )
    const at = firstDifference(ours ?? new Uint8Array(), expected ?? new Uint8Array())
    expect(at < 0 ? 'none' : `block ${Math.floor(at / blockSize)}, byte ${at % blockSize}`).toBe('none')
    if (mmp > 0) expect(await runOk('debugfs', ['-R', 'dump_mmp', image])).toContain('sequence: ff4d4d50')
  })

  // tune2fs clears what is left of deleted inodes; here it stays, with right checksums.
  test('with inodes that were freed', async () => {
    const image = await makeFilled(['-t', 'ext4', '-b', '1024', '-O', 'metadata_csum,^metadata_csum_seed'])
    await withKernelMount(image, folder => runOk('python3', ['-c', REMOVE, folder]))
    await change(image)
    expect(await uuidOf(image)).toBe(UUID)
    await runOk('e2fsck', ['-fn', image])
    await withKernelMount(image, async folder => {
      expect((await runOk('find', [`${folder}/large`, '-type', 'f'])).trim().split('\n')).toHaveLength(600)
      await runOk('python3', ['-c', FILL, `${folder}/again`])
    })
  })

  test('a journal with something in it is replayed first', async () => {
    const image = await makeFilled(['-t', 'ext4', '-b', '1024', '-O', 'metadata_csum,^metadata_csum_seed'])
    await runOk('debugfs', ['-w', '-R', 'feature needs_recovery', image])
    await change(image)
    expect(await runOk('dumpe2fs', ['-h', image])).not.toContain('needs_recovery')
  })
})

async function memory(features: readonly string[]): Promise<MemoryDevice> {
  const device = new MemoryDevice(16 << 20)
  await makeExt4(device, { features: [...features] })
  return device
}

describe('what it does not do', () => {
  test.each([
    [['ea_inode', '^metadata_csum_seed'], 'ea_inode'],
    [['stable_inodes'], 'stable_inodes'],
  ])('%s', async (features, name) => {
    const device = await memory([])
    const superblock = await readSuperblock(device)
    for (const feature of features)
      superblock.setFeature(feature.replace('^', '') as 'ea_inode', !feature.startsWith('^'))
    superblock.updateChecksum()
    await device.write(1024, superblock.bytes)
    await expect(changeExt4Uuid(device, bytesOf(UUID))).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining(name),
    })
  })

  test('cover up damage: a wrong checksum anywhere is an error', async () => {
    const device = await memory([])
    const { geometry } = new Ext4Volume(device, await readSuperblock(device), false, () => 0n)
    const descriptor = new Uint8Array(64)
    await device.read((geometry.superblockBlock + 1) * geometry.blockSize, descriptor)
    const table = new DataView(descriptor.buffer).getUint32(8, true) * geometry.blockSize
    const bitmap = new DataView(descriptor.buffer).getUint32(0, true) * geometry.blockSize
    for (const at of [table + geometry.inodeSize + 8, bitmap + 1]) {
      const damaged = new OverlayDevice(device)
      const byte = new Uint8Array(1)
      await damaged.read(at, byte)
      await damaged.write(at, Uint8Array.of((byte[0] ?? 0) ^ 1))
      await expect(changeExt4Uuid(damaged, bytesOf(UUID))).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    }
    await changeExt4Uuid(device, bytesOf(UUID))
    expect((await readSuperblock(device)).uuid).toBe(UUID)
    await openExt4(device, { writable: true })
  })
})
