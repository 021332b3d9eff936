import { describe, expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { checkWrittenImages, haveTool } from '../support/native.ts'
import { makeTinyXfs } from '../support/xfs-space.ts'

checkWrittenImages()

const PIECES = 1500
const PIECE = 4096
const NAMES = ['one', 'two', 'three']
const bytes = (name: string) => new TextEncoder().encode(name)

async function withFileSystem<T>(image: string, use: (fs: FileSystem) => Promise<T>): Promise<T> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  const fs = await openXfs(device, { writable: true })
  try {
    return await use(fs)
  } finally {
    await fs.close()
    await device.close()
  }
}

async function extentsOf(fs: FileSystem, ino: number): Promise<number> {
  let extents = 0
  for await (const _ of fs.fileExtents(ino)) extents++
  return extents
}

describe.skipIf(!haveTool('mkfs.xfs'))('files of an XFS that grow by turns', () => {
  test.each([
    ['as mkfs.xfs makes it', []],
    ['with reverse mappings', ['-m', 'rmapbt=1']],
  ])('have few extents: %s', async (_, args) => {
    const image = await makeTinyXfs(120, args)
    await withFileSystem(image, async fs => {
      const files: { ino: number; content: Uint8Array }[] = []
      for (const [index, name] of NAMES.entries()) {
        const ino = await fs.create(fs.root, bytes(name), { mode: 0o644, uid: 0, gid: 0 })
        files.push({ ino, content: pattern(PIECES * PIECE, index + 1) })
      }
      for (let at = 0; at < PIECES * PIECE; at += PIECE)
        for (const { ino, content } of files) await fs.write(ino, at, content.subarray(at, at + PIECE))
      for (const { ino, content } of files) {
        const read = new Uint8Array(content.length)
        expect(await fs.read(ino, 0, read)).toBe(content.length)
        expect(Buffer.compare(read, content)).toBe(0)
        // Four single blocks, then each as long as the file before it.
        expect(await extentsOf(fs, ino)).toBeLessThan(24)
        // Nothing is kept behind the end.
        expect((await fs.stat(ino)).blocks * 512).toBeLessThanOrEqual((PIECES + 2) * PIECE)
      }
    })
  })

  test('take what lies between them when nothing else is left', async () => {
    const image = await makeTinyXfs(64, [])
    await withFileSystem(image, async fs => {
      const inos: number[] = []
      for (const name of NAMES.slice(0, 2))
        inos.push(await fs.create(fs.root, bytes(name), { mode: 0o644, uid: 0, gid: 0 }))
      const piece = pattern(PIECE)
      const fill = async () => {
        for (let at = 0; ; at += PIECE) for (const ino of inos) await fs.write(ino, at, piece)
      }
      await expect(fill()).rejects.toMatchObject({ code: 'ENOSPC' })
      // What is left is what Linux keeps back too.
      const { blocks, freeBlocks } = await fs.statfs()
      expect(freeBlocks).toBeLessThan(blocks / 50)
    })
  })
})
