import { describe, expect, test } from 'vitest'
import { toBytes } from '../../src/bytes/names.ts'
import { type DirectoryHash, directoryHash, hashName } from '../../src/filesystem/ext4/directory-hash.ts'
import { Superblock } from '../../src/filesystem/ext4/superblock.ts'
import { haveTool, run } from '../support/native.ts'

const SEED = '01020304-a5a6-a7a8-b9ba-bbbcbdbebfc0'
const NAMES = [
  'a',
  'hello',
  'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG',
  'b'.repeat(16),
  'a'.repeat(32),
  'a'.repeat(33),
  'x'.repeat(255),
  'é',
  'ääöü'.repeat(20),
]

function wordsOf(uuid: string | undefined): DirectoryHash['seed'] {
  const bytes = Buffer.from((uuid ?? '0'.repeat(32)).replaceAll('-', ''), 'hex')
  return [bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8), bytes.readUInt32LE(12)]
}

describe('hashes of directory names', () => {
  test.skipIf(!haveTool('debugfs'))('with signed bytes, as debugfs computes them', async () => {
    for (const algorithm of ['legacy', 'half_md4', 'tea'] as const)
      for (const seed of [undefined, SEED])
        for (const name of NAMES) {
          const option = seed === undefined ? '' : `-s ${seed} `
          const { stdout } = await run('debugfs', ['-R', `dx_hash -h ${algorithm} ${option}${name}`])
          const expected = Number(/ is (0x[0-9a-f]+)/.exec(stdout)?.[1])
          const hash = { algorithm, signed: true, seed: wordsOf(seed) }
          expect([algorithm, seed, name, hashName(hash, toBytes(name))]).toEqual([
            algorithm,
            seed,
            name,
            expected,
          ])
        }
  })

  test('bytes below 0x80 hash alike as signed and as unsigned, others do not', () => {
    for (const algorithm of ['legacy', 'half_md4', 'tea'] as const) {
      const hashes = (name: string) =>
        [true, false].map(signed => hashName({ algorithm, signed, seed: wordsOf(SEED) }, toBytes(name)))
      const [signed, unsigned] = hashes('plain')
      expect(signed).toBe(unsigned)
      const [signedOther, unsignedOther] = hashes('é')
      expect(signedOther).not.toBe(unsignedOther)
    }
  })

  test('the superblock says whether bytes are signed; unknown versions are refused', () => {
    const superblock = new Superblock(new Uint8Array(1024))
    expect(directoryHash(superblock, 1)).toMatchObject({ algorithm: 'half_md4', signed: true })
    superblock.s_flags = 2
    expect(directoryHash(superblock, 2)).toMatchObject({ algorithm: 'tea', signed: false })
    expect(directoryHash(superblock, 3)).toMatchObject({ algorithm: 'legacy', signed: false })
    expect(() => directoryHash(superblock, 6)).toThrow(/SipHash/)
    expect(() => directoryHash(superblock, 7)).toThrow(/version 7/)
  })
})
