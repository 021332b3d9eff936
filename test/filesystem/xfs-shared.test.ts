import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { checkWrittenImages, haveLoopMounts, haveTool, propertySettings, runOk } from '../support/native.ts'
import { expectRepaired } from '../support/xfs-oracles.ts'
import { allGroups, makeTinyXfs, withSpace } from '../support/xfs-space.ts'

checkWrittenImages()

const VARIANTS = [
  ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1'],
  ['-m', 'reflink=1'],
]
const NAMES = Array.from({ length: 8 }, (_, number) => `f${number}`)
const bytes = (text: string) => new TextEncoder().encode(text)
const digest = (content: Uint8Array) => createHash('sha1').update(content).digest('hex')

const change = fc.record({
  name: fc.constantFrom(...NAMES),
  kind: fc.oneof(
    { weight: 16, arbitrary: fc.constant('write' as const) },
    { weight: 3, arbitrary: fc.constant('truncate' as const) },
    { weight: 1, arbitrary: fc.constant('unlink' as const) },
  ),
  at: fc.integer({ min: 0, max: 2_300_000 }),
  length: fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 1, max: 200_000 })),
})

/** Whole files in memory. */
class Model {
  readonly files = new Map<string, Uint8Array>()

  resize(name: string, size: number): Uint8Array {
    const resized = new Uint8Array(size)
    resized.set((this.files.get(name) ?? new Uint8Array()).subarray(0, size))
    this.files.set(name, resized)
    return resized
  }

  async apply(
    fs: FileSystem,
    { name, kind, at, length }: typeof change extends fc.Arbitrary<infer T> ? T : never,
  ) {
    const content = this.files.get(name)
    if (content === undefined) return
    const ino = await fs.lookup(fs.root, bytes(name))
    if (kind === 'write') {
      const written = new Uint8Array(length).fill(at % 251)
      await fs.write(ino, at, written)
      this.resize(name, Math.max(content.length, at + length)).set(written, at)
    } else if (kind === 'truncate') {
      await fs.truncate(ino, at)
      this.resize(name, at)
    } else {
      await fs.unlink(fs.root, bytes(name))
      this.files.delete(name)
    }
  }
}

describe.skipIf(!haveLoopMounts() || !haveTool('mkfs.xfs') || !haveTool('python3'))('shared files', () => {
  const script = new URL('../../native-fixtures/xfs/share.py', import.meta.url).pathname
  for (const args of VARIANTS)
    test(`are written, cut and removed, and keep what they do not share: ${args.join(' ')}`, async () => {
      const image = await makeTinyXfs(128, args)
      await withXfsMount(image, 'noatime', top => runOk('python3', [script, top, '5']))
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 40, maxLength: 40 }), async changes => {
          const path = `${image}.changed`
          await runOk('cp', [image, path])
          const device = new StorageDevice(await FileStorage.open(path, 'write'))
          const fs = await openXfs(device, { writable: true })
          const model = new Model()
          for (const name of NAMES) {
            const ino = await fs.lookup(fs.root, bytes(name))
            await fs.read(ino, 0, model.resize(name, Number((await fs.stat(ino)).size)))
          }
          for (const each of changes) await model.apply(fs, each)
          await fs.close()
          await device.close()
          await withSpace(path, ({ volume }) => allGroups(volume))
          await expectRepaired(path)
          await withXfsMount(path, 'noatime', async top => {
            for (const [name, content] of model.files)
              expect(digest(readFileSync(join(top, name))), name).toBe(digest(content))
            await runOk('sh', ['-c', 'rm -f "$0"/f*', top])
          })
          await expectRepaired(path)
        }),
        propertySettings(2),
      )
    })
})
