import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import type { NewInode } from '../../src/filesystem/filesystem.ts'
import { storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { DINODE_CRC_OFFSET } from '../../src/filesystem/xfs/dinode.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'

const toBytes = (text: string) => new TextEncoder().encode(text)
const ATTRIBUTES: NewInode = { mode: 0o644, uid: 0, gid: 0 }

interface Damage {
  readonly what: string
  readonly name: string
  /** Bytes of the inode from an offset on. */
  readonly set: readonly (readonly [at: number, bytes: readonly number[]])[]
  readonly field: string
}

/** The offsets are those of struct xfs_dinode. */
const ANY_VERSION: readonly Damage[] = [
  { what: 'a link count of version 1', name: 'file', set: [[6, [0, 1]]], field: 'di_onlink' },
  { what: 'a negative size', name: 'file', set: [[56, [0x80]]], field: 'di_size' },
  { what: 'a directory of no size', name: 'short', set: [[63, [0]]], field: 'di_size' },
  { what: 'a symlink of no size', name: 'symlink', set: [[63, [0]]], field: 'di_size' },
  { what: 'more extents than blocks', name: 'file', set: [[71, [0]]], field: 'di_nblocks' },
  {
    what: 'a directory that would lie in its inode',
    name: 'block',
    set: [[56, [0, 0, 0, 0, 0, 0, 0, 40]]],
    field: 'di_format',
  },
  { what: 'more in the inode than it holds', name: 'symlink', set: [[62, [9]]], field: 'di_size' },
  { what: 'a tree of one extent', name: 'file', set: [[5, [3]]], field: 'di_nextents' },
  {
    what: 'extents beside what lies in the inode',
    name: 'short',
    set: [
      [71, [1]],
      [79, [1]],
    ],
    field: 'di_nextents',
  },
  {
    what: 'attributes of a device in the wrong place',
    name: 'fifo',
    set: [[82, [5, 1]]],
    field: 'di_forkoff',
  },
  { what: 'attributes in the inode that has none', name: 'file', set: [[83, [1]]], field: 'di_aformat' },
  {
    what: 'blocks of attributes that are not there',
    name: 'file',
    set: [
      [71, [9]],
      [81, [1]],
    ],
    field: 'di_anextents',
  },
  { what: 'a hint without its flag', name: 'file', set: [[75, [4]]], field: 'di_extsize' },
  { what: 'a flag without its hint', name: 'file', set: [[90, [8]]], field: 'di_extsize' },
  {
    what: 'a hint of more than half a group',
    name: 'file',
    set: [
      [73, [0x10]],
      [90, [8]],
    ],
    field: 'di_extsize',
  },
  {
    what: "a file's hint of a directory",
    name: 'short',
    set: [
      [75, [4]],
      [90, [8]],
    ],
    field: 'di_flags',
  },
  {
    what: "a directory's hint of a file",
    name: 'file',
    set: [
      [75, [4]],
      [90, [0x10]],
    ],
    field: 'di_flags',
  },
  { what: 'data on a device that is not there', name: 'file', set: [[91, [1]]], field: 'di_flags' },
]

const VERSION_3: readonly Damage[] = [
  { what: 'something in what is free', name: 'file', set: [[30, [1]]], field: 'di_v3_pad' },
  { what: 'wide counts', name: 'file', set: [[127, [0x18]]], field: 'di_flags2' },
  { what: 'blocks of no extents', name: 'short', set: [[71, [1]]], field: 'di_nblocks' },
  { what: 'shared blocks of a directory', name: 'short', set: [[127, [0x0a]]], field: 'di_flags2' },
  { what: 'metadata', name: 'file', set: [[127, [0x28]]], field: 'di_flags2' },
  { what: 'a hint for copies without its flag', name: 'file', set: [[131, [4]]], field: 'di_cowextsize' },
  {
    what: 'a hint for copies of a symlink',
    name: 'symlink',
    set: [
      [127, [0x0c]],
      [131, [4]],
    ],
    field: 'di_flags2',
  },
]

const VARIANTS: Readonly<Record<string, readonly [args: readonly string[], damages: readonly Damage[]]>> = {
  'version 4': [['-m', 'crc=0'], ANY_VERSION],
  'version 5': [
    ['-m', 'crc=1,reflink=1,bigtime=1'],
    [...ANY_VERSION, ...VERSION_3],
  ],
  'version 5 with wide counts': [
    ['-i', 'nrext64=1'],
    [
      { what: 'something in what is free', name: 'file', set: [[80, [0, 1]]], field: 'di_nrext64_pad' },
      { what: 'more extents than blocks', name: 'file', set: [[24, [0, 0, 1]]], field: 'di_nblocks' },
    ],
  ],
  'version 5 with little': [
    ['-m', 'reflink=0,bigtime=0'],
    [
      { what: 'later times', name: 'file', set: [[127, [8]]], field: 'di_flags2' },
      { what: 'shared blocks', name: 'file', set: [[127, [2]]], field: 'di_flags2' },
    ],
  ],
}

describe.skipIf(!haveTool('mkfs.xfs') || !haveTool('xfs_repair'))(
  'an inode that Linux would not read',
  () => {
    for (const [variant, [args, damages]] of Object.entries(VARIANTS))
      describe(variant, () => {
        let path: string
        const inodes = new Map<string, number>()

        beforeAll(async () => {
          path = join(temporaryFolder(), 'image')
          await runOk('truncate', ['-s', '320M', path])
          await runOk('mkfs.xfs', ['-q', '-f', ...args, path])
          const device = new StorageDevice(await FileStorage.open(path, 'write'))
          const fs = await openXfs(device, { writable: true })
          const file = await fs.create(fs.root, toBytes('file'), ATTRIBUTES)
          await fs.write(file, 0, new Uint8Array(100).fill(1))
          const block = await fs.mkdir(fs.root, toBytes('block'), ATTRIBUTES)
          for (let n = 0; n < 40; n++) await fs.create(block, toBytes(`a name of its own ${n}`), ATTRIBUTES)
          inodes.set('file', file)
          inodes.set('block', block)
          inodes.set('short', await fs.mkdir(fs.root, toBytes('short'), ATTRIBUTES))
          inodes.set('symlink', await fs.symlink(fs.root, toBytes('symlink'), toBytes('target'), ATTRIBUTES))
          inodes.set(
            'fifo',
            await fs.mknod(fs.root, toBytes('fifo'), 'fifo', { major: 0, minor: 0 }, ATTRIBUTES),
          )
          await fs.close()
          await device.close()
          await runOk('xfs_repair', ['-n', path])
        })

        for (const { what, name, set, field } of damages)
          test(`is not changed: ${what}`, async () => {
            const device = new StorageDevice(await FileStorage.open(path, 'write'))
            const { sb_inodesize, sb_inopblock, sb_blocksize, isV5 } = await readSuperblock(device)
            const ino = inodes.get(name) ?? 0
            const at = Math.floor(ino / sb_inopblock) * sb_blocksize + (ino % sb_inopblock) * sb_inodesize
            const before = new Uint8Array(sb_inodesize)
            await device.read(at, before)
            const bytes = before.slice()
            for (const [offset, values] of set) bytes.set(values, offset)
            if (isV5) storeChecksum(bytes, DINODE_CRC_OFFSET)
            await device.write(at, bytes)
            const fs = await openXfs(new OverlayDevice(device), { writable: true })
            await expect(fs.setAttributes(ino, { mode: 0o600 })).rejects.toMatchObject({
              code: 'ERR_CORRUPT',
              message: expect.stringMatching(`inode ${ino} .*${field} .*xfs_repair`),
              context: { inode: ino, field },
            })
            const { status } = await run('xfs_repair', ['-n', path])
            await device.write(at, before)
            await device.close()
            expect(status).toBe(1)
          })

        if (variant === 'version 4')
          test('is not one of version 1', async () => {
            const device = new StorageDevice(await FileStorage.open(path, 'write'))
            const { sb_inodesize, sb_inopblock, sb_blocksize } = await readSuperblock(device)
            const ino = inodes.get('file') ?? 0
            const at = Math.floor(ino / sb_inopblock) * sb_blocksize + (ino % sb_inopblock) * sb_inodesize
            const bytes = new Uint8Array(sb_inodesize)
            await device.read(at, bytes)
            // di_version, di_onlink, di_nlink
            bytes.set([1], 4)
            bytes.set([0, 1], 6)
            bytes.set([0, 0, 0, 0], 16)
            await device.write(at, bytes)
            const fs = await openXfs(device, { writable: true })
            await fs.setAttributes(ino, { mode: 0o600 })
            expect(await fs.stat(ino)).toMatchObject({ nlink: 1, mode: 0o600 })
            await fs.close()
            await device.close()
            await runOk('xfs_repair', ['-n', path])
          })
      })
  },
)
