import { join } from 'node:path'
import { FileStorage } from '../src/device/file-storage.ts'
import { StorageDevice } from '../src/device/storage-device.ts'
import type { XfsFileSystem } from '../src/filesystem/xfs/filesystem.ts'
import { openXfs } from '../src/filesystem/xfs/open.ts'
import { runOk, temporaryFolder } from '../test/support/native.ts'

/** One shape of filesystem that mkfs.xfs makes. */
export interface XfsVariant {
  readonly name: string
  readonly arguments: readonly string[]
  /** Entries of the largest directory. */
  readonly names: number
  /** What turns it into the shape when it is filled. */
  readonly afterwards?: readonly (readonly string[])[]
}

/** Linux mounts blocks larger than a page only since 6.12, and version 4 only where it is built in. */
export const XFS_VARIANTS: readonly XfsVariant[] = [
  { name: 'as mkfs.xfs makes it', arguments: [], names: 3000 },
  {
    name: 'blocks of 1 KiB, directories of 4 KiB, all features',
    arguments: ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1,inobtcount=1,bigtime=1', '-i', 'nrext64=1'],
    names: 3000,
  },
  {
    name: 'sectors of 4 KiB, directories of 64 KiB, inodes of 2 KiB, another UUID',
    arguments: ['-s', 'size=4096', '-n', 'size=65536', '-i', 'size=2048,nrext64=0'],
    names: 3000,
    afterwards: [['xfs_admin', '-U', 'generate']],
  },
  {
    name: 'blocks of 2 KiB, directories of 8 KiB, without what came later',
    arguments: [
      ...['-b', 'size=2048', '-n', 'size=8192', '-i', 'sparse=0,nrext64=0,maxpct=5'],
      ...['-m', 'finobt=0,reflink=0,inobtcount=0,bigtime=0'],
    ],
    names: 1500,
  },
]

export async function makeXfs(path: string, megabytes: number, args: readonly string[]): Promise<void> {
  await runOk('truncate', ['-s', `${megabytes}M`, path])
  await runOk('mkfs.xfs', ['-q', '-f', '-L', 'lab', ...args, path])
}

/** Mounts an image by the kernel while `use` runs. Needs root. */
export async function withXfsMount<Result>(
  image: string,
  options: string,
  use: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = temporaryFolder()
  await runOk('mount', ['-t', 'xfs', '-o', `loop,nouuid,${options}`, image, folder])
  try {
    return await use(folder)
  } finally {
    await runOk('umount', [folder])
  }
}

/** An image with everything in it. Needs root. */
export async function makeFullXfs(variant: XfsVariant, seed: number): Promise<string> {
  const image = join(temporaryFolder(), 'image')
  const script = new URL('xfs/populate.py', import.meta.url).pathname
  await makeXfs(image, 320, variant.arguments)
  await withXfsMount(image, 'noatime', top =>
    runOk('python3', [script, top, String(seed), String(variant.names)]),
  )
  for (const [command = '', ...args] of variant.afterwards ?? []) await runOk(command, [...args, image])
  return image
}

export async function withXfs<Result>(
  image: string,
  use: (fs: XfsFileSystem) => Promise<Result>,
): Promise<Result> {
  const device = new StorageDevice(await FileStorage.open(image, 'read'))
  try {
    return await use(await openXfs(device))
  } finally {
    await device.close()
  }
}
