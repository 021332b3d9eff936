import { DrydiskError } from '../../errors.ts'
import { zstdFrame } from './zstd-frame.ts'

/** Decompresses one cluster of `size` bytes: `from` may have padding after the stream. Errors: `ERR_CORRUPT`. */
export type Decompress = (from: Uint8Array, size: number) => Uint8Array

/** Compresses one cluster; `undefined` when it would not become smaller, and is better stored as it is. */
export type Compress = (cluster: Uint8Array) => Uint8Array | undefined

/** What of node:zlib is used. */
export interface NodeZlib {
  inflateRawSync(from: Uint8Array, options: object): Uint8Array
  deflateRawSync(from: Uint8Array, options: object): Uint8Array
  zstdDecompressSync?(from: Uint8Array, options: object): Uint8Array
  zstdCompressSync?(from: Uint8Array, options: object): Uint8Array
  deflateRaw(from: Uint8Array, options: object, done: Compressed): void
  zstdCompress?(from: Uint8Array, options: object, done: Compressed): void
  readonly constants: { readonly Z_SYNC_FLUSH: number; readonly ZSTD_c_compressionLevel?: number }
}

type Compressed = (error: Error | null, bytes: Uint8Array) => void

/** node:zlib where there is a Node, without an import that a browser's bundler would stumble over. */
export function nodeZlib(): NodeZlib | undefined {
  const host = globalThis as { process?: { getBuiltinModule?(name: string): unknown } }
  return host.process?.getBuiltinModule?.('node:zlib') as NodeZlib | undefined
}

/**
 * The decompressor of a qcow2 compression type: the native one where there is one, else JavaScript's, loaded when needed.
 * @param portable JavaScript's in any case.
 * @param least whether a stream that holds less than `size` bytes is an error (`whole`), or all that there is (`part`).
 */
export async function loadDecompressor(
  type: 'zlib' | 'zstd',
  portable = false,
  least: Least = 'whole',
): Promise<Decompress> {
  const zlib = portable ? undefined : nodeZlib()
  if (type === 'zlib') return zlib === undefined ? portableInflate(least) : nativeInflate(zlib, least)
  return zlib?.zstdDecompressSync === undefined ? portableZstd(least) : nativeZstd(zlib, least)
}

type Least = 'whole' | 'part'

/** qcow2 deflates with a window of 12 bits: a stream made with a larger one does not read back. */
const WINDOW_BITS = 12

/** qemu's level of zstd, which is zstd's own default. */
const ZSTD_LEVEL = 3

/**
 * The compressor of a qcow2 compression type: the native one where there is one, else WebAssembly's (zstd) or JavaScript's
 * (zlib), loaded when needed.
 * @param portable not the native one in any case.
 * @param level zlib: 1 to 9; zstd: 1 to 19. What is best for most when left out.
 */
export async function loadCompressor(
  type: 'zlib' | 'zstd',
  portable = false,
  level?: number,
): Promise<Compress> {
  const zlib = portable ? undefined : nodeZlib()
  const compress =
    type === 'zlib'
      ? zlib === undefined
        ? await portableDeflate(level)
        : nativeDeflate(zlib, level)
      : zlib?.zstdCompressSync === undefined
        ? await portableZstdCompress(level)
        : nativeZstdCompress(zlib, level)
  return cluster => {
    const bytes = compress(cluster)
    return bytes.length < cluster.length ? bytes : undefined
  }
}

/**
 * Options of qcow2's deflate, for node:zlib and pako. Level 4 takes two thirds of the time of level 6, zlib's default, and gives
 * one percent more bytes.
 */
export const DEFLATE_OPTIONS = { windowBits: WINDOW_BITS, memLevel: 9, level: 4 }

/** Options of zstd for node:zlib, for clusters of `size` bytes. */
export function zstdOptions(zlib: NodeZlib, size: number, level = ZSTD_LEVEL): object {
  return {
    params: { [zlib.constants.ZSTD_c_compressionLevel ?? 100]: level },
    chunkSize: oneChunk(size),
  }
}

function nativeDeflate(zlib: NodeZlib, level = DEFLATE_OPTIONS.level): (cluster: Uint8Array) => Uint8Array {
  return cluster =>
    zlib.deflateRawSync(cluster, { ...DEFLATE_OPTIONS, level, chunkSize: oneChunk(cluster.length) })
}

/** Room for any outcome of a cluster: joining several chunks costs a third of the decompression. */
function oneChunk(size: number): number {
  return size + (size >>> 8) + 128
}

async function portableDeflate(level = DEFLATE_OPTIONS.level): Promise<(cluster: Uint8Array) => Uint8Array> {
  const { deflateRaw } = await import('pako')
  return cluster => deflateRaw(cluster, { ...DEFLATE_OPTIONS, level })
}

function nativeZstdCompress(zlib: NodeZlib, level?: number): (cluster: Uint8Array) => Uint8Array {
  return cluster => zlib.zstdCompressSync?.(cluster, zstdOptions(zlib, cluster.length, level)) ?? cluster
}

