import { equalBytes } from '../bytes/compare.ts'
import { DrydiskError } from '../errors.ts'
import { atCluster, type Compress, type Decompress, loadDecompressor } from '../image/compression/codec.ts'
import { clusterCompressor } from './cluster-compressor.ts'
import { GatheredWrites } from './gathered-writes.ts'
import type { ClusterSettings, Loaded, Segment, Task } from './task.ts'
import { dataMask, dataParts, readsAsZero } from './zero-blocks.ts'

/** Input and output of tasks: at once where that is cheap (in a worker), or later. */
export interface TaskIo {
  /** Fills all of `into`; past the end of the storage with zeros. */
  read(file: number, offset: number, into: Uint8Array): Promise<void> | void
  /** For messages. */
  name(file: number): string
  readDevice(device: number, offset: number, into: Uint8Array): Promise<void> | void
  write(offset: number, from: Uint8Array): Promise<void> | void
  /** Memory for what is written, of so many bytes or more. */
  allocate(length: number): Uint8Array
  /** What the target's backing file has there: clusters equal to it are left out. */
  readBacking?(offset: number, into: Uint8Array): Promise<void>
}

/** Compressed clusters that lie close together are read together, up to this many bytes. */
const MAX_READ = 1 << 20
const MAX_GAP = 16 << 10

export interface Buffers {
  /** What the segments fill. */
  data: Uint8Array
  /** Compressed clusters, one behind the other. */
  packed: Uint8Array
}

/** What was loaded for a task, until it is stored. */
interface Pending extends Buffers {
  readonly lengths: Int32Array
}

/** Carries tasks out with one kind of input and output. */
export class TaskRunner {
  readonly #io: TaskIo
  readonly #settings: ClusterSettings
  readonly #pending = new Map<Task, Pending>()
  readonly #spare: Buffers[] = []
  readonly #decompressors = new Map<string, Decompress>()
  #compress: Compress | undefined
  /** The cluster decompressed last: a small target cluster takes a part of it at a time. */
  #last: { readonly file: number; readonly host: number; readonly bytes: Uint8Array } | undefined

  constructor(io: TaskIo, settings: ClusterSettings) {
    this.#io = io
    this.#settings = settings
  }

  async load(task: Task): Promise<Loaded> {
    const { clusterSize, subclusters, compress } = this.#settings
    const buffers = this.#takeBuffers(task)
    await this.#fill(task, buffers.data)
    let count = 0
    for (const run of task.runs) if (run.kind !== 'zero') count += run.length / clusterSize
    const lengths = new Int32Array(count)
    const masks = subclusters > 1 ? new Uint32Array(count) : undefined
    if (compress !== undefined) this.#compress ??= await clusterCompressor(compress)
    let index = 0
    let at = 0
    let packed = 0
    for (const run of task.runs) {
      if (run.kind === 'zero') continue
      if (run.kind === 'stored') {
        await this.#loadStored(run.clusters, buffers, packed)
        for (const cluster of run.clusters) {
          lengths[index++] = cluster.length
          packed += cluster.length
        }
        continue
      }
      const bytes = buffers.data.subarray(at, at + run.length)
      const keep = this.#clustersToKeep(bytes)
      const same = await this.#sameAsBacking(run.offset, bytes)
      if (same === undefined && masks === undefined && this.#compress === undefined) {
        const count = run.length / clusterSize
        if (keep === undefined) lengths.fill(clusterSize, index, index + count)
        else
          for (let within = 0; within < count; within++)
            if (keep[within] === 1) lengths[index + within] = clusterSize
        index += count
        at += run.length
        continue
      }
      for (let within = 0; within < run.length; within += clusterSize, index++) {
        if (same?.[within / clusterSize] === 1) {
          lengths[index] = -1
          continue
        }
        if (keep !== undefined && keep[within / clusterSize] !== 1) continue
        const cluster = buffers.data.subarray(at + within, at + within + clusterSize)
        const stream = this.#compress?.(cluster)
        lengths[index] = stream?.length ?? clusterSize
        if (masks !== undefined)
          masks[index] = this.#settings.sparseSize === 0 ? 0xffff_ffff : dataMask(cluster)
        if (stream === undefined) continue
        buffers.packed = grown(buffers.packed, packed, packed + stream.length, task.length)
        buffers.packed.set(stream, packed)
        packed += stream.length
      }
      at += run.length
    }
    this.#pending.set(task, { ...buffers, lengths })
    return masks === undefined ? { lengths } : { lengths, masks }
  }

