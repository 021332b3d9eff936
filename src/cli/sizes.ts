import { lstat, readdir } from 'node:fs/promises'
import { UsageError } from './errors.ts'

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
  P: 2 ** 50,
  E: 2 ** 60,
}

const MIB = 2 ** 20

/** As `parseSize`, where nothing is a size too; `undefined` for what is no size. */
export function sizeOf(text: string): number | undefined {
  const match = /^(?:(0x[\da-f]+)|(\d+(?:\.\d*)?)([KMGTPEB]?)(?:iB|B)?)$/i.exec(text.trim())
  if (match === null) return undefined
  const [, hexadecimal, decimal, unit = ''] = match
  const size = Math.floor(Number(hexadecimal ?? decimal) * (UNITS[unit.toUpperCase()] ?? 1))
  return Number.isSafeInteger(size) ? size : undefined
}

/** Bytes of `3G`, `512M`, `1048576`: units are powers of 1024, as in qemu-img and virt-make-fs. */
export function parseSize(text: string): number {
  const size = sizeOf(text)
  if (size === undefined || size === 0) throw new UsageError(`"${text}" is not a size such as 512M or 3G`)
  return size
}

/** Space that the files of a folder take on a filesystem with 4 KiB blocks, a file of several names once, and how many there are. */
export async function folderSize(folder: string): Promise<{ bytes: number; files: number }> {
  let bytes = 0
  let files = 0
  const seen = new Set<string>()
  const visit = async (path: Buffer): Promise<void> => {
    const stats = await lstat(path)
    files++
    const identity = `${stats.dev}:${stats.ino}`
    if (stats.isFile() && stats.nlink > 1 && seen.has(identity)) return
    if (stats.isFile() && stats.nlink > 1) seen.add(identity)
    bytes += Math.ceil(stats.size / 4096) * 4096
    if (!stats.isDirectory()) return
    for (const name of await readdir(path, { encoding: 'buffer' }))
      await visit(Buffer.concat([path, Buffer.from('/'), name]))
  }
  await visit(Buffer.from(folder))
  return { bytes, files }
}

/** A disk that holds so much with room for the filesystem's own structures, in whole MiB. */
export function diskSizeFor(
  { bytes, files }: { bytes: number; files: number },
  type: 'ext4' | 'xfs' = 'ext4',
): number {
  const inWhole = (wanted: number, least: number) => Math.ceil(Math.max(wanted, least * MIB) / MIB) * MIB
  // A file takes an inode of 512 bytes and ends in a block of 4 KiB; the log takes 64 MiB. With a partition table, 300 MiB are left.
  if (type === 'xfs') return inWhole(bytes * 1.1 + files * 4608 + 112 * MIB, 304)
  // Inode tables take 256 bytes for every 4 to 16 KiB, the journal 4 to 64 MiB; 5 % stay reserved for root.
  return inWhole(bytes * 1.2 + files * 1024 + 32 * MIB, 64)
}
