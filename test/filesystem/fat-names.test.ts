import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FAT_VARIANTS, makeFatImage, withFat } from '../../native-fixtures/fat-images.ts'
import { toBytes } from '../../src/bytes/names.ts'
import { CodePage } from '../../src/filesystem/fat/code-page.ts'
import { buildLongName, LongNameReader, shortNameChecksum } from '../../src/filesystem/fat/long-name.ts'
import { makeShortName, shortNameText } from '../../src/filesystem/fat/short-name.ts'
import { bytesToName, foldName, nameToBytes } from '../../src/filesystem/fat/utf16-name.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { mtools } from '../support/mtools.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

const b = toBytes
const rw = { mode: 0o644, uid: 0, gid: 0 }
const [FAT32 = { name: '', arguments: [], kilobytes: 0 }, , , FAT16 = FAT32] = FAT_VARIANTS
const latin = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')

async function names(fs: FileSystem): Promise<string[]> {
  const out: string[] = []
  for await (const { name } of fs.readdir(fs.root)) out.push(new TextDecoder().decode(name))
  return out
}

describe('short names', () => {
  const codePage = new CodePage()

  // What Linux's vfat writes with shortname=mixed: 11 bytes, NT's case flags, and whether there is a long name as well.
  test.each([
    ['README.TXT', 'README  TXT', 0, false],
    ['readme.txt', 'README  TXT', 0x18, false],
    ['readme.TXT', 'README  TXT', 0x08, false],
    ['README.txt', 'README  TXT', 0x10, false],
    ['Readme.txt', 'README  TXT', 0, true],
    ['123', '123        ', 0, false],
    ['grub.cfg', 'GRUB    CFG', 0x18, false],
    ['BOOTX64.EFI', 'BOOTX64 EFI', 0, false],
    ['loader.conf', 'LOADER~1CON', 0, true],
    ['longfilename', 'LONGFI~1   ', 0, true],
    ['a.b.c', 'AB~1    C  ', 0, true],
    ['.hidden', 'HIDDEN~1   ', 0, true],
    ['a b', 'AB~1       ', 0, true],
    ['a+b', 'A_B~1      ', 0, true],
    ['日本語', '___~1      ', 0, true],
    ['é', '\x90          ', 0, true],
    ['É', '\x90          ', 0, true],
    ['.x', 'X~1        ', 0, true],
  ])('%s', (name, bytes, flags, needsLongName) => {
    const short = makeShortName(name, codePage, () => false)
    expect([latin(short.bytes), short.flags, short.needsLongName]).toEqual([bytes, flags, needsLongName])
    if (!needsLongName) expect(shortNameText(short.bytes, short.flags, codePage)).toBe(name)
  })

  test('are numbered from 1 to 9, then four digits of their own', () => {
    const taken = new Set<string>()
    const make = (name: string) => {
      const { bytes } = makeShortName(name, codePage, one => taken.has(latin(one)))
      taken.add(latin(bytes))
      return latin(bytes)
    }
    for (let n = 1; n <= 9; n++) expect(make(`longname${n}.text`)).toBe(`LONGNA~${n}TEX`)
    for (let n = 10; n <= 300; n++) expect(make(`longname${n}.text`)).toMatch(/^LO[0-9A-F]{4}~1TEX$/)
    expect(taken.size).toBe(300)
    const full = expect(() => makeShortName('longname0', codePage, () => true))
    full.toThrow(expect.objectContaining({ code: 'ENOSPC' }))
  })

  test.skipIf(!haveTool('python3'))('are in the code pages that Python knows', async () => {
    for (const number of [437, 850]) {
      const script = `print(bytes(range(128, 256)).decode('cp${number}'), end='')`
      const expected = await runOk('python3', ['-c', script])
      const bytes = Uint8Array.from({ length: 128 }, (_, index) => 128 + index)
      const page = new CodePage(number)
      expect(page.decode(bytes)).toBe(expected)
      for (const [index, unit] of [...expected].entries()) expect(page.encode(unit)).toBe(128 + index)
    }
  })
})

