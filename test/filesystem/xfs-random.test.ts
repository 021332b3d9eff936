import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { MemoryFileSystem } from '../../src/filesystem/memory/memory-filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { applyToBoth, fileSystemCommands } from '../support/filesystem-commands.ts'
import { snapshot } from '../support/filesystem-snapshot.ts'
import { haveLoopMounts, haveTool, propertySettings, run, temporaryFolder } from '../support/native.ts'
import { digester, kernelTree, ownTree } from '../support/tree-rows.ts'
import { makeXfsShape, type XfsShape, xfsShape } from '../support/xfs-random.ts'

/** A time that every inode can hold. */
const NOW = 1_700_000_000_000_000_000n
const MEGABYTES = 320

async function openImage(path: string): Promise<{ fs: FileSystem; close(): Promise<void> }> {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  const fs = await openXfs(device, { writable: true, now: () => NOW })
  return {
    fs,
    async close() {
      await fs.close()
      await device.close()
    },
  }
}

/** Linux mounts version 4 and names without case only where that is built in. */
function isMountable({ isV5, options }: XfsShape): boolean {
  return isV5 && !options.some(option => option.includes('version=ci'))
}

/** xfs_repair finds nothing, and the kernel, where it mounts such a filesystem, shows what drydisk reads. */
async function checkImage(path: string, shape: XfsShape): Promise<void> {
  const check = await run('xfs_repair', ['-n', '-f', path])
  expect(`${check.status}\n${check.stdout}${check.stderr}`).toMatch(/^0\n/)
  if (!isMountable(shape) || !haveLoopMounts() || !haveTool('python3')) return
  const own = await openImage(path)
  const rows = await ownTree(own.fs, digester(own.fs)).finally(() => own.close())
  await withXfsMount(path, 'ro,noatime', async folder => {
    expect(await kernelTree(folder)).toEqual(rows)
  })
}

describe.skipIf(!haveTool('mkfs.xfs'))('random operations on filesystems of random shape', () => {
  test('do what they do on a model, by xfs_repair and the kernel', async () => {
    const path = join(temporaryFolder(), 'random.img')
    await fc.assert(
      fc.asyncProperty(
        xfsShape,
        fileSystemCommands(60, { xattrSize: 2000, writeSize: 40_000 }),
        async (shape, commands) => {
          fc.pre(await makeXfsShape(path, MEGABYTES, shape))
          const model = new MemoryFileSystem({ now: () => NOW })
          const image = await openImage(path)
          try {
            for (const command of commands) await applyToBoth(image.fs, model, command)
            expect(await snapshot(image.fs)).toEqual({ ...(await snapshot(model)), '/': expect.anything() })
          } finally {
            await image.close()
          }
          await checkImage(path, shape)
        },
      ),
      propertySettings(6),
    )
  })

  test('fill up, refuse with ENOSPC, and go on when there is room again', async () => {
    const path = join(temporaryFolder(), 'full.img')
    await fc.assert(
      fc.asyncProperty(xfsShape, fc.nat(1000), async (shape, seed) => {
        fc.pre(await makeXfsShape(path, MEGABYTES, shape))
        const image = await openImage(path)
        const random = (limit: number): number => {
          seed = (seed * 1103515245 + 12345) % 2147483648
          return Math.floor((seed / 2147483648) * limit)
        }
        try {
          const { fs } = image
          const names: string[] = []
          const name = (text: string): Uint8Array => new TextEncoder().encode(text)
          const attributes = { mode: 0o644, uid: 0, gid: 0 }
          const bulk = new Uint8Array(24 << 20)
          for (let refused = 0, step = 0; refused < 12 && step < 400; step++)
            try {
              const text = `${step}-${'x'.repeat(random(200))}`
              const what = random(10)
              if (what === 0) await fs.mkdir(fs.root, name(text), attributes)
              else if (what === 1)
                await fs.symlink(fs.root, name(text), name('t'.repeat(1 + random(900))), attributes)
              else {
                const ino = await fs.create(fs.root, name(text), attributes)
                if (what === 2) await fs.setxattr(ino, 'user.big', bulk.subarray(0, random(60_000)))
                await fs.write(
                  ino,
                  random(3) * 70_000,
                  bulk.subarray(0, refused > 0 ? random(70_000) : bulk.length),
                )
                names.push(text)
              }
            } catch (error) {
              if (!isDrydiskError(error, 'ENOSPC')) throw error
              refused++
              const gone = names.splice(random(names.length), 1)[0]
              if (gone !== undefined) await fs.unlink(fs.root, name(gone))
            }
        } finally {
          await image.close()
        }
        await checkImage(path, shape)
      }),
      propertySettings(2),
    )
  })
})
