import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { toBytes } from '../../src/bytes/names.ts'
import type { BlockDevice, DiskImage } from '../../src/device/block-device.ts'
import { FaultMedium, type PowerLoss } from '../../src/device/fault-medium.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { type MakeXfsOptions, makeXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { createQcow2 } from '../../src/image/qcow2/create.ts'
import { openQcow2 } from '../../src/image/qcow2/open.ts'
import { RawImage } from '../../src/image/raw.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { snapshot } from '../support/filesystem-snapshot.ts'
import { haveTool, run, temporaryFolder } from '../support/native.ts'

const NAME = 'disk'
const SIZE = 32 << 20
const ATTRIBUTES = { mode: 0o644, uid: 1, gid: 2 }
const now = () => 1_700_000_000_000_000_000n

const LOSSES: readonly PowerLoss[] = [
  { unflushed: 'keep' },
  { unflushed: 'lose' },
  { unflushed: 'some', seed: 1 },
  { unflushed: 'some', seed: 2, torn: true },
]

const SCENES: readonly (readonly ['raw' | 'qcow2', MakeXfsOptions])[] = [
  ['qcow2', { blockSize: 4096 }],
  ['raw', { blockSize: 1024, features: ['rmapbt'] }],
]

async function openRaw(medium: FaultMedium): Promise<DiskImage> {
  const storage = await medium.open(NAME, 'write')
  if (storage === undefined) throw new Error('no image')
  return RawImage.open(storage, medium, NAME)
}

async function openCow(medium: FaultMedium): Promise<DiskImage> {
  const storage = await medium.open(NAME, 'write')
  if (storage === undefined) throw new Error('no image')
  const refused = () => Promise.reject(new Error('no other file'))
  return openQcow2(storage, { writable: true, openBacking: refused, openDataFile: refused })
}

/** A tree that the change finds: directories of several forms, a file of many pieces, attributes. */
async function before(device: BlockDevice): Promise<void> {
  const fs = await openXfs(device, { writable: true, now })
  for (const count of [3, 30, 300]) {
    const directory = await fs.mkdir(fs.root, toBytes(`d${count}`), ATTRIBUTES)
    for (let n = 0; n < count; n++) await fs.create(directory, toBytes(`name-${n}`), ATTRIBUTES)
  }
  const [one, two] = [
    await fs.create(fs.root, toBytes('one'), ATTRIBUTES),
    await fs.create(fs.root, toBytes('two'), ATTRIBUTES),
  ]
  for (let n = 0; n < 40; n++) for (const ino of [one, two]) await fs.write(ino, n * 16_384, pattern(5000, n))
  await fs.setxattr(one, 'user.large', pattern(3000, 1))
  await fs.close()
}

/** What the power fails in: all kinds of edits, and a `sync` in their midst. */
async function change(device: BlockDevice): Promise<void> {
  const fs = await openXfs(device, { writable: true, now })
  const at = (name: string) => fs.lookup(fs.root, toBytes(name))
  const [d3, d300, one, two] = [await at('d3'), await at('d300'), await at('one'), await at('two')]
  await fs.write(await fs.create(fs.root, toBytes('new'), ATTRIBUTES), 0, pattern(70_000, 9))
  for (let n = 0; n < 100; n++) await fs.create(d3, toBytes(`more-${n}`), ATTRIBUTES)
  for (let n = 0; n < 250; n++) await fs.unlink(d300, toBytes(`name-${n}`))
  await fs.sync()
  await fs.truncate(one, 100_000)
  await fs.unlink(fs.root, toBytes('two'))
  await fs.write(one, 3, pattern(100, two))
  await fs.removexattr(one, 'user.large')
  await fs.setxattr(d3, 'user.a', pattern(500, 2))
  await fs.rename(fs.root, toBytes('d30'), d3, toBytes('moved'))
  await fs.symlink(d300, toBytes('link'), pattern(800, 3), ATTRIBUTES)
  await fs.close()
}

async function content(image: BlockDevice): Promise<Uint8Array> {
  const bytes = new Uint8Array(image.size)
  await image.read(0, bytes)
  return bytes
}

// Generations of inodes begin at random; the same change has to give the same bytes here.
beforeEach(() => {
  const random = vi.spyOn(globalThis.crypto, 'getRandomValues').mockImplementation(array => array)
  return () => random.mockRestore()
})

describe.skipIf(!haveTool('xfs_repair'))('the power fails while an XFS is changed', () => {
  for (const [format, options] of SCENES)
    test(`${format}, blocks of ${options.blockSize} bytes: all or nothing, and nothing to repair`, async () => {
      const folder = temporaryFolder()
      const open = format === 'raw' ? openRaw : openCow
      const disk = new MemoryDevice(SIZE)
      await makeXfs(disk, { small: true, ...options })
      await before(disk)
      const made = new FaultMedium()
      const storage = await made.create(NAME)
      if (format === 'raw') await storage.write(0, disk.toBytes())
      else await createQcow2(storage, { size: SIZE, clusterSize: 4096 })
      const first = await open(made)
      for await (const { offset, length, kind } of disk.extents(0, SIZE)) {
        if (kind !== 'data') continue
        const bytes = new Uint8Array(length)
        await disk.read(offset, bytes)
        await first.write(offset, bytes)
      }
      await first.commit()
      const old = await content(first)
      await first.close()
      const files = { [NAME]: made.content(NAME) ?? new Uint8Array() }

      const changeOn = async (medium: FaultMedium): Promise<void> => {
        const image = await open(medium)
        await change(image)
        await image.commit()
        await image.close()
      }
      const whole = new FaultMedium(files)
      await changeOn(whole)
      const next = await content(await open(whole))
      expect(Buffer.compare(old, next)).not.toBe(0)
      const trees = new Set<string>()
      for (const bytes of [old, next]) {
        const path = join(folder, 'checked')
        writeFileSync(path, bytes)
        const { status, stdout } = await run('xfs_repair', ['-n', '-f', path])
        expect(`${status}\n${stdout}`).toMatch(/^0\n/)
        const tree = await snapshot(await openXfs(new MemoryDevice(bytes)))
        trees.add(createHash('sha1').update(JSON.stringify(tree)).digest('hex'))
      }
      expect(trees.size).toBe(2)

      const counts = [0, 0]
      for (let stopAt = 0; stopAt < whole.operations; stopAt++) {
        const medium = new FaultMedium(files, { stopAt })
        await expect(changeOn(medium)).rejects.toSatisfy(error => isDrydiskError(error, 'EIO'))
        for (const loss of LOSSES) {
          const image = await open(medium.afterPowerLoss(loss))
          const found = await content(image)
          const which = [old, next].findIndex(each => Buffer.compare(each, found) === 0)
          expect(which, `operation ${stopAt}, ${JSON.stringify(loss)}`).toBeGreaterThanOrEqual(0)
          counts[which] = (counts[which] ?? 0) + 1
          await image.close()
        }
      }
      for (const count of counts) expect(count).toBeGreaterThan(0)
    })
})