describe('long names', () => {
  const anyName = fc
    .array(fc.integer({ min: 1, max: 0xffff }), { minLength: 1, maxLength: 255 })
    .map(units => String.fromCharCode(...units))
    .filter(name => !name.includes('/') && name !== '.' && name !== '..')

  test('of any UTF-16 go to disk and back, and to bytes and back', () => {
    const short = b('ABCDEF~1TXT')
    fc.assert(
      fc.property(anyName, name => {
        const reader = new LongNameReader()
        const pieces = buildLongName(name, shortNameChecksum(short))
        for (const [index, bytes] of pieces.entries()) reader.add(index + 7, bytes)
        expect(reader.take(short)).toEqual({ name, first: 7 })
        expect(bytesToName(nameToBytes(name))).toBe(name)
      }),
      propertySettings(300),
    )
  })

  test('bytes that are no name of UTF-16 are none, and what is one has no other bytes', () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0], [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80], [0x80]])
      expect(bytesToName(Uint8Array.from(bytes))).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), bytes => {
        const name = bytesToName(bytes)
        if (name !== undefined) expect(nameToBytes(name)).toEqual(bytes)
      }),
      propertySettings(300),
    )
  })

  test('that are incomplete, out of order or of another file count for nothing', () => {
    const short = b('ABCDEF~1TXT')
    const pieces = buildLongName('x'.repeat(30), shortNameChecksum(short))
    const [one = b(''), two = b(''), three = b('')] = pieces
    for (const wrong of [
      [two, three],
      [one, three],
      [one, two],
      [one, three, two],
      [three, two, one],
      [one, one, two],
    ]) {
      const reader = new LongNameReader()
      for (const [index, bytes] of wrong.entries()) reader.add(index, bytes)
      expect(reader.take(short)).toBeUndefined()
    }
    const reader = new LongNameReader()
    for (const [index, bytes] of pieces.entries()) reader.add(index, bytes)
    expect(reader.take(b('OTHER~1 TXT'))).toBeUndefined()
    for (const bad of ['.', '..', 'a/b', '../../etc']) {
      for (const [index, bytes] of buildLongName(bad, shortNameChecksum(short)).entries())
        reader.add(index, bytes)
      expect(reader.take(short)).toBeUndefined()
    }
  })

  test('case folding keeps the length', () => {
    expect(foldName('straße ﬁ İ ı')).toHaveLength('straße ﬁ İ ı'.length)
    expect(foldName('äöü')).toBe('ÄÖÜ')
  })
})

