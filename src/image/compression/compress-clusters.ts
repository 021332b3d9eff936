import { DEFLATE_OPTIONS, loadCompressor, nodeZlib, zstdOptions } from './codec.ts'

/** Compressions under way at once: libuv has four threads, and each compression takes memory. */
const AT_ONCE = 4
/** One after another is compressed for so long without a pause: several clusters of 64 KiB. */
const SLICE_MS = 25

/** Compresses clusters, in order; `undefined` for one that would not become smaller. */
export type CompressClusters = (
  clusters: readonly Uint8Array[],
) => Promise<readonly (Uint8Array | undefined)[]>

/** A compressor of many clusters that uses several threads where node:zlib offers them. */
export async function loadClustersCompressor(type: 'zlib' | 'zstd'): Promise<CompressClusters> {
  const zlib = nodeZlib()
  if (zlib !== undefined && (type === 'zlib' || zlib.zstdCompress !== undefined))
    return clusters =>
      pooled(
        clusters,
        cluster =>
          new Promise((resolve, reject) => {
            const done = (error: Error | null, bytes: Uint8Array): void =>
              error === null ? resolve(bytes.length < cluster.length ? bytes : undefined) : reject(error)
            if (type === 'zlib') zlib.deflateRaw(cluster, DEFLATE_OPTIONS, done)
            else zlib.zstdCompress?.(cluster, zstdOptions(zlib, cluster.length), done)
          }),
      )
  const compress = await loadCompressor(type)
  return clusters => inSlices(clusters, compress)
}

/** Without threads, whatever else the program has to do comes in between: 50 ms is what a page may take at most (W3C Long Tasks). */
async function inSlices<T, R>(items: readonly T[], work: (item: T) => R): Promise<R[]> {
  const results: R[] = []
  let since = performance.now()
  for (const item of items) {
    results.push(work(item))
    if (performance.now() - since < SLICE_MS) continue
    await new Promise(resolve => setTimeout(resolve))
    since = performance.now()
  }
  return results
}

async function pooled<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length)
  let next = 0
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      const item = items[index]
      if (item !== undefined) results[index] = await work(item)
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, worker))
  return results
}
