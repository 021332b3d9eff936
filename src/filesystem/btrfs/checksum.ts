import { equalBytes } from '../../bytes/compare.ts'
import { crc32cOf } from '../../bytes/crc32c.ts'
import { xxhash64 } from '../../bytes/xxhash64.ts'
import { unsupported } from './errors.ts'

/** The checksum of a filesystem: one kind for metadata and data alike. */
export interface Checksum {
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly of: (bytes: Uint8Array) => Uint8Array
}

/** Whether `stored`, of at least the checksum's size, is that of the bytes. */
export function matches(checksum: Checksum, bytes: Uint8Array, stored: Uint8Array): boolean {
  return equalBytes(checksum.of(bytes), stored.subarray(0, checksum.size))
}

function crc32c(bytes: Uint8Array): Uint8Array {
  const crc = crc32cOf(bytes)
  return Uint8Array.of(crc & 0xff, (crc >>> 8) & 0xff, (crc >>> 16) & 0xff, crc >>> 24)
}

/** By csum_type of the superblock (on-disk format, "Superblock"). */
export async function loadChecksum(csumType: number): Promise<Checksum> {
  switch (csumType) {
    case 0:
      return { name: 'crc32c', size: 4, of: crc32c }
    case 1:
      return { name: 'xxhash64', size: 8, of: xxhash64 }
    case 2: {
      const { sha256 } = await import('@noble/hashes/sha2.js')
      return { name: 'sha256', size: 32, of: nativeSha256() ?? sha256 }
    }
    case 3: {
      const { blake2b } = await import('@noble/hashes/blake2.js')
      return { name: 'blake2b', size: 32, of: bytes => blake2b(bytes, { dkLen: 32 }) }
    }
    default:
      throw unsupported(
        `the filesystem has checksums of type ${csumType}, which drydisk does not know (crc32c, xxhash64, sha256 and blake2b are read)`,
        { csumType },
      )
  }
}

interface NodeCrypto {
  createHash(name: string): { update(bytes: Uint8Array): { digest(): Uint8Array } }
}

/** node:crypto where there is a Node: ten times as fast as JavaScript. */
function nativeSha256(): ((bytes: Uint8Array) => Uint8Array) | undefined {
  const host = globalThis as { process?: { getBuiltinModule?(name: string): unknown } }
  const crypto = host.process?.getBuiltinModule?.('node:crypto') as NodeCrypto | undefined
  return crypto && (bytes => crypto.createHash('sha256').update(bytes).digest())
}
