import { DrydiskError } from '../../errors.ts'
import type { AttributeChange, InodeStat } from '../filesystem.ts'
import { ATTR } from './directory-entry.ts'
import type { FatMountOptions } from './mount-options.ts'
import type { FatNode, FatVolume } from './volume.ts'

const ALL = 0o777
const WRITE = 0o222

/** What the mount says, and the read-only attribute of files; directories are shown as writable whatever theirs says, as in Linux. */
function modeOf(node: FatNode, options: FatMountOptions): number {
  if (node.isDirectory) return ALL & ~options.dmask
  const readOnly = ((node.entry?.DIR_Attr ?? 0) & ATTR.READ_ONLY) !== 0
  return ALL & ~options.fmask & (readOnly ? ~WRITE : ALL)
}

export async function attributesOf(volume: FatVolume, node: FatNode): Promise<InodeStat> {
  const { options, geometry } = volume
  const { entry } = node
  const modified = entry?.modified ?? 0n
  const common = {
    ino: node.ino,
    mode: modeOf(node, options),
    uid: options.uid,
    gid: options.gid,
    atime: entry?.accessed ?? 0n,
    mtime: modified,
    // FAT has one field for both.
    ctime: modified,
    ...(entry?.created === undefined ? {} : { birthtime: entry.created }),
    flags: 0,
    generation: 0,
  }
  if (node.isDirectory) {
    const directory = await volume.directory(node.ino)
    const { size } = directory
    return { ...common, type: 'directory', nlink: 2 + directory.index.directories, size, blocks: size / 512 }
  }
  const size = entry?.DIR_FileSize ?? 0
  const blocks = (geometry.clustersFor(size) * geometry.clusterSize) / 512
  return { ...common, type: 'file', nlink: 1, size, blocks }
}

/**
 * As Linux's vfat: another owner and mode bits beyond 0777 are `EPERM`. A mode that is neither all of what the mount gives nor the
 * same without any write permission is passed over in silence, as chmod(2) does there; ctime is mtime.
 */
export async function changeAttributes(
  volume: FatVolume,
  node: FatNode,
  change: AttributeChange,
): Promise<void> {
  const { options } = volume
  const { uid = options.uid, gid = options.gid, mode } = change
  if (uid !== options.uid || gid !== options.gid)
    throw new DrydiskError(
      'EPERM',
      `FAT keeps no owners: every file belongs to ${options.uid}:${options.gid}, not to ${uid}:${gid}`,
      { inode: node.ino },
    )
  if (mode !== undefined && (mode & ~ALL) !== 0)
    throw new DrydiskError('EPERM', `FAT keeps no setuid, setgid or sticky bit (mode 0${mode.toString(8)})`, {
      inode: node.ino,
    })
  if (node.entry === undefined) return
  const entry = await volume.editEntry(node.place)
  const readOnly = mode === undefined ? undefined : readOnlyOf(node, mode, options)
  if (readOnly === true) entry.DIR_Attr |= ATTR.READ_ONLY
  if (readOnly === false) entry.DIR_Attr &= ~ATTR.READ_ONLY
  if (change.atime !== undefined) entry.accessed = change.atime
  if (change.mtime !== undefined) entry.modified = change.mtime
}

/** Whether a mode makes a file read-only; `undefined` where FAT has no such mode. */
function readOnlyOf(node: FatNode, mode: number, { fmask }: FatMountOptions): boolean | undefined {
  const wanted = mode & ~fmask
  const writable = WRITE & ~fmask
  if (node.isDirectory || writable === 0 || (wanted & ~WRITE) !== (ALL & ~fmask & ~WRITE)) return undefined
  const write = wanted & WRITE
  return write === 0 ? true : write === writable ? false : undefined
}
