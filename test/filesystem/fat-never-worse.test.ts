import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeFatImage, withFat } from '../../native-fixtures/fat-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { FatFileSystem } from '../../src/filesystem/fat/filesystem.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import { tryEverything } from '../support/fat-damage.ts'
import { ownFatTree } from '../support/mtools.ts'
import { haveTool, peersFolder, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'

const b = (text: string) => new TextEncoder().encode(text)
const rw = { mode: 0o644, uid: 0, gid: 0 }

/** Sound images of each type with the same few files, and how far their tables and their root directory reach. */
async function smallImages(): Promise<readonly (readonly [Uint8Array, number])[]> {
  const out: [Uint8Array, number][] = []
  for (const [bits, kilobytes] of [
    [12, 300],
    [16, 2400],
    [32, 300],
  ] as const) {
    const image = await makeFatImage({
      name: '',
      arguments: ['-F', `${bits}`, '-s', '1', '-R', '2'],
      kilobytes,
    })
    const device = new MemoryDevice(readFileSync(image))
    const fs = await openFat(device, { writable: true })
    const a = await fs.mkdir(fs.root, b('a directory'), rw)
    const inner = await fs.mkdir(a, b('B'), rw)
    await fs.write(await fs.create(inner, b('a long name.txt'), rw), 0, new Uint8Array(3000))
    await fs.write(await fs.create(fs.root, b('f'), rw), 0, new Uint8Array(6000))
    await fs.close()
    const bytes = device.toBytes()
    const view = new DataView(bytes.buffer)
    const tables = 1024 + 1024 * (view.getUint16(22, true) || view.getUint32(36, true))
    out.push([bytes, tables + 4096])
  }
  return out
}

test.skipIf(!haveTool('mkfs.fat'))('random damage ends in a tree or in typed errors', async () => {
  const images = await smallImages()
  let written = 0
  const damage = fc.nat(images.length - 1).chain(which => {
    const [bytes = new Uint8Array(), end = 0] = images[which] ?? []
    const place = fc.oneof(
      fc.nat(90),
      fc.integer({ min: 1024, max: 1060 }),
      fc.integer({ min: end - 4096, max: end }),
      fc.nat(end),
      fc.nat(bytes.length - 1),
    )
    const change = fc.tuple(place, fc.integer({ min: 0, max: 255 }))
    return fc.tuple(fc.constant(which), fc.array(change, { minLength: 1, maxLength: 6 }))
  })
  await fc.assert(
    fc.asyncProperty(damage, async ([which, changes]) => {
      const bytes = (images[which]?.[0] ?? new Uint8Array()).slice()
      for (const [at, value] of changes) bytes[at] = value
      await tryEverything(bytes)
      if (await staysReadable(bytes)) written++
    }),
    propertySettings(150),
  )
  expect(written).toBeGreaterThan(10)
})

/** What is written leaves every other file as it was. @returns whether the image was written at all. */
async function staysReadable(bytes: Uint8Array): Promise<boolean> {
  const device = new MemoryDevice(bytes)
  try {
    const fs = await openFat(device, { writable: true })
    const before = await readable(fs)
    const d = await fs.mkdir(fs.root, b('a new directory'), rw)
    await fs.write(await fs.create(d, b('new'), rw), 0, new Uint8Array(20_000).fill(9))
    await fs.close()
    expect(await readable(await openFat(device))).toMatchObject(before)
    return true
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return false
  }
}

/** Path → bytes in hexadecimal, of every file that can be read. */
async function readable(fs: FatFileSystem): Promise<Record<string, string>> {
  const files: Record<string, string> = {}
  const visit = async (path: string, ino: InodeNumber): Promise<void> => {
    try {
      for await (const { name, ino: child, type } of fs.readdir(ino)) {
        const at = `${path}/${Buffer.from(name).toString('hex')}`
        if (type === 'directory') await visit(at, child)
        else {
          const { size } = await fs.stat(child)
          if (size > 1 << 20) continue
          const content = new Uint8Array(size)
          try {
            await fs.read(child, 0, content)
          } catch (error) {
            if (!isDrydiskError(error)) throw error
            continue
          }
          files[at] ??= Buffer.from(content).toString('hex')
        }
      }
    } catch (error) {
      if (!isDrydiskError(error)) throw error
    }
  }
  await visit('', fs.root)
  return files
}

test.skipIf(!haveTool('fsck.fat'))(
  'clusters that no file has: FSInfo stays right about what fsck.fat will give back',
  async () => {
    const image = await makeFatImage({
      name: '',
      arguments: ['-F', '32', '-s', '1', '-R', '12'],
      kilobytes: 300,
    })
    const bytes = readFileSync(image)
    const [fat, length] = [bytes.readUInt16LE(14) * 512, bytes.readUInt32LE(36) * 512]
    for (const start of [fat, fat + length]) bytes.writeUInt32LE(0x0fff_ffff, start + 4 * 300)
    writeFileSync(image, bytes)
    const before = await run('fsck.fat', ['-n', image])
    expect(before.stdout).toMatch(/Reclaimed 1 unused cluster/)
    await withFat(image, { writable: true }, async fs => {
      await fs.write(await fs.create(fs.root, b('new'), rw), 0, new Uint8Array(5000))
    })
    const after = await run('fsck.fat', ['-n', image])
    expect(after.stdout.split('\n')).toHaveLength(before.stdout.split('\n').length)
  },
)

const peers = peersFolder()
describe.skipIf(!peers || !haveTool('fsck.fat') || !haveTool('xz'))("other projects' images", () => {
  const unpack = async (archive: string, pattern: string) => {
    const folder = join(temporaryFolder(), archive)
    mkdirSync(folder)
    await runOk('tar', ['-xJf', `${peers}/${archive}.tar.xz`, '-C', folder, '--wildcards', pattern])
    return (await runOk('find', [folder, '-name', '*.img'])).trim().split('\n').sort()
  }
  const edit = async (image: string) => {
    const device = new StorageDevice(await FileStorage.open(image, 'write'))
    try {
      const fs = await openFat(device, { writable: true })
      const before = await ownFatTree(fs)
      const d = await fs.mkdir(fs.root, b('a new folder'), rw)
      await fs.write(await fs.create(d, b('new file.txt'), rw), 0, b('content'))
      const after = await ownFatTree(fs)
      expect(Object.keys(after).filter(path => before[path] !== after[path])).toHaveLength(2)
      await fs.close()
    } finally {
      await device.close()
    }
  }
  /** Lines of complaint, those apart that every image of this kind gets. */
  const complaints = async (image: string) => {
    const { status, stdout } = await run('fsck.fat', ['-n', image])
    return { status, lines: stdout.split('\n').filter(line => !/clusters$|^fsck|^$/.test(line)).length }
  }

  test('damaged ones: after an edit fsck.fat has no more to say; else the edit was refused', async () => {
    let refused = 0
    for (const image of await unpack('small', './fat-broken/*')) {
      const before = await complaints(image)
      try {
        await edit(image)
      } catch (error) {
        if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
        refused++
      }
      const after = await complaints(image)
      expect({ image, worse: after.status > before.status || after.lines > before.lines }).toEqual({
        image,
        worse: false,
      })
    }
    expect(refused).toBeGreaterThan(3)
  })

  test('sound ones over the options of mkfs.fat are read and written', async () => {
    const images = await unpack('syz', './vfat_*')
    expect(images.length).toBeGreaterThan(30)
    const step = process.env.DRYDISK_RUNS === undefined ? 4 : 1
    for (const image of images.filter((_, index) => index % step === 0)) {
      const before = await complaints(image)
      await edit(image).catch(error => {
        if (!isDrydiskError(error, 'ENOSPC')) throw error
      })
      const after = await complaints(image)
      expect({ image, worse: after.status > before.status || after.lines > before.lines }).toEqual({
        image,
        worse: false,
      })
    }
  })
})
