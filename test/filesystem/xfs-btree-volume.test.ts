import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { type Random, randomFrom } from '../support/xfs-btree-records.ts'
import { type Levels, walkVolume } from '../support/xfs-btree-volume.ts'

checkWrittenImages()

interface Variant {
  readonly name: string
  readonly arguments: readonly string[]
  readonly blockSize: number
  /** Linux here mounts no version 4. */
  readonly mounts: boolean
  readonly filledBy: 'drydisk' | 'Linux'
  /** Of each of three files. */
  readonly pieces: number
  /** Small ones. */
  readonly files: number
  /** Of the trees at their highest. */
  readonly least: Levels
}

const VARIANTS: readonly Variant[] = [
  {
    name: 'version 4, blocks of 512 bytes',
    arguments: ['-m', 'crc=0', '-b', 'size=512'],
    blockSize: 512,
    mounts: false,
    filledBy: 'drydisk',
    pieces: 350,
    files: 2100,
    least: { bnobt: 2, cntbt: 2, bmbt: 3, inobt: 2 },
  },
  {
    name: 'blocks of 1 KiB, reverse mapping, shared blocks',
    arguments: ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1'],
    blockSize: 1024,
    mounts: true,
    filledBy: 'drydisk',
    pieces: 900,
    files: 400,
    least: { bnobt: 2, cntbt: 2, rmapbt: 3, bmbt: 3 },
  },
  {
    name: 'blocks of 1 KiB, reverse mapping, whole chunks',
    arguments: ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=0,finobt=1', '-i', 'sparse=0'],
    blockSize: 1024,
    mounts: true,
    filledBy: 'Linux',
    pieces: 900,
    files: 400,
    least: { bnobt: 2, cntbt: 2, rmapbt: 3, bmbt: 3 },
  },
]

/** With these mkfs.xfs makes filesystems that are too small for it otherwise. */
const TINY = ['TEST_DIR=1', 'TEST_DEV=1', 'QA_CHECK_FS=1']
const name = (text: string) => new TextEncoder().encode(text)
const attributes = { mode: 0o644, uid: 0, gid: 0 }

function shuffled(count: number, random: Random): number[] {
  const order = Array.from({ length: count }, (_, index) => index)
  for (const [index, value] of order.entries()) {
    const other = random(count)
    order[index] = order[other] ?? 0
    order[other] = value
  }
  return order
}

/** Files with a hole between any two blocks, so that nothing joins. */
async function fillByDrydisk(fs: FileSystem, { blockSize, pieces }: Variant, random: Random): Promise<void> {
  const files = []
  for (const file of ['a', 'b', 'c']) files.push(await fs.create(fs.root, name(file), attributes))
  const block = new Uint8Array(blockSize).fill(1)
  for (const place of shuffled(pieces * 3, random))
    await fs.write(files[place % 3] ?? 0, Math.floor(place / 3) * 2 * blockSize, block)
}

function fillByLinux(folder: string, { blockSize, pieces }: Variant, random: Random): void {
  const files = ['a', 'b', 'c'].map(file => openSync(join(folder, file), 'w'))
  const block = new Uint8Array(blockSize).fill(1)
  for (const [count, place] of shuffled(pieces * 3, random).entries()) {
    const file = files[place % 3] ?? 0
    writeSync(file, block, 0, blockSize, Math.floor(place / 3) * 2 * blockSize)
    // Else its blocks would be allocated in order, at the end.
    if (count % 16 === 0) for (const each of files) fsyncSync(each)
  }
  for (const file of files) closeSync(file)
}

describe.skipIf(!haveTool('mkfs.xfs'))('trees of whole filesystems', () => {
  for (const variant of VARIANTS)
    test.skipIf(variant.filledBy === 'Linux' && !haveLoopMounts())(
      `${variant.name}, filled by ${variant.filledBy}: are right in every block after every change`,
      async () => {
        const { blockSize, least, pieces, files, filledBy } = variant
        const image = writes(join(temporaryFolder(), 'image'), 'xfs')
        await runOk('truncate', ['-s', '96M', image])
        await runOk('env', [
          ...TINY,
          'mkfs.xfs',
          '-q',
          '-d',
          'agcount=2',
          '-l',
          'size=8m',
          ...variant.arguments,
          image,
        ])
        const random = randomFrom(11)
        if (filledBy === 'Linux')
          await withXfsMount(image, 'noatime', async folder => fillByLinux(folder, variant, random))
        // What Linux made is right by the same measure.
        const levels: Levels = await walkVolume(image)
        const device = new StorageDevice(await FileStorage.open(image, 'write'))
        const fs = await openXfs(device, { writable: true })
        const walk = async () => {
          await fs.sync()
          for (const [tree, count] of Object.entries(await walkVolume(image)))
            levels[tree] = Math.max(levels[tree] ?? 0, count)
        }
        try {
          if (filledBy === 'drydisk') await fillByDrydisk(fs, variant, random)
          await walk()
          // Every third piece is free space that touches none.
          await fs.unlink(fs.root, name('b'))
          await walk()
          for (let file = 0; file < files; file++) await fs.create(fs.root, name(`file ${file}`), attributes)
          await walk()
          const c = await fs.lookup(fs.root, name('c'))
          for (let size = pieces * 2; size > pieces; size -= 1 + random(40))
            await fs.truncate(c, size * blockSize)
          for (const file of shuffled(files, random).slice(0, files - 50))
            await fs.unlink(fs.root, name(`file ${file}`))
          await walk()
          const a = await fs.lookup(fs.root, name('a'))
          for (const piece of shuffled(pieces - 1, random).slice(0, 300))
            await fs.write(a, (piece * 2 + 1) * blockSize, new Uint8Array(blockSize).fill(2))
          await walk()
        } finally {
          await fs.close()
          await device.close()
        }
        for (const [tree, count] of Object.entries(least))
          expect({ [tree]: levels[tree] }).toEqual({
            [tree]: expect.toSatisfy((found: number) => found >= count),
          })
        if (!variant.mounts || !haveLoopMounts()) return
        await withXfsMount(image, 'noatime', async folder => {
          const a = readFileSync(join(folder, 'a'))
          expect(a.length).toBe((pieces * 2 - 1) * blockSize)
          for (let piece = 0; piece < pieces; piece++) expect(a[piece * 2 * blockSize]).toBe(1)
          for (const file of readdirSync(folder)) if (file.startsWith('file')) unlinkSync(join(folder, file))
          unlinkSync(join(folder, 'c'))
          writeFileSync(join(folder, 'd'), new Uint8Array(1 << 20))
        })
        await walkVolume(image)
      },
    )
})
