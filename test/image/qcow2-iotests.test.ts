import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { DrydiskError } from '../../src/errors.ts'
import { peersFolder, runOk, temporaryFolder } from '../support/native.ts'
import { openFile, sha256Of } from '../support/qcow2.ts'

/** What qemu says of an image; `-` stands for nothing found. */
interface Answer {
  readonly fmt: string
  readonly virtual: string
  readonly info_rc: string
  readonly check_rc: string
  readonly corruptions: string
  readonly leaks: string
  /** The first 16 digits, `-`, or `ERR …` when qemu could not read the guest's disk. */
  readonly guest_sha256: string
}

/** Hashing the empty gigabytes of some images takes long and says little. */
const MAX_HASHED = Number(process.env.DRYDISK_RUNS === undefined ? 32 << 20 : 2 ** 40)

const peers = peersFolder()

describe.skipIf(peers === undefined)('image states of qemu-iotests', () => {
  it('are read, checked and refused as qemu does', async () => {
    const folder = temporaryFolder()
    await runOk('tar', ['-xJf', join(peers ?? '', 'iotests.tar.xz'), '-C', folder])
    const answers = JSON.parse(readFileSync(join(folder, 'answers/iotests.json'), 'utf8')) as Record<
      string,
      Answer
    >
    let checked = 0
    let hashed = 0
    for (const [path, answer] of Object.entries(answers)) {
      if (answer.fmt !== 'qcow2') continue
      const file = join(folder, path)
      const failure = await openFile(file, false).then(
        async image => {
          try {
            expect(answer.info_rc, path).toBe('0')
            expect(String(image.size), path).toBe(answer.virtual)
            const found = await image.check()
            // 0: clean, 2: corruptions, 3: leaks; anything else means that qemu could not check.
            if (['0', '2', '3'].includes(answer.check_rc)) {
              checked++
              const corruptions = Number(answer.corruptions.replace('-', '0'))
              expect(found, `${path} ${found.messages.join('; ')}`).toMatchObject({
                corruptions,
                leaks: Number(answer.leaks.replace('-', '0')),
              })
            }
            if (answer.guest_sha256 === '-' || image.size > MAX_HASHED) return undefined
            hashed++
            if (answer.guest_sha256.startsWith('ERR'))
              await expect(sha256Of(image), path).rejects.toThrow(DrydiskError)
            else expect((await sha256Of(image)).slice(0, 16), path).toBe(answer.guest_sha256)
            return undefined
          } finally {
            await image.close()
          }
        },
        (error: unknown) => error,
      )
      if (failure === undefined) continue
      if (!(failure instanceof DrydiskError)) throw failure
      // What we do not open, qemu does not open either, or has no more than a header of: encrypted images, chains that
      // loop (qemu-img info does not follow them), and images whose other files are not there.
      const refused = ['0', '2', '3'].includes(answer.check_rc) && answer.info_rc === '0'
      expect(refused, `${path}: ${failure.message}`).toBe(false)
      expect(statSync(file).size).toBeGreaterThan(0)
    }
    expect(checked).toBeGreaterThan(200)
    expect(hashed).toBeGreaterThan(20)
  })
})
