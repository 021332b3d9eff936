import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { FAT_VARIANTS, makeFatImage } from '../../native-fixtures/fat-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import type { FatFileSystem } from '../../src/filesystem/fat/filesystem.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import { tryEverything } from '../support/fat-damage.ts'
import { ownFatTree } from '../support/mtools.ts'
import { haveTool } from '../support/native.ts'

const b = (text: string) => new TextEncoder().encode(text)
const rw = { mode: 0o644, uid: 0, gid: 0 }

let made: Uint8Array | undefined

async function makeSample(): Promise<Uint8Array> {
  const image = await makeFatImage({ name: '', arguments: ['-F', '16', '-s', '1'], kilobytes: 3 << 10 })
  const device = new MemoryDevice(readFileSync(image))
  const fs = await openFat(device, { writable: true })
  const a = await fs.mkdir(fs.root, b('A'), rw)
  const inner = await fs.mkdir(a, b('B'), rw)
  await fs.write(await fs.create(inner, b('file'), rw), 0, b('inner'))
  for (const [name, length] of [
    ['F', 6000],
    ['G', 100],
  ] as const)
    await fs.write(await fs.create(fs.root, b(name), rw), 0, new Uint8Array(length).fill(name.charCodeAt(0)))
  await fs.close()
  return device.toBytes()
}

/** A small FAT16 with `A/B/file`, `F` of twelve clusters and `G` of one, and where its FAT and root directory are. */
async function sample() {
  made ??= await makeSample()
  const bytes = made.slice()
  const view = new DataView(bytes.buffer)
  const fat = view.getUint16(14, true) * 512
  const sectors = view.getUint16(22, true)
  const root = fat + 2 * sectors * 512
  const entry = (name: string) => {
    for (let at = root; ; at += 32)
      if (
        Buffer.from(bytes.subarray(at, at + 11))
          .toString()
          .trim() === name
      )
        return at
  }
  return { bytes, view, fat, entry }
}

type Sample = Awaited<ReturnType<typeof sample>>

async function opened(bytes: Uint8Array): Promise<FatFileSystem> {
  return openFat(new MemoryDevice(bytes), { writable: true })
}

describe.skipIf(!haveTool('mkfs.fat'))('a damaged boot sector is refused by name', () => {
  const cases: Record<string, [(view: DataView) => void, RegExp]> = {
    'sectors of 0 bytes': [v => v.setUint16(11, 0, true), /BPB_BytsPerSec is 0/],
    'sectors of 513 bytes': [v => v.setUint16(11, 513, true), /BPB_BytsPerSec is 513/],
    'clusters of 0 sectors': [v => v.setUint8(13, 0), /BPB_SecPerClus is 0/],
    'clusters of 3 sectors': [v => v.setUint8(13, 3), /BPB_SecPerClus is 3/],
    'no reserved sectors': [v => v.setUint16(14, 0, true), /BPB_RsvdSecCnt is 0/],
    'no FATs': [v => v.setUint8(16, 0), /BPB_NumFATs is 0/],
    'a media byte of 0': [v => v.setUint8(21, 0), /BPB_Media/],
    'no root directory': [v => v.setUint16(17, 0, true), /BPB_RootEntCnt/],
    'no sectors': [v => v.setUint16(19, 0, true), /no room for clusters/],
    'FATs larger than the volume': [v => v.setUint16(22, 0xffff, true), /no room for clusters/],
    'reserved sectors to the end': [v => v.setUint16(14, 0xffff, true), /no room for clusters/],
    'more clusters than FAT16 has': [
      v => {
        v.setUint16(19, 0, true)
        v.setUint32(32, 0xffff_ffff, true)
        v.setUint16(22, 0x8000, true)
      },
      /not possible with FAT16|behind the volume/,
    ],
    'FAT32 of version 1': [
      v => {
        v.setUint16(22, 0, true)
        v.setUint32(36, 40, true)
        v.setUint16(42, 0x100, true)
      },
      /version 1\.0/,
    ],
    'a root cluster that is none': [
      v => {
        v.setUint16(22, 0, true)
        v.setUint32(36, 40, true)
        v.setUint16(42, 0, true)
        v.setUint16(40, 0, true)
        v.setUint32(44, 0x0fff_fff0, true)
      },
      /BPB_RootClus/,
    ],
    'an active FAT that is not there': [
      v => {
        v.setUint16(22, 0, true)
        v.setUint32(36, 40, true)
        v.setUint16(42, 0, true)
        v.setUint16(40, 0x8f, true)
      },
      /FAT 15 is active/,
    ],
  }
  for (const [name, [damage, message]] of Object.entries(cases))
    test(name, async () => {
      const { bytes, view } = await sample()
      damage(view)
      await expect(opened(bytes)).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_(CORRUPT|UNSUPPORTED)$/),
        message: expect.stringMatching(message),
      })
    })

  test('a volume that ends early reads as far as it goes, and is not written', async () => {
    const { bytes } = await sample()
    const fs = await opened(bytes.subarray(0, bytes.length - (1 << 20)))
    expect(fs.warnings.join()).toMatch(/claims/)
    const tree = await ownFatTree(fs)
    expect(Object.keys(tree)).toHaveLength(5)
    await expect(fs.create(fs.root, b('new'), rw)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    await fs.close()
    await expect(openFat(new MemoryDevice(100))).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  })
})

