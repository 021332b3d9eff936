import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { crypt, hashPassword, randomPassword, randomSalt, verifyPassword } from '../../src/config/crypt.ts'
import { haveTool, peersFolder, propertySettings, run, runOk } from '../support/native.ts'

const peers = peersFolder()

/** Perl's crypt is the C library's: libxcrypt on the distributions that have yescrypt. */
const perlKnowsYescrypt =
  haveTool('perl') &&
  (await run('perl', ['-e', 'print crypt("a", q($y$j75$abcd)) // ""'])).stdout.startsWith('$y$')

interface Vector {
  method: string
  setting: string
  phrase_hex: string
  hash: string
}

describe('crypt', () => {
  it.skipIf(!peers)("gives libxcrypt's hashes", async () => {
    const json = execFileSync('xz', ['-dc', join(peers ?? '', 'crypt-vectors.json.xz')], {
      maxBuffer: 64 << 20,
    })
    const vectors = JSON.parse(json.toString()) as Vector[]
    // All of them take a quarter of a minute; DRYDISK_RUNS=1000 takes them all.
    const every = Math.max(1, Math.round(800 / propertySettings(200).numRuns))
    const wrong: Vector[] = []
    for (const v of vectors.filter((_, i) => i % every === 0))
      if ((await crypt(Buffer.from(v.phrase_hex, 'hex'), v.setting)) !== v.hash) wrong.push(v)
    expect(new Set(vectors.map(v => v.method))).toEqual(new Set(['1', '5', '6', 'y']))
    expect(vectors.length).toBeGreaterThan(500)
    expect(wrong).toEqual([])
  })

  it.skipIf(!haveTool('openssl'))("gives openssl's hash for a random salt", async () => {
    for (const [method, flag] of [
      ['sha512', '-6'],
      ['sha256', '-5'],
      ['md5', '-1'],
    ] as const) {
      const hashed = await hashPassword('geheim ä', { method })
      const salt = hashed.split('$')[2] ?? ''
      expect((await runOk('openssl', ['passwd', flag, '-salt', salt, 'geheim ä'])).trim()).toBe(hashed)
      expect(await verifyPassword('geheim ä', hashed)).toBe(true)
      expect(await verifyPassword('geheim', hashed)).toBe(false)
    }
  })

  it.skipIf(!perlKnowsYescrypt)("gives libxcrypt's yescrypt for other costs, p and t", async () => {
    // Cost 1, 3 and 5 of crypt_gensalt; numbers of loops that are odd and are rounded; p of 2 and 3; t of 1 to 3.
    const parameters = [
      'j75',
      'j7T',
      'j9T',
      'j65',
      'j55',
      'j3T',
      'j4./',
      'j75..',
      'j75./',
      'j751.',
      'j751/',
      'j751.',
    ]
    const extended = ['j75/.', 'j75/0', 'j750..', 'j75..', 'j750./']
    for (const parameter of [...parameters, ...extended]) {
      const setting = `$y$${parameter}$${randomSalt('yescrypt')}`
      const theirs = await runOk('perl', [
        '-e',
        'print crypt($ARGV[0], $ARGV[1]) // "*0"',
        'pässword',
        setting,
      ])
      const ours = await crypt(Buffer.from('pässword'), setting)
      expect(ours ?? '*0', setting).toBe(theirs.startsWith('*') ? '*0' : theirs)
    }
  })

  it('hashes with yescrypt in a moment, and refuses what would take gigabytes', async () => {
    const hashed = await hashPassword('geheim', { method: 'yescrypt' })
    expect(hashed).toMatch(/^\$y\$j9T\$[./0-9A-Za-z]{22}\$[./0-9A-Za-z]{43}$/)
    expect(await verifyPassword('geheim', hashed)).toBe(true)
    expect(await verifyPassword('Geheim', hashed)).toBe(false)
    for (const setting of [
      '$y$jKT$abc',
      '$y$jzzz$abc',
      '$y$j9T',
      '$y$$abc',
      '$y$j9T$ab!',
      '$y$.9T$abc',
      '$y$j9T2.$abc',
    ])
      expect(await crypt(Buffer.from('x'), setting), setting).toBeUndefined()
  })

  it('knows what it does not know', async () => {
    for (const setting of [
      '',
      '!',
      '*',
      'x',
      '$y$jKT$abc$def',
      '$7$CU..../....$def',
      '$2b$05$abc',
      '$6$rounds=12$x$y',
      '$6$rounds=99999999$x$y',
    ])
      expect(await verifyPassword('x', setting), setting).toBeUndefined()
  })

  it('refuses what crypt(3) would cut or mangle', async () => {
    await expect(hashPassword('a\0b')).rejects.toThrow(/NUL/)
    await expect(hashPassword('a', { salt: 'a$b' })).rejects.toThrow(/salt/)
    await expect(hashPassword('a', { rounds: 5 })).rejects.toThrow(/rounds/)
    await expect(hashPassword('ä'.repeat(256))).rejects.toThrow(/at most 511 bytes/)
  })

  it('gives the same with the portable code, where the platform has no hash of its own', async () => {
    const hashed = await hashPassword('p', { salt: 'saltsaltsaltsalt' })
    const absent = vi.spyOn(process, 'getBuiltinModule').mockReturnValue(undefined)
    try {
      expect(await hashPassword('p', { salt: 'saltsaltsaltsalt' })).toBe(hashed)
      expect(await verifyPassword('p', await hashPassword('p', { method: 'sha256' }))).toBe(true)
    } finally {
      absent.mockRestore()
    }
  })

  it('makes passwords of the length asked for', () => {
    expect(randomPassword(20)).toMatch(/^[A-Za-z2-9]{20}$/)
    expect(randomPassword()).not.toBe(randomPassword())
  })
})
