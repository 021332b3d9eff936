import { DrydiskError } from '../../errors.ts'
import { zstdFrame } from './zstd-frame.ts'

/** Decompresses one cluster: `from` may have padding after the stream. Errors: `ERR_CORRUPT`. */
export type Decompress = (from: Uint8Array, size: number) => Uint8Array

/** Compresses one cluster; `undefined` when it would not become smaller, and is better stored as it is. */
export type Compress = (cluster: Uint8Array) => Uint8Array | undefined

interface NodeZlib {
  inflateRawSync(from: Uint8Array, options: object): Uint8Array
  deflateRawSync(from: Uint8Array, options: object): Uint8Array
  zstdDecompressSync?(from: Uint8Array, options: object): Uint8Array
  readonly constants: { readonly Z_SYNC_FLUSH: number }
}

/** node:zlib where there is a Node, without an import that a browser's bundler would stumble over. */
function nodeZlib(): NodeZlib | undefined {
  const host = globalThis as { process?: { getBuiltinModule?(name: string): unknown } }
  return host.process?.getBuiltinModule?.('node:zlib') as NodeZlib | undefined
}

/**
 * The decompressor of a qcow2 compression type: the native one where there is one, else JavaScript's, loaded when needed.
 * @param portable JavaScript's in any case.
 */
export async function loadDecompressor(type: 'zlib' | 'zstd', portable = false): Promise<Decompress> {
  const zlib = portable ? undefined : nodeZlib()
  if (type === 'zlib') return zlib === undefined ? portableInflate() : nativeInflate(zlib)
  return zlib?.zstdDecompressSync === undefined ? portableZstd() : nativeZstd(zlib)
}

/** qcow2 deflates with a window of 12 bits: a stream made with a larger one does not read back. */
const WINDOW_BITS = 12

/**
 * The compressor of a qcow2 compression type.
 * Errors: `ERR_UNSUPPORTED` where there is none for the type.
 */
export async function loadCompressor(type: 'zlib' | 'zstd'): Promise<Compress> {
  const zlib = nodeZlib()
  if (type !== 'zlib' || zlib === undefined)
    throw new DrydiskError('ERR_UNSUPPORTED', `no ${type} compressor here`, { feature: type })
  return cluster => {
    const bytes = zlib.deflateRawSync(cluster, { windowBits: WINDOW_BITS, memLevel: 9, level: 4 })
    return bytes.length < cluster.length ? bytes : undefined
  }
}

function wrong(what: string, cause?: unknown): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `a compressed cluster ${what}`,
    { structure: 'compressed cluster' },
    cause,
  )
}

function ofSize(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length !== size) throw wrong(`holds ${bytes.length} bytes, and a cluster is ${size}`)
  return bytes
}

function nativeInflate(zlib: NodeZlib): Decompress {
  return (from, size) => {
    try {
      // Without Z_SYNC_FLUSH a stream that fills the cluster exactly but lacks its end mark would be an error; qemu takes it.
      return ofSize(
        zlib.inflateRawSync(from, { maxOutputLength: size, finishFlush: zlib.constants.Z_SYNC_FLUSH }),
        size,
      )
    } catch (error) {
      throw error instanceof DrydiskError ? error : wrong('is no deflate stream of one cluster', error)
    }
  }
}

async function portableInflate(): Promise<Decompress> {
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
    if (filled !== size)
      throw wrong(`holds ${filled} bytes, and a cluster is ${size} (${inflate.msg || 'no message'})`)
    return output
  }
}

/** Frame by frame: padding follows the last one, and a cluster may be made of several. */
function zstd(decode: (frame: Uint8Array, most: number) => Uint8Array): Decompress {
  return (from, size) => {
    const parts: Uint8Array[] = []
    let filled = 0
    for (let at = 0; filled < size; ) {
      const frame = zstdFrame(from, at)
      if (frame === undefined) throw wrong(`ends after ${filled} of ${size} bytes`)
      at = frame.end
      if (frame.skippable) continue
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
    const output = new Uint8Array(size)
    let offset = 0
    for (const part of parts) {
      output.set(part, offset)
      offset += part.length
    }
    return output
  }
}

function nativeZstd(zlib: NodeZlib): Decompress {
  return zstd(
    (frame, most) => zlib.zstdDecompressSync?.(frame, { maxOutputLength: most }) ?? new Uint8Array(),
  )
}

async function portableZstd(): Promise<Decompress> {
  const { Decompress: Stream } = await import('fzstd')
  // The stream hands over block by block. The one-shot call would not say how much it decoded, nor stop at a bomb.
  return zstd((frame, most) => {
    const output = new Uint8Array(most)
    let filled = 0
    const stream = new Stream(chunk => {
      if (filled + chunk.length > most) throw wrong('holds more than a cluster')
      output.set(chunk, filled)
      filled += chunk.length
    })
    stream.push(frame, true)
    return output.subarray(0, filled)
  })
}