describe.skipIf(!haveTool('mkfs.fat'))('damaged chains are typed errors, and then nothing is written', () => {
  const first = (s: Sample, name: string) => s.view.getUint16(s.entry(name) + 26, true)
  const cases: Record<string, [(s: Sample) => void, RegExp, 'reads' | 'fails']> = {
    'a circle': [
      s => s.view.setUint16(s.fat + 2 * (first(s, 'F') + 2), first(s, 'F'), true),
      /circle/,
      'fails',
    ],
    'a cluster that leads to itself': [
      s => s.view.setUint16(s.fat + 2 * first(s, 'F'), first(s, 'F'), true),
      /circle/,
      'fails',
    ],
    'a free cluster in it': [
      s => s.view.setUint16(s.fat + 2 * (first(s, 'F') + 1), 0, true),
      /free cluster/,
      'fails',
    ],
    'a bad cluster in it': [
      s => s.view.setUint16(s.fat + 2 * first(s, 'F'), 0xfff7, true),
      /bad cluster/,
      'fails',
    ],
    'a cluster behind the end': [
      s => s.view.setUint16(s.fat + 2 * first(s, 'F'), 0xff00, true),
      /leaves the volume/,
      'fails',
    ],
    'a first cluster of 1': [s => s.view.setUint16(s.entry('F') + 26, 1, true), /leaves the volume/, 'fails'],
    'two files with one cluster': [
      s => s.view.setUint16(s.entry('G') + 26, first(s, 'F') + 1, true),
      /another file/,
      'reads',
    ],
  }
  for (const [name, [damage, message, reading]] of Object.entries(cases))
    test(name, async () => {
      const one = await sample()
      damage(one)
      const before = one.bytes.slice()
      const device = new MemoryDevice(one.bytes)
      const fs = await openFat(device, { writable: true })
      const f = await fs.lookup(fs.root, b('F'))
      const read = fs.read(f, 0, new Uint8Array(6000))
      if (reading === 'reads') expect(await read).toBe(6000)
      else
        await expect(read).rejects.toMatchObject({
          code: 'ERR_CORRUPT',
          message: expect.stringMatching(message),
        })
      // Another file reads as ever.
      const g = await fs.lookup(fs.root, b('G'))
      expect(await fs.read(g, 0, new Uint8Array(100))).toBe(100)
      await expect(fs.create(fs.root, b('new'), rw)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
      await expect(fs.freeRanges()[Symbol.asyncIterator]().next()).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
      })
      await fs.close()
      expect(Buffer.compare(device.toBytes(), before)).toBe(0)
    })

  test('a chain that is too short for its file: read no further, cut and removed all the same', async () => {
    const one = await sample()
    one.view.setUint32(one.entry('F') + 28, 50_000, true)
    const fs = await opened(one.bytes)
    const f = await fs.lookup(fs.root, b('F'))
    await expect(fs.read(f, 0, new Uint8Array(10))).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    const g = await fs.lookup(fs.root, b('G'))
    await fs.write(g, 0, b('fine'))
    await fs.truncate(f, 4000)
    expect(await fs.read(f, 0, new Uint8Array(4000))).toBe(4000)
    await fs.unlink(fs.root, b('F'))
    await fs.close()
  })
})

