import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import type { FileSystem } from './filesystem.ts'
import { type Probe, probe } from './probe.ts'

/** Whether drydisk reads a filesystem of that type. */
export function isSupported(type: string): boolean {
  return isWritable(type) || type === 'btrfs'
}

/** Whether drydisk also writes a filesystem of that type. */
export function isWritable(type: string): boolean {
  return type === 'ext2' || type === 'ext3' || type === 'ext4' || type === 'vfat' || type === 'xfs'
}

/** Why a volume cannot be opened as a filesystem, in words that follow its name. */
export function whyUnsupported(found: Probe | undefined): string {
  if (!found) return 'holds no filesystem that drydisk knows'
  if (found.usage === 'encrypted') return `is encrypted (${found.type}), which drydisk does not open`
  if (found.type === 'LVM2_member') return 'is a physical volume of LVM, and itself holds no filesystem'
  if (found.usage === 'container') return `is part of a ${found.type}, which drydisk does not open`
  if (found.usage === 'swap') return 'is swap space'
  return `holds ${found.type}, which drydisk does not read or write: only ext2, ext3, ext4, XFS and FAT, and btrfs for reading`
}

/**
 * Opens the filesystem on a volume by its signature. `ERR_UNSUPPORTED` names what is there instead.
 * The device's `writable` has to be true for `writable`.
 * @param options.mountOptions as in the fourth field of fstab(5): what a filesystem without owners and modes shows for them,
 * and which subvolume of btrfs is meant.
 */
export async function openFileSystem(
  device: BlockDevice,
  options: { writable: boolean; found?: Probe | undefined; mountOptions?: readonly string[] },
): Promise<FileSystem> {
  const found = options.found ?? (await probe(device))
  if (!found || !isSupported(found.type))
    throw new DrydiskError('ERR_UNSUPPORTED', `the volume ${whyUnsupported(found)}`, { type: found?.type })
  if (found.type === 'vfat') {
    const { openFat } = await import('./fat/open.ts')
    const { writable, mountOptions = [] } = options
    return openFat(device, { writable, mountOptions })
  }
  if (found.type === 'btrfs') {
    const { openBtrfs } = await import('./btrfs/open.ts')
    const { writable, mountOptions = [] } = options
    return openBtrfs(device, { writable, mountOptions })
  }
  if (found.type === 'xfs') {
    const { openXfs } = await import('./xfs/open.ts')
    return openXfs(device, { writable: options.writable })
  }
  const { openExt4 } = await import('./ext4/open.ts')
  return openExt4(device, { writable: options.writable })
}
