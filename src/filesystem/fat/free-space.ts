import type { ByteRange } from '../filesystem.ts'
import { requireSound } from './verify.ts'
import type { FatVolume } from './volume.ts'

/**
 * The free clusters, as bytes of the volume. A cluster is free when every FAT that is kept says so: after a crash one of them may
 * be older, and others may read that one. `ERR_CORRUPT` when a file has a cluster that is free, or two files have the same.
 * Nothing may wait to be written.
 */
export async function* freeRanges(volume: FatVolume): AsyncIterable<ByteRange> {
  await requireSound(volume)
  const { geometry, table } = volume
  const used = new Uint8Array(Math.ceil((geometry.clusters + 2) / 8))
  for (const fat of geometry.writtenFats)
    await table.scan(fat, (cluster, next) => {
      if (next !== 0) used[cluster >> 3] = (used[cluster >> 3] ?? 0) | (1 << (cluster & 7))
    })
  const end = geometry.clusters + 2
  const isFree = (cluster: number) => ((used[cluster >> 3] ?? 0) & (1 << (cluster & 7))) === 0
  for (let cluster = 2; cluster < end; ) {
    if (!isFree(cluster)) {
      cluster++
      continue
    }
    const first = cluster
    while (cluster < end && isFree(cluster)) cluster++
    yield { offset: geometry.offsetOf(first), length: (cluster - first) * geometry.clusterSize }
  }
}