describe('names in a directory', () => {
  test('are found by either name and whatever the case, and are kept as written', async () => {
    const image = writes(await makeFatImage(FAT32), 'vfat')
    await withFat(image, { writable: true }, async fs => {
      const long = await fs.create(fs.root, b('Long File Name.conf'), rw)
      for (const same of ['LONG FILE NAME.CONF', 'long file name.conf...', 'LONGFI~1.CON', 'longfi~1.con'])
        expect(await fs.lookup(fs.root, b(same))).toBe(long)
      await expect(fs.create(fs.root, b('longfi~1.con'), rw)).rejects.toMatchObject({ code: 'EEXIST' })
      const other = await fs.create(fs.root, b('Long File Name 2.conf'), rw)
      expect(await fs.lookup(fs.root, b('LONGFI~2.CON'))).toBe(other)
      await fs.unlink(fs.root, b('longfi~1.CON'))
      expect(await names(fs)).toEqual(['Long File Name 2.conf'])
    })
  })

  test('change their case by a rename, and only that', async () => {
    const image = writes(await makeFatImage(FAT16), 'vfat')
    await withFat(image, { writable: true }, async fs => {
      const ino = await fs.create(fs.root, b('grub.cfg'), rw)
      await fs.write(ino, 0, b('content'))
      for (const name of ['GRUB.CFG', 'Grub.cfg', 'grub.CFG', 'grub.cfg']) {
        await fs.rename(fs.root, b('grub.cfg'), fs.root, b(name))
        expect(await names(fs)).toEqual([name])
        expect(await fs.lookup(fs.root, b('grub.cfg'))).toBe(ino)
      }
      const into = new Uint8Array(7)
      await fs.read(ino, 0, into)
      expect(into).toEqual(b('content'))
    })
  })

  test("an inode number stays through renames, and is nobody else's meanwhile", async () => {
    const image = writes(await makeFatImage(FAT32), 'vfat')
    await withFat(image, { writable: true }, async fs => {
      const d = await fs.mkdir(fs.root, b('d'), rw)
      const moved = await fs.create(fs.root, b('f'), rw)
      await fs.write(moved, 0, b('moved'))
      await fs.rename(fs.root, b('f'), d, b('f'))
      const second = await fs.create(fs.root, b('g'), rw)
      await fs.write(second, 0, b('second'))
      expect(second).not.toBe(moved)
      expect((await fs.stat(moved)).size).toBe(5)
      expect((await fs.stat(second)).size).toBe(6)
      await fs.rename(d, b('f'), fs.root, b('g'))
      expect(await fs.lookup(fs.root, b('g'))).toBe(moved)
      expect((await fs.stat(moved)).size).toBe(5)
      await expect(fs.stat(second)).rejects.toMatchObject({ code: 'ENOENT' })
    })
    await withFat(image, {}, async fs => {
      const g = await fs.lookup(fs.root, b('g'))
      const d = await fs.lookup(fs.root, b('d'))
      await withFat(image, {}, async again => {
        // The place of the entry, so the number is the same whoever asks, and however they came by it.
        expect((await again.stat(g)).size).toBe(5)
        expect(await again.lookup(d, b('..'))).toBe(again.root)
      })
    })
  })

  test('surrogates without their other half survive', async () => {
    const image = writes(await makeFatImage(FAT32), 'vfat')
    const lone = nameToBytes('a\ud800b\udc00')
    await withFat(image, { writable: true }, async fs => {
      await fs.create(fs.root, lone, rw)
    })
    await withFat(image, {}, async fs => {
      await fs.lookup(fs.root, lone)
      for await (const { name } of fs.readdir(fs.root)) expect(name).toEqual(lone)
    })
  })

  test('a full root directory of FAT16 is ENOSPC, and nothing is half made', async () => {
    const image = writes(
      await makeFatImage({ ...FAT16, arguments: ['-F', '16', '-s', '4', '-r', '16'] }),
      'vfat',
    )
    await withFat(image, { writable: true }, async fs => {
      const entries = (await fs.stat(fs.root)).size / 32
      for (let n = 0; n < entries - 1; n++) await fs.create(fs.root, b(`F${n}`), rw)
      const usage = await fs.statfs()
      for (const make of ['create', 'mkdir'] as const)
        await expect(fs[make](fs.root, b('Long'), rw)).rejects.toMatchObject({ code: 'ENOSPC' })
      await fs.create(fs.root, b('LAST'), rw)
      await expect(fs.mkdir(fs.root, b('D'), rw)).rejects.toMatchObject({ code: 'ENOSPC' })
      expect((await fs.statfs()).freeBlocks).toBe(usage.freeBlocks)
      await fs.rename(fs.root, b('LAST'), fs.root, b('last'))
      expect(await names(fs)).toHaveLength(entries)
    })
  })
})

describe.skipIf(!haveTool('mcopy'))('what mtools wrote', () => {
  test.each([FAT32, FAT16])('$name', async variant => {
    const image = writes(await makeFatImage(variant), 'vfat')
    const every = [
      'UPPER.TXT',
      'lower.txt',
      'Mixed.Txt',
      'a long name.conf',
      'ünï and more.dat',
      '日本語',
      '.rc',
      'a+b',
      'a.b.c',
    ]
    const folder = temporaryFolder()
    for (const name of every) {
      writeFileSync(join(folder, name), `content of ${name}\n`.repeat(300))
      await mtools('mcopy', image, join(folder, name), '::/')
    }
    await mtools('mmd', image, '::/EFI', '::/EFI/BOOT')
    await mtools('mcopy', image, join(folder, 'lower.txt'), '::/EFI/BOOT/BOOTX64.EFI')
    await mtools('mattrib', image, '+r', '::/lower.txt')
    await withFat(image, {}, async fs => {
      expect((await names(fs)).sort()).toEqual([...every, 'EFI'].sort())
      for (const name of every) {
        const ino = await fs.lookup(fs.root, b(name))
        const into = new Uint8Array((await fs.stat(ino)).size)
        await fs.read(ino, 0, into)
        expect(new TextDecoder().decode(into)).toBe(`content of ${name}\n`.repeat(300))
        expect((await fs.stat(ino)).mode).toBe(name === 'lower.txt' ? 0o555 : 0o755)
      }
      const efi = await fs.lookup(fs.root, b('efi'))
      const boot = await fs.lookup(efi, b('boot'))
      expect(await fs.lookup(boot, b('..'))).toBe(efi)
      await fs.lookup(boot, b('bootx64.efi'))
    })
  })
})
