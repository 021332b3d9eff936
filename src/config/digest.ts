/** A hash of one buffer. */
export type Digest = (data: Uint8Array) => Uint8Array

export type DigestName = 'sha512' | 'sha256' | 'md5'

/** What Node 20.16 and later give without an import, and browsers lack. */
interface Platform {
  readonly process?: {
    getBuiltinModule?(
      name: string,
    ): { hash?(name: string, data: Uint8Array, encoding: 'buffer'): Uint8Array } | undefined
  }
}

/**
 * The platform's own hash where it has a synchronous one, else a portable one. crypt(3) hashes 5000 times in a row, which
 * WebCrypto's promises make ten times slower than either; the portable code is loaded only where it is needed.
 */
export async function loadDigest(name: DigestName): Promise<Digest> {
  const hash = (globalThis as Platform).process?.getBuiltinModule?.('node:crypto')?.hash
  if (hash && name !== 'md5') return data => hash(name, data, 'buffer')
  if (name === 'md5') return (await import('@noble/hashes/legacy.js')).md5
  const sha2 = await import('@noble/hashes/sha2.js')
  return name === 'sha512' ? sha2.sha512 : sha2.sha256
}