describe.skipIf(!haveTool('mkfs.fat'))('damaged directories', () => {
  const inRoot = (s: Sample, name: string) => s.view.getUint16(s.entry(name) + 26, true)
  test('a file that says it is a directory is none', async () => {
    const one = await sample()
    one.view.setUint8(one.entry('G') + 11, 0x10)
    const fs = await opened(one.bytes)
    const g = await fs.lookup(fs.root, b('G'))
    await expect(fs.readdir(g)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringMatching(/no directory/),
    })
  })

  test('two entries for one directory: the second is refused, so a walk ends', async () => {
    const one = await sample()
    one.view.setUint8(one.entry('G') + 11, 0x10)
    one.view.setUint16(one.entry('G') + 26, inRoot(one, 'A'), true)
    expect(await tryEverything(one.bytes)).toContain('ERR_CORRUPT')
  })

  test('a directory that leads back up', async () => {
    const one = await sample()
    // The entry of B in A leads to A.
    const a = inRoot(one, 'A')
    const sectors = one.view.getUint16(22, true)
    const data = one.fat + 2 * sectors * 512 + one.view.getUint16(17, true) * 32
    const entry = data + (a - 2) * 512 + 64
    one.view.setUint16(entry + 26, a, true)
    expect(await tryEverything(one.bytes)).toContain('ERR_CORRUPT')
  })

  test('a short name with a slash in it', async () => {
    const one = await sample()
    one.bytes.set(b('../../X'), one.entry('G'))
    const open = opened(one.bytes)
    await expect(open).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringMatching(/no file name/),
    })
  })

  test('what is behind the end mark stays buried when names are added', async () => {
    const one = await sample()
    const end = one.entry('G') + 32
    expect(one.bytes[end]).toBe(0)
    one.bytes.set(one.bytes.subarray(one.entry('G'), one.entry('G') + 32), end + 32)
    one.bytes.set(b('BURIED  TXT'), end + 32)
    const fs = await opened(one.bytes)
    await fs.create(fs.root, b('NEW'), rw)
    expect(Object.keys(await ownFatTree(fs))).not.toContain('BURIED.TXT')
    await fs.close()
  })
})

describe.skipIf(!haveTool('mkfs.fat'))('marks', () => {
  test('a volume that was not cleanly unmounted is read and written with a warning, and stays marked', async () => {
    for (const mark of ['state', 'fat'] as const) {
      const one = await sample()
      if (mark === 'state') one.view.setUint8(37, 1)
      else one.view.setUint16(one.fat + 2, 0x7fff, true)
      const device = new MemoryDevice(one.bytes)
      const fs = await openFat(device, { writable: true })
      expect(fs.warnings.join()).toMatch(/not cleanly unmounted/)
      await fs.create(fs.root, b('new'), rw)
      await fs.close()
      expect((await openFat(device)).warnings).toEqual(fs.warnings)
    }
  })

  test('the FAT that ExtFlags names is the one that counts', async () => {
    const [FAT32] = FAT_VARIANTS
    const image = await makeFatImage(FAT32 ?? { name: '', arguments: [], kilobytes: 0 })
    const bytes = new Uint8Array(readFileSync(image))
    const view = new DataView(bytes.buffer)
    const fat = view.getUint16(14, true) * 512
    const length = view.getUint32(36, true) * 512
    view.setUint16(40, 0x81, true)
    const original = bytes.slice(fat, fat + length)
    const device = new MemoryDevice(bytes)
    const fs = await openFat(device, { writable: true })
    await fs.write(await fs.create(fs.root, b('f'), rw), 0, new Uint8Array(5000).fill(7))
    await fs.close()
    const after = device.toBytes()
    expect(Buffer.compare(after.subarray(fat, fat + length), original)).toBe(0)
    expect(Buffer.compare(after.subarray(fat + length, fat + 2 * length), original)).not.toBe(0)
    expect(Object.keys(await ownFatTree(await openFat(device)))).toEqual(['f'])
  })
})
