import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { crypt, hashPassword, randomPassword, verifyPassword } from '../../src/config/crypt.ts'
import { haveTool, peersFolder, propertySettings, runOk } from '../support/native.ts'

const peers = peersFolder()

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
    const vectors = (JSON.parse(json.toString()) as Vector[]).filter(v => ['1', '5', '6'].includes(v.method))
    // All of them take a quarter of a minute; DRYDISK_RUNS=1000 takes them all.
    const every = Math.max(1, Math.round(800 / propertySettings(200).numRuns))
    const wrong: Vector[] = []
    for (const v of vectors.filter((_, i) => i % every === 0))
      if ((await crypt(Buffer.from(v.phrase_hex, 'hex'), v.setting)) !== v.hash) wrong.push(v)
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

  it('knows what it does not know', async () => {
    for (const setting of [
      '',
      '!',
      '*',
      'x',
      '$y$j9T$abc$def',
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
