import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileStorage } from '../src/device/file-storage.ts'
import { StorageDevice } from '../src/device/storage-device.ts'
import type { Ext4FileSystem } from '../src/filesystem/ext4/filesystem.ts'
import { openExt4 } from '../src/filesystem/ext4/open.ts'
import { runOk, temporaryFolder } from '../test/support/native.ts'

/** One shape of filesystem that mke2fs makes, and why it is worth having. */
export interface Ext4Variant {
  readonly name: string
  readonly arguments: readonly string[]
  readonly megabytes: number
  /** The kernel's own driver takes no blocks that are larger than a page. */
  readonly kernel?: false
}

/** The shapes that matter to how file content is mapped. */
export const DATA_VARIANTS: readonly Ext4Variant[] = [
  { name: 'ext4, 4 KiB blocks', arguments: ['-t', 'ext4', '-b', '4096'], megabytes: 64 },
  { name: 'ext4, 1 KiB blocks', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 64 },
  {
    name: 'ext4, 2 KiB blocks, no checksums',
    arguments: ['-t', 'ext4', '-b', '2048', '-O', '^metadata_csum'],
    megabytes: 64,
  },
  { name: 'ext4, inline data', arguments: ['-t', 'ext4', '-b', '4096', '-O', 'inline_data'], megabytes: 64 },
  {
    name: 'ext4, inline data in inodes of 1 KiB, no journal',
    arguments: ['-t', 'ext4', '-b', '1024', '-I', '1024', '-O', 'inline_data,^has_journal'],
    megabytes: 64,
  },
  { name: 'ext4, 64 KiB blocks', arguments: ['-t', 'ext4', '-b', '65536'], megabytes: 64, kernel: false },
  {
    name: 'ext4, small inodes, block maps, uninit_bg',
    arguments: [
      '-t',
      'ext4',
      '-b',
      '4096',
      '-I',
      '128',
      '-O',
      '^extent,^64bit,^metadata_csum,uninit_bg,^huge_file',
    ],
    megabytes: 64,
  },
  { name: 'ext3', arguments: ['-t', 'ext3', '-b', '4096'], megabytes: 64 },
  { name: 'ext2, 1 KiB blocks', arguments: ['-t', 'ext2', '-b', '1024'], megabytes: 64 },
]

/** A new image of a filesystem in a folder that goes away with the test. */
export async function makeExt4Image(variant: Ext4Variant): Promise<string> {
  const path = join(temporaryFolder(), 'image')
  const file = openSync(path, 'w')
  ftruncateSync(file, variant.megabytes << 20)
  closeSync(file)
  await runOk('mke2fs', ['-q', '-F', ...variant.arguments, path])
  return path
}

/** The kernel's own driver on the image, while `use` runs. Needs `haveLoopMounts()`. */
export async function withKernelMount<Result>(
  image: string,
  use: (folder: string) => Promise<Result> | Result,
  options = 'loop',
): Promise<Result> {
  const folder = mkdtempSync(join(process.env.DRYDISK_TMP ?? tmpdir(), 'drydisk-mount-'))
  try {
    await runOk('mount', ['-o', options, image, folder])
    try {
      return await use(folder)
    } finally {
      await runOk('umount', [folder])
    }
  } finally {
    rmdirSync(folder)
  }
}

/** Our own driver on the image, while `use` runs. */
export async function withExt4<Result>(
  image: string,
  writable: boolean,
  use: (filesystem: Ext4FileSystem) => Promise<Result>,
): Promise<Result> {
  const storage = await FileStorage.open(image, writable ? 'write' : 'read')
  const device = new StorageDevice(storage)
  try {
    const filesystem = await openExt4(device, { writable })
    return await use(filesystem)
  } finally {
    await device.close()
  }
}

/** Writes `bytes` at each of the offsets. */
export function writeAt(path: string, offsets: readonly number[], bytes: Uint8Array): void {
  const file = openSync(path, 'a+')
  closeSync(file)
  const writer = openSync(path, 'r+')
  for (const offset of offsets) writeSync(writer, bytes, 0, bytes.length, offset)
  closeSync(writer)
}

/** Names and inode numbers in the root directory, by debugfs's word. */
export async function inodesOfRoot(image: string): Promise<Map<string, number>> {
  const inodes = new Map<string, number>()
  for (const line of (await runOk('debugfs', ['-R', 'ls -p /', image])).split('\n')) {
    const [, ino, , , , name] = line.split('/')
    if (ino !== undefined && name !== undefined) inodes.set(name, Number(ino))
  }
  return inodes
}

/** A folder of empty files, for mke2fs -d. */
export function emptyFiles(names: readonly string[]): string {
  const tree = join(temporaryFolder(), 'tree')
  mkdirSync(tree)
  for (const name of names) writeFileSync(join(tree, name), '')
  return tree
}
