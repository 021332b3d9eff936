import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run, runOk } from '../support/native.ts'
import { build, discard, haveScripts, killedAt, main, out, scratch } from './real-images.ts'

describe.runIf(haveScripts)('a customize that is killed at every single write', () => {
  const folder = { path: '' }
  beforeAll(async () => {
    await build()
    folder.path = scratch()
  })
  afterAll(() => discard(folder.path))

  const edit = (image: string) => [
    'customize',
    image,
    '--write',
    '/etc/motd:the new content',
    '--append-line',
    '/etc/hosts:192.0.2.1 new',
    '--copy',
    '/etc/ssl:/opt/',
    '--delete',
    '/srv/odd/big',
  ]
  const content = async (image: string): Promise<string> =>
    (await runOk(process.execPath, [main, 'cat', image, '/etc/motd', '/etc/hosts'])).toString()

  for (const format of ['qcow2', 'raw'] as const)
    it(`leaves a ${format} image exactly old or exactly new`, { timeout: 1_800_000 }, async () => {
      const original = join(out, `debian-ext4.${format}`)
      const image = join(folder.path, `killed.${format}`)
      const fresh = () => runOk('cp', ['--sparse=always', '--reflink=auto', original, image])
      const oldContent = await content(original)
      await fresh()
      await runOk(process.execPath, [main, ...edit(image)])
      const newContent = await content(image)
      expect(newContent).not.toBe(oldContent)

      let sawOld = 0
      let sawNew = 0
      let writes = 0
      for (let n = 1; ; n++) {
        await fresh()
        if (!(await killedAt(n, edit(image)))) break
        writes = n
        if (format === 'qcow2') {
          // 3: leaked clusters and nothing else.
          const { status, stdout } = await run('qemu-img', ['check', image])
          expect([0, 3], stdout).toContain(status)
        }
        const seen = await content(image)
        expect([oldContent, newContent]).toContain(seen)
        if (seen === oldContent) sawOld++
        else sawNew++
        // The next open for writing makes good whatever the crash left, also the lock of the dead process.
        await runOk(process.execPath, [main, 'customize', image, '--touch', '/etc/after-the-crash'])
        if (format === 'qcow2') await runOk('qemu-img', ['check', image])
        expect(await content(image)).toBe(seen)
        expect(readdirSync(folder.path)).toEqual([`killed.${format}`])
      }
      process.stdout.write(
        `${format}: killed at each of ${writes} writes, ${sawOld} times old, ${sawNew} times new\n`,
      )
      await runOk('rm', [image])
      expect(sawOld).toBeGreaterThan(0)
      expect(sawNew).toBeGreaterThan(0)
    })
})
