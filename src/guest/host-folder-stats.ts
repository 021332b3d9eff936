import type { BigIntStats } from 'node:fs'
import type { GuestStats } from './guest-fs.ts'
import { Stats, typeOfMode } from './guest-stats.ts'

/** What node:fs says of a file of the host, as a guest's. */
export function guestStats(stats: BigIntStats): GuestStats {
  const rdev = stats.rdev
  return new Stats(
    {
      ino: Number(stats.ino),
      type: typeOfMode(Number(stats.mode)),
      mode: Number(stats.mode) & 0o7777,
      uid: Number(stats.uid),
      gid: Number(stats.gid),
      nlink: Number(stats.nlink),
      size: Number(stats.size),
      blocks: Number(stats.blocks),
      atime: stats.atimeNs,
      mtime: stats.mtimeNs,
      ctime: stats.ctimeNs,
      // gnu_dev_major and gnu_dev_minor of glibc (sys/sysmacros.h).
      rdev: {
        major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
        minor: Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn)),
      },
    },
    Number(stats.dev),
  )
}