  /** 1 for each cluster that has to be written; `undefined`: all of them. */
  #clustersToKeep(bytes: Uint8Array): Uint8Array | undefined {
    const { sparseSize, clusterSize } = this.#settings
    if (sparseSize === 0) return undefined
    const keep = new Uint8Array(bytes.length / clusterSize)
    for (let index = 0, start = 0; index < keep.length; index++, start += clusterSize)
      // A view costs more than a look at a byte.
      if (bytes[start] !== 0 || !readsAsZero(bytes.subarray(start, start + clusterSize))) keep[index] = 1
    // Zeros between data that are not worth leaving out.
    const most = Math.floor((sparseSize - 1) / clusterSize)
    for (let from = keep.indexOf(1); most > 0 && from >= 0; ) {
      const next = keep.indexOf(1, from + 1)
      if (next > from + 1 && next - from - 1 <= most) keep.fill(1, from, next)
      from = next
    }
    return keep
  }

  /** 1 for each cluster that the backing file has already. */
  async #sameAsBacking(offset: number, bytes: Uint8Array): Promise<Uint8Array | undefined> {
    if (this.#io.readBacking === undefined) return undefined
    const { clusterSize } = this.#settings
    const backing = new Uint8Array(bytes.length)
    await this.#io.readBacking(offset, backing)
    const same = new Uint8Array(bytes.length / clusterSize)
    for (let index = 0; index < same.length; index++) {
      const start = index * clusterSize
      if (
        equalBytes(bytes.subarray(start, start + clusterSize), backing.subarray(start, start + clusterSize))
      )
        same[index] = 1
    }
    return same
  }

  async store(task: Task, hosts: Float64Array): Promise<number> {
    const pending = this.#pending.get(task)
    if (pending === undefined) return 0
    this.#pending.delete(task)
    const { clusterSize } = this.#settings
    const { lengths, data, packed } = pending
    const writes = new GatheredWrites(this.#io)
    let index = 0
    let at = 0
    let packedAt = 0
    for (const run of task.runs) {
      if (run.kind === 'zero') continue
      for (let within = 0; within < run.length; within += clusterSize, index++) {
        const length = lengths[index] ?? 0
        const host = hosts[index] ?? -1
        if (length > 0 && length < clusterSize) {
          if (host >= 0) writes.add(host, packed, packedAt, length)
          packedAt += length
        } else if (host >= 0) writes.add(host, data, at + within, clusterSize)
      }
      if (run.kind === 'buffer') at += run.length
    }
    const written = await writes.finish()
    this.#spare.push(pending)
    return written
  }

  /** The task's buffer; give it back with `release`. */
  async read(task: Task): Promise<Buffers> {
    const buffers = this.#takeBuffers(task)
    await this.#fill(task, buffers.data)
    return buffers
  }

  release(buffers: Buffers): void {
    this.#spare.push(buffers)
  }

  async copy(task: Task): Promise<number> {
    const buffers = this.#takeBuffers(task)
    await this.#fill(task, buffers.data)
    const writes = new GatheredWrites(this.#io)
    let at = 0
    for (const { offset, length } of task.runs) {
      const parts = dataParts(buffers.data.subarray(at, at + length), offset, this.#settings.sparseSize)
      for (let index = 0; index < parts.length; index += 2) {
        const start = parts[index] ?? 0
        writes.add(offset + start, buffers.data, at + start, (parts[index + 1] ?? start) - start)
      }
      at += length
    }
    const written = await writes.finish()
    this.#spare.push(buffers)
    return written
  }

  #takeBuffers(task: Task): Buffers {
    const buffers = this.#spare.pop() ?? { data: new Uint8Array(0), packed: new Uint8Array(0) }
    if (buffers.data.length < task.length) buffers.data = this.#io.allocate(task.length)
    return buffers
  }

  async #fill(task: Task, data: Uint8Array): Promise<void> {
    const { segments } = task
    let filled = 0
    for (let index = 0; index < segments.length; ) {
      const segment = segments[index]
      if (segment === undefined) break
      if (segment.at > filled) data.fill(0, filled, segment.at)
      if (segment.kind === 'compressed') {
        const count = await this.#decompressSome(segments, index, data)
        const last = segments[index + count - 1] ?? segment
        filled = last.at + last.length
        index += count
        continue
      }
      const into = data.subarray(segment.at, segment.at + segment.length)
      if (segment.kind === 'device') await this.#io.readDevice(segment.file, segment.host, into)
      else await this.#io.read(segment.file, segment.host, into)
      filled = segment.at + segment.length
      index++
    }
    if (filled < task.length) data.fill(0, filled, task.length)
  }

  /** Decompresses the segments from `first` that one read brings. @returns how many. */
  async #decompressSome(segments: readonly Segment[], first: number, data: Uint8Array): Promise<number> {
    const start = segments[first]
    if (start?.kind !== 'compressed') return 0
    let end = start.host + start.stored
    let next = first + 1
    for (; next < segments.length; next++) {
      const segment = segments[next]
      // Gaps between compressed segments are filled with zeros where they are looked at one by one.
      const before = segments[next - 1]
      if (segment?.kind !== 'compressed' || before === undefined || segment.file !== start.file) break
      if (segment.at !== before.at + before.length) break
      if (segment.host < start.host || segment.host > end + MAX_GAP) break
      if (segment.host + segment.stored - start.host > MAX_READ) break
      end = Math.max(end, segment.host + segment.stored)
    }
    const bytes = new Uint8Array(end - start.host)
    await this.#io.read(start.file, start.host, bytes)
    for (let index = first; index < next; index++) {
      const segment = segments[index]
      if (segment?.kind !== 'compressed') continue
      const from = segment.host - start.host
      const cluster = await this.#decompress(segment, bytes.subarray(from, from + segment.stored))
      data.set(
        segment.length === cluster.length
          ? cluster
          : cluster.subarray(segment.within, segment.within + segment.length),
        segment.at,
      )
    }
    return next - first
  }

  async #decompress(
    segment: Extract<Segment, { kind: 'compressed' }>,
    stored: Uint8Array,
  ): Promise<Uint8Array> {
    const { file, host, compression, clusterSize } = segment
    if (this.#last?.file === file && this.#last.host === host) return this.#last.bytes
    let decompress = this.#decompressors.get(compression)
    if (decompress === undefined) {
      decompress = await loadDecompressor(compression)
      this.#decompressors.set(compression, decompress)
    }
    let bytes: Uint8Array
    try {
      bytes = decompress(stored, clusterSize)
    } catch (error) {
      throw atCluster(error, this.#io.name(file), host)
    }
    this.#last = { file, host, bytes }
    return bytes
  }

  /** Reads compressed clusters as they are, those that follow each other in one piece. */
  async #loadStored(
    clusters: readonly { readonly file: number; readonly host: number; readonly length: number }[],
    buffers: Buffers,
    packed: number,
  ): Promise<void> {
    let total = packed
    for (const { length } of clusters) total += length
    buffers.packed = grown(buffers.packed, packed, total, total)
    let at = packed
    for (let first = 0; first < clusters.length; ) {
      const start = clusters[first]
      if (start === undefined) throw new DrydiskError('EINVAL', 'no cluster to copy')
      let length = start.length
      let next = first + 1
      for (; next < clusters.length; next++) {
        const cluster = clusters[next]
        if (cluster?.file !== start.file || cluster.host !== start.host + length) break
        length += cluster.length
      }
      await this.#io.read(start.file, start.host, buffers.packed.subarray(at, at + length))
      at += length
      first = next
    }
  }
}

/** The buffer, or a larger one with what it holds up to `used`. */
function grown(bytes: Uint8Array, used: number, needed: number, guess: number): Uint8Array {
  if (needed <= bytes.length) return bytes
  const larger = new Uint8Array(Math.max(needed, Math.min(2 * bytes.length, guess), Math.ceil(guess / 2)))
  larger.set(bytes.subarray(0, used))
  return larger
}
