import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withKernelMount } from '../../native-fixtures/ext4-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { MemoryFileSystem } from '../../src/filesystem/memory/memory-filesystem.ts'
import { makeRandom, randomShape } from '../support/ext4-random.ts'
import { applyToBoth, fileSystemCommands } from '../support/filesystem-commands.ts'
import { snapshot } from '../support/filesystem-snapshot.ts'
import { haveLoopMounts, haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'
import { digester, kernelTree, ownTree } from '../support/tree-rows.ts'

/** A time that every inode can hold, the 128-byte ones too. */
const NOW = 1_700_000_000_000_000_000n

async function openImage(path: string): Promise<{ fs: FileSystem; close(): Promise<void> }> {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  const fs = await openExt4(device, { writable: true, now: () => NOW })
  return {
    fs,
    async close() {
      await fs.close()
      await device.close()
    },
  }
}

/** e2fsck finds nothing, and the kernel, if it knows the features, shows what drydisk reads. */
async function checkImage(path: string): Promise<void> {
  const check = await run('e2fsck', ['-fn', path])
  expect(`${check.status}\n${check.stdout}`).toMatch(/^0\n/)
  if (!haveLoopMounts() || !haveTool('python3')) return
  const own = await openImage(path)
  const rows = await ownTree(own.fs, digester(own.fs)).finally(() => own.close())
  await withKernelMount(
    path,
    async folder => {
      expect(await kernelTree(folder)).toEqual(rows)
    },
    'loop,ro',
  )
}

describe.skipIf(!haveTool('mkfs.ext4'))('random operations on filesystems of random shape', () => {
  test('do what they do on a model, by e2fsck and the kernel', async () => {
    const path = join(temporaryFolder(), 'random.img')
    await fc.assert(
      fc.asyncProperty(
        randomShape,
        fileSystemCommands(60, { xattrSize: 200, writeSize: 40_000 }),
        async (shape, commands) => {
          fc.pre(await makeRandom(path, shape))
          const model = new MemoryFileSystem({ now: () => NOW })
          const image = await openImage(path)
          let full = false
          try {
            for (const command of commands)
              try {
                await applyToBoth(image.fs, model, command)
              } catch (error) {
                // A model has no end of space; where the image has one, what was done so far is checked all the same.
                if (!/ENOSPC|EFBIG|ENOTSUP/.test(String(error))) throw error
                full = true
                break
              }
            if (!full)
              expect(await snapshot(image.fs, { skip: ['/lost+found'] })).toEqual({
                ...(await snapshot(model)),
                '/': expect.anything(),
              })
          } finally {
            await image.close()
          }
          await checkImage(path)
        },
      ),
      propertySettings(10),
    )
  })

  test('fill up, refuse with ENOSPC, and go on when there is room again', async () => {
    const path = join(temporaryFolder(), 'full.img')
    await fc.assert(
      fc.asyncProperty(randomShape, fc.nat(1000), async (shape, seed) => {
        fc.pre(await makeRandom(path, { ...shape, kilobytes: 6 * 1024 }))
        const image = await openImage(path)
        const random = (limit: number): number => {
          seed = (seed * 1103515245 + 12345) % 2147483648
          return Math.floor((seed / 2147483648) * limit)
        }
        try {
          const { fs } = image
          const names: string[] = []
          const name = (text: string): Uint8Array => new TextEncoder().encode(text)
          for (let refused = 0, step = 0; refused < 12 && step < 3000; step++)
            try {
              const text = `${step}-${'x'.repeat(random(200))}`
              const attributes = { mode: 0o644, uid: 0, gid: 0 }
              const what = random(10)
              if (what === 0) await fs.mkdir(fs.root, name(text), attributes)
              else if (what === 1)
                await fs.symlink(fs.root, name(text), name('t'.repeat(1 + random(900))), attributes)
              else {
                const ino = await fs.create(fs.root, name(text), attributes)
                names.push(text)
                if (what === 2) await fs.setxattr(ino, 'user.a', new Uint8Array(random(700)))
                await fs.write(ino, random(3) * 50_000, new Uint8Array(random(100_000)).fill(step))
              }
            } catch (error) {
              if (!isDrydiskError(error, 'ENOSPC')) throw error
              refused++
              const victim = names.splice(random(names.length), 1)[0]
              if (victim !== undefined && refused % 3 === 0) await fs.unlink(fs.root, name(victim))
              else if (victim !== undefined) {
                const ino = await fs.lookup(fs.root, name(victim))
                await fs.truncate(ino, random((await fs.stat(ino)).size + 1))
              }
            }
        } finally {
          await image.close()
        }
        await checkImage(path)
      }),
      propertySettings(6),
    )
  })

  test('leave what they do not touch as it was', async () => {
    // One edit on a filesystem that the kernel filled: every other path stays the same to the last nanosecond.
    if (!haveLoopMounts() || !haveTool('python3')) return
    const path = join(temporaryFolder(), 'touched.img')
    await fc.assert(
      fc.asyncProperty(randomShape, async shape => {
        fc.pre(await makeRandom(path, shape))
        const mount = await run('sh', ['-c', `mkdir -p ${path}.m && mount -o loop ${path} ${path}.m`])
        fc.pre(mount.status === 0)
        let before: Awaited<ReturnType<typeof kernelTree>>
        try {
          const script =
            'mkdir -p a/b; for i in 1 2 3 4 5 6 7 8 9; do echo $i > a/$i; done; ln a/1 a/b/one; ln -s 1 a/l; mkfifo a/b/p; ' +
            'head -c 50000 /dev/urandom > a/big; setfattr -n user.x -v y a/2; setfacl -m u:7:r a/3'
          await run('sh', ['-c', `cd ${path}.m; ${script}; true`])
          before = await kernelTree(`${path}.m`)
        } finally {
          await runOk('umount', [`${path}.m`])
        }
        const image = await openImage(path)
        const { fs } = image
        const name = (text: string): Uint8Array => new TextEncoder().encode(text)
        await fs.create(await fs.lookup(fs.root, name('a')), name('new'), { mode: 0o600, uid: 1, gid: 2 })
        await image.close()
        await checkImage(path)
        const after = await withKernelMount(path, kernelTree, 'loop,ro')
        for (const changed of ['/a', '/a/new']) {
          delete after[changed]
          delete before[changed]
        }
        expect(after).toEqual(before)
      }),
      propertySettings(5),
    )
  })
})
