import type { BlockDevice } from '../device/block-device.ts'
import { SliceDevice } from '../device/slice-device.ts'
import { DrydiskError } from '../errors.ts'
import { makeExt4 } from '../filesystem/ext4/mkfs.ts'
import { openExt4 } from '../filesystem/ext4/open.ts'
import type { FileSystem } from '../filesystem/filesystem.ts'
import { makeXfs } from '../filesystem/xfs/mkfs/mkfs.ts'
import { openXfs } from '../filesystem/xfs/open.ts'
import { MountTable } from '../guest/mount-table.ts'
import { MountedGuest } from '../guest/mounted-guest.ts'
import { GPT_TYPE } from '../volume/partition-types.ts'
import { writeGpt } from '../volume/write-gpt.ts'
import { type CopyCounts, copyInto } from './copy-tree.ts'
import { joinPath } from './guest-files.ts'
import type { SourceNode } from './source-tree.ts'

/** What `makeFs` takes. */
export interface MakeFsOptions {
  /** `gpt`: one partition, aligned to 1 MiB. `none`: the filesystem fills the disk. Default `gpt`. */
  readonly partition?: 'gpt' | 'none'
  /** Of the filesystem. Default `ext4`. */
  readonly type?: 'ext4' | 'xfs'
  /** Up to 16 bytes of UTF-8, and 12 on XFS. */
  readonly label?: string
  /** Of the filesystem; random when left out. */
  readonly uuid?: string
  /** To turn on (`orphan_file`, `rmapbt`) or off (`^64bit`, `^bigtime`), over the defaults of mkfs.ext4 or mkfs.xfs. */
  readonly features?: readonly string[]
}

/**
 * Makes a new disk of a folder: a partition table, a filesystem, and in its root what is in the folder. All that was
 * on the disk is lost. What was copied is returned. `ENOSPC` when it does not fit.
 */
export async function makeFs(
  disk: BlockDevice,
  folder: SourceNode,
  options: MakeFsOptions = {},
): Promise<CopyCounts> {
  const { content } = folder
  if (content.type !== 'directory')
    throw new DrydiskError('ENOTDIR', `a disk is made of a folder; this is a ${content.type}`)
  const volume = await partition(disk, options.partition ?? 'gpt')
  const fs = await newFileSystem(volume, options)
  const guest = new MountedGuest(new MountTable({ fs, source: 'new volume' }))
  const counts: CopyCounts = { created: 0, changed: 0, firstNames: new Map() }
  for await (const child of content.children())
    await copyInto(guest, joinPath('/', child.name), child, counts)
  await guest.chown('/', folder.uid ?? 0, folder.gid ?? 0)
  await guest.chmod('/', folder.mode)
  if (folder.mtimeNs !== undefined) await guest.utimes('/', folder.mtimeNs, folder.mtimeNs)
  await fs.close()
  return counts
}

async function newFileSystem(volume: BlockDevice, options: MakeFsOptions): Promise<FileSystem> {
  const { label, uuid, features } = options
  const common = {
    ...(label === undefined ? {} : { label }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(features === undefined ? {} : { features }),
  }
  if (options.type === 'xfs') {
    await makeXfs(volume, common)
    return openXfs(volume, { writable: true })
  }
  await makeExt4(volume, common)
  return openExt4(volume, { writable: true })
}

async function partition(disk: BlockDevice, kind: 'gpt' | 'none'): Promise<BlockDevice> {
  if (kind === 'none') return disk
  const [placed] = await writeGpt(disk, [{ type: GPT_TYPE.linux }])
  if (!placed) throw new DrydiskError('ENOSPC', 'the disk is too small for a partition', { size: disk.size })
  return new SliceDevice(disk, placed.offset, placed.length)
}
