import type { BlockDevice } from '../device/block-device.ts'
import { SliceDevice } from '../device/slice-device.ts'
import { DrydiskError } from '../errors.ts'
import { makeExt4 } from '../filesystem/ext4/mkfs.ts'
import { openExt4 } from '../filesystem/ext4/open.ts'
import { MountTable } from '../guest/mount-table.ts'
import { MountedGuest } from '../guest/mounted-guest.ts'
import { GPT_TYPE } from '../volume/partition-types.ts'
import { writeGpt } from '../volume/write-gpt.ts'
import { type CopyCounts, copyInto } from './copy-tree.ts'
import { joinPath } from './guest-files.ts'
import type { SourceNode } from './source-tree.ts'

export interface MakeFsOptions {
  /** `gpt`: one partition, aligned to 1 MiB. `none`: the filesystem fills the disk. Default `gpt`. */
  readonly partition?: 'gpt' | 'none'
  /** Up to 16 bytes of UTF-8. */
  readonly label?: string
  /** Of the filesystem; random when left out. */
  readonly uuid?: string
}

/**
 * Makes a new disk of a folder: a partition table, an ext4 filesystem, and in its root what is in the folder. All that was
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
  await makeExt4(volume, {
    ...(options.label === undefined ? {} : { label: options.label }),
    ...(options.uuid === undefined ? {} : { uuid: options.uuid }),
  })
  const fs = await openExt4(volume, { writable: true })
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

async function partition(disk: BlockDevice, kind: 'gpt' | 'none'): Promise<BlockDevice> {
  if (kind === 'none') return disk
  const [placed] = await writeGpt(disk, [{ type: GPT_TYPE.linux }])
  if (!placed) throw new DrydiskError('ENOSPC', 'the disk is too small for a partition', { size: disk.size })
  return new SliceDevice(disk, placed.offset, placed.length)
}
