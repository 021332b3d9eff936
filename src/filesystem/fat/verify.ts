import { DrydiskError } from '../../errors.ts'
import { chainRuns } from './cluster-chain.ts'
import { ROOT_INODE } from './inode-numbers.ts'
import type { FatVolume } from './volume.ts'

/**
 * Looks through the whole tree: every chain ends, and no cluster is in two of them. An allocator that trusts a FAT entry of 0
 * on a cluster in use destroys data, and so does freeing one that another file has too. `ERR_CORRUPT` names what is wrong.
 *
 * Sizes that do not fit their chains and clusters that no file has are left to fsck.fat: they endanger no other file.
 * @returns how many clusters are in use by a file or directory.
 */
export async function requireSound(volume: FatVolume): Promise<number> {
  const { geometry, table, boot, numbers } = volume
  if (geometry.truncated)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `FAT: the filesystem has ${boot.totalSectors} sectors, more than its volume of ${volume.device.size} bytes`,
      { structure: 'boot sector' },
    )
  const media = (await table.get(0)) & 0xff
  if (media !== boot.BPB_Media)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `FAT: the first entry of the table has the media byte 0x${media.toString(16)}, the boot sector 0x${boot.BPB_Media.toString(16)}; run fsck.fat`,
      { structure: 'FAT' },
    )
  let count = 0
  const used = new Uint8Array(Math.ceil((geometry.clusters + 2) / 8))
  const mark = async (first: number, what: string) => {
    for await (const run of chainRuns(table, geometry, first, what)) {
      count += run.count
      for (let at = run.cluster; at < run.cluster + run.count; at++) {
        const bit = 1 << (at & 7)
        if (((used[at >> 3] ?? 0) & bit) !== 0)
          throw new DrydiskError(
            'ERR_CORRUPT',
            `FAT: cluster ${at} of ${what} belongs to another file as well; run fsck.fat`,
            { structure: 'cluster chain', cluster: at },
          )
        used[at >> 3] = (used[at >> 3] ?? 0) | bit
      }
    }
  }
  if (geometry.rootCluster !== 0) await mark(geometry.rootCluster, 'the root directory')
  const pending = [ROOT_INODE]
  for (let ino = pending.pop(); ino !== undefined; ino = pending.pop()) {
    const directory = await volume.directory(ino)
    for (const { short, isDirectory } of directory.index.entries()) {
      const place = directory.placeOf(short)
      const child = numbers.at(place)
      const first = (await volume.readEntry(place)).cluster(geometry.bits)
      if (first !== 0) await mark(first, `${isDirectory ? 'directory' : 'file'} ${child}`)
      if (!isDirectory) continue
      numbers.setParent(child, ino)
      pending.push(child)
    }
  }
  return count
}
