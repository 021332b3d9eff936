import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { crypt, hashPassword, randomPassword, verifyPassword } from '../../src/config/crypt.ts'
import { haveTool, peersFolder, runOk } from '../support/native.ts'

const peers = peersFolder()

interface Vector {
  method: string
  setting: string
  phrase_hex: string
  hash: string
}

describe('crypt', () => {
  it.skipIf(!peers)("gives libxcrypt's hashes", () => {
    const json = execFileSync('xz', ['-dc', join(peers ?? '', 'crypt-vectors.json.xz')], {
      maxBuffer: 64 << 20,
    })
    const vectors = (JSON.parse(json.toString()) as Vector[]).filter(v => ['1', '5', '6'].includes(v.method))
    const wrong = vectors.filter(v => crypt(Buffer.from(v.phrase_hex, 'hex'), v.setting) !== v.hash)
    expect(vectors.length).toBeGreaterThan(500)
    expect(wrong).toEqual([])
  })

  it.skipIf(!haveTool('openssl'))("gives openssl's hash for a random salt", async () => {
    for (const [method, flag] of [
      ['sha512', '-6'],
      ['sha256', '-5'],
      ['md5', '-1'],
    ] as const) {
      const hashed = hashPassword('geheim ä', { method })
      const salt = hashed.split('$')[2] ?? ''
      expect((await runOk('openssl', ['passwd', flag, '-salt', salt, 'geheim ä'])).trim()).toBe(hashed)
      expect(verifyPassword('geheim ä', hashed)).toBe(true)
      expect(verifyPassword('geheim', hashed)).toBe(false)
    }
  })

  it('knows what it does not know', () => {
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
      expect(verifyPassword('x', setting)).toBeUndefined()
  })

  it('refuses what crypt(3) would cut or mangle', () => {
    expect(() => hashPassword('a\0b')).toThrow(/NUL/)
    expect(() => hashPassword('a', { salt: 'a$b' })).toThrow(/salt/)
    expect(() => hashPassword('a', { rounds: 5 })).toThrow(/rounds/)
  })

  it('makes passwords of the length asked for', () => {
    expect(randomPassword(20)).toMatch(/^[A-Za-z2-9]{20}$/)
    expect(randomPassword()).not.toBe(randomPassword())
  })
})