async function portableZstdCompress(level = ZSTD_LEVEL): Promise<(cluster: Uint8Array) => Uint8Array> {
  const { wasm, compression } = await loadZstdWasm()
  return cluster => wasm.compressUsingDict(compression, cluster, NO_DICTIONARY, level)
}

const NO_DICTIONARY = new Uint8Array()

interface ZstdWasm {
  readonly wasm: typeof import('@bokuweb/zstd-wasm')
  readonly compression: number
  readonly decompression: number
}

let zstdWasm: Promise<ZstdWasm> | undefined

/** One instance per thread, however many codecs use it. Contexts that are used again spare their setting up. */
function loadZstdWasm(): Promise<ZstdWasm> {
  zstdWasm ??= (async () => {
    const wasm = await import('@bokuweb/zstd-wasm')
    await wasm.init()
    return { wasm, compression: wasm.createCCtx(), decompression: wasm.createDCtx() }
  })()
  return zstdWasm
}

function wrong(what: string, cause?: unknown): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `a compressed cluster ${what}`,
    { structure: 'compressed cluster' },
    cause,
  )
}

/** The error of a decompressor, with the place: `name` of the file and byte offset of the stream. */
export function atCluster(error: unknown, name: string, offset: number): unknown {
  if (!(error instanceof DrydiskError)) return error
  return new DrydiskError(
    error.code,
    `${name}: at byte ${offset}, ${error.message}. The file is damaged or was cut short; take another copy of it`,
    { ...error.context, path: name, offset },
    error,
  )
}

function ofSize(bytes: Uint8Array, size: number, least: Least): Uint8Array {
  if (bytes.length > size || (least === 'whole' && bytes.length < size))
    throw wrong(`holds ${bytes.length} bytes, and a cluster is ${size}`)
  return bytes
}

function nativeInflate(zlib: NodeZlib, least: Least): Decompress {
  return (from, size) => {
    try {
      // Without Z_SYNC_FLUSH a stream that fills the cluster exactly but lacks its end mark would be an error; qemu takes it.
      return ofSize(
        zlib.inflateRawSync(from, {
          maxOutputLength: size,
          finishFlush: zlib.constants.Z_SYNC_FLUSH,
          chunkSize: oneChunk(size),
        }),
        size,
        least,
      )
    } catch (error) {
      throw error instanceof DrydiskError ? error : wrong('is no deflate stream of one cluster', error)
    }
  }
}

async function portableInflate(least: Least): Promise<Decompress> {
  const { Inflate } = await import('pako')
  return (from, size) => {
    const output = new Uint8Array(size)
    let filled = 0
    const inflate = new Inflate({ raw: true, chunkSize: Math.min(size, 65_536) })
    inflate.onData = chunk => {
      const bytes = chunk as Uint8Array
      if (filled + bytes.length > size) throw wrong('holds more than a cluster')
      output.set(bytes, filled)
      filled += bytes.length
    }
    inflate.push(from, 2)
    if (least === 'whole' ? filled !== size : inflate.err < 0)
      throw wrong(`holds ${filled} bytes, and a cluster is ${size} (${inflate.msg || 'no message'})`)
    return output.subarray(0, filled)
  }
}

type DecodeFrame = (bytes: Uint8Array, most: number) => Uint8Array

/** Frame by frame: padding follows the last one, and a cluster may be made of several. */
function zstd(decode: DecodeFrame, least: Least): Decompress {
  return (from, size) => {
    const parts: Uint8Array[] = []
    let filled = 0
    for (let at = 0; filled < size; ) {
      const frame = zstdFrame(from, at)
      if (frame === undefined && least === 'part' && parts.length > 0) break
      if (frame === undefined) throw wrong(`ends after ${filled} of ${size} bytes`)
      at = frame.end
      if (frame.skippable) continue
      // A decoder may take memory for what the frame claims before it looks at the rest.
      if ((frame.contentSize ?? 0) > size - filled) throw wrong('holds more than a cluster')
      let part: Uint8Array
      try {
        part = decode(from.subarray(frame.start, frame.end), size - filled)
      } catch (error) {
        throw wrong('is no zstd stream of one cluster', error)
      }
      filled += part.length
      if (filled > size) throw wrong('holds more than a cluster')
      parts.push(part)
    }
    const [only] = parts
    if (parts.length === 1 && only !== undefined) return only
    const output = new Uint8Array(filled)
    let offset = 0
    for (const part of parts) {
      output.set(part, offset)
      offset += part.length
    }
    return output
  }
}

function nativeZstd(zlib: NodeZlib, least: Least): Decompress {
  return zstd(
    (frame, most) =>
      zlib.zstdDecompressSync?.(frame, { maxOutputLength: most, chunkSize: Math.max(most, 64) }) ??
      new Uint8Array(),
    least,
  )
}

async function portableZstd(least: Least): Promise<Decompress> {
  const { wasm, decompression } = await loadZstdWasm()
  // The heap size is for frames that do not say how much they hold.
  return zstd(
    (frame, most) => wasm.decompressUsingDict(decompression, frame, NO_DICTIONARY, { defaultHeapSize: most }),
    least,
  )
}
