import { DIFLAG, type Dinode, type Fork } from '../dinode.ts'
import { corrupt, unsupported } from '../errors.ts'

/** Which of an inode's forks. */
export type WhichFork = 'data' | 'attribute'

/** The fork as the inode has it now. */
export function forkOf(inode: Dinode, which: WhichFork): Fork {
  const fork = which === 'data' ? inode.data : inode.attributes
  if (fork === undefined)
    throw corrupt('inode', `inode ${inode.ino} has no attribute fork, and one is needed`, {
      inode: inode.ino,
    })
  return fork
}

export function setExtentCount(inode: Dinode, which: WhichFork, count: number): void {
  if (which === 'data') inode.dataExtents = count
  else inode.attributeExtents = count
}

export function setForkFormat(inode: Dinode, which: WhichFork, format: number): void {
  if (which === 'data') inode.di_format = format
  else inode.di_aformat = format
}

/** `ERR_UNSUPPORTED` for a file whose blocks are counted on another device. */
export function requireOnVolume(inode: Dinode, which: WhichFork): void {
  if (which === 'data' && (inode.di_flags & DIFLAG.REALTIME) !== 0)
    throw unsupported(
      `the content of inode ${inode.ino} is on the real-time device, which is not in this volume`,
      { inode: inode.ino },
    )
}
