import { existsSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Ext4Variant,
  makeExt4Image,
  withExt4,
  withKernelMount,
} from '../../native-fixtures/ext4-images.ts'
import { byteKey, bytesOfKey, toBytes } from '../../src/bytes/names.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import { checkWrittenImages, haveLoopMounts, propertySettings, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const rw = { mode: 0o644, uid: 0, gid: 0 }
const VARIANTS: readonly Ext4Variant[] = [
  { name: 'htrees in 1 KiB blocks', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 8 },
  { name: 'inline directories', arguments: ['-t', 'ext4', '-b', '1024', '-O', 'inline_data'], megabytes: 8 },
  {
    name: 'inline directories in large inodes',
    arguments: ['-t', 'ext4', '-b', '4096', '-I', '1024', '-O', 'inline_data'],
    megabytes: 8,
  },
  {
    name: 'no index, no file types',
    arguments: ['-t', 'ext2', '-b', '1024', '-O', '^dir_index,^filetype'],
    megabytes: 8,
  },
  { name: 'blocks of 64 KiB', arguments: ['-t', 'ext4', '-b', '65536'], megabytes: 32 },
]

interface Command {
  readonly do: 'add' | 'remove' | 'move' | 'mkdir' | 'attribute'
  readonly pick: number
  readonly length: number
}

const command: fc.Arbitrary<Command> = fc.record({
  do: fc.oneof(
    { weight: 8, arbitrary: fc.constant('add' as const) },
    { weight: 3, arbitrary: fc.constant('remove' as const) },
    { weight: 3, arbitrary: fc.constant('move' as const) },
    { weight: 1, arbitrary: fc.constant('mkdir' as const) },
    { weight: 1, arbitrary: fc.constant('attribute' as const) },
  ),
  pick: fc.nat(),
  length: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 255 })),
})

/** Two directories and what must be in them. */
class NamesModel {
  readonly #fs: Ext4FileSystem
  readonly #file: InodeNumber
  readonly directories: readonly [InodeNumber, Map<string, InodeNumber>][]
  #counter = 0

  constructor(fs: Ext4FileSystem, file: InodeNumber, directories: readonly InodeNumber[]) {
    this.#fs = fs
    this.#file = file
    this.directories = directories.map(ino => [ino, new Map<string, InodeNumber>()])
  }

  /** Every byte but NUL and the slash comes up; short names may be there already. */
  #name(length: number): string {
    let name = ''
    for (let i = 0, state = this.#counter++; i < length; i++) {
      state = (Math.imul(state, 1_103_515_245) + 12_345 + i) >>> 0
      const byte = (state >>> 16) & 0xff
      name += String.fromCharCode(byte === 0 || byte === 0x2f || byte === 0x2e ? 0x61 : byte)
    }
    return name
  }

  async run({ do: what, pick, length }: Command): Promise<void> {
    const fs = this.#fs
    const [directory, names] = this.directories[pick % 2] ?? [0, new Map<string, InodeNumber>()]
    const [other, otherNames] = this.directories[(pick >>> 1) % 2] ?? [0, new Map<string, InodeNumber>()]
    const name = this.#name(length)
    const present = [...names.keys()][pick % Math.max(1, names.size)]
    if (what === 'add') {
      if (names.has(name))
        await expect(fs.link(this.#file, directory, bytesOfKey(name))).rejects.toMatchObject({
          code: 'EEXIST',
        })
      else {
        await fs.link(this.#file, directory, bytesOfKey(name))
        names.set(name, this.#file)
      }
    } else if (what === 'mkdir' && !names.has(name)) {
      names.set(name, await fs.mkdir(directory, bytesOfKey(name), { ...rw, mode: 0o755 }))
    } else if (what === 'attribute') {
      await fs.setxattr(directory, 'user.x', new Uint8Array(pick % 90).fill(1))
    } else if (what === 'remove' && present !== undefined) {
      if (names.get(present) === this.#file) await fs.unlink(directory, bytesOfKey(present))
      else await fs.rmdir(directory, bytesOfKey(present))
      names.delete(present)
    } else if (what === 'move' && present !== undefined && !otherNames.has(name)) {
      await fs.rename(directory, bytesOfKey(present), other, bytesOfKey(name))
      otherNames.set(name, names.get(present) ?? 0)
      names.delete(present)
    }
  }

  async check(): Promise<void> {
    for (const [directory, names] of this.directories) {
      const listed = new Map<string, InodeNumber>()
      for await (const entry of this.#fs.readdir(directory)) listed.set(byteKey(entry.name), entry.ino)
      const order = (map: Map<string, InodeNumber>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1))
      expect(order(listed)).toEqual(order(names))
      for (const [name, ino] of names) expect(await this.#fs.lookup(directory, bytesOfKey(name))).toBe(ino)
      const subdirectories = [...names.values()].filter(ino => ino !== this.#file)
      expect((await this.#fs.stat(directory)).nlink).toBe(2 + subdirectories.length)
      for (const ino of subdirectories) expect(await this.#fs.lookup(ino, toBytes('..'))).toBe(directory)
    }
  }
}

describe('names in directories', () => {
  for (const variant of VARIANTS)
    test(`${variant.name}: as a map, whatever comes and goes`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(command, { minLength: 40, maxLength: 400 }), async commands => {
          const image = writes(await makeExt4Image(variant), 'ext4')
          await withExt4(image, true, async fs => {
            const file = await fs.create(fs.root, toBytes('file'), rw)
            const one = await fs.mkdir(fs.root, toBytes('one'), { ...rw, mode: 0o755 })
            const two = await fs.mkdir(fs.root, toBytes('two'), { ...rw, mode: 0o755 })
            const model = new NamesModel(fs, file, [one, two])
            for (const one of commands) await model.run(one)
            await model.check()
            await fs.close()
          })
          await runOk('e2fsck', ['-fn', image])
        }),
        propertySettings(4),
      )
    })

  test.skipIf(!haveLoopMounts())(
    'inline directories of the kernel grow here until they need a block',
    async () => {
      const image = writes(
        await makeExt4Image({ name: '', arguments: ['-t', 'ext4', '-O', 'inline_data'], megabytes: 16 }),
        'ext4',
      )
      await withKernelMount(image, folder => {
        for (let i = 0; i < 12; i++) {
          mkdirSync(join(folder, `d${i}`))
          for (let j = 0; j < i; j++) writeFileSync(join(folder, `d${i}`, `name${j}`), '')
        }
      })
      await withExt4(image, true, async fs => {
        for (let i = 0; i < 12; i++) {
          const directory = await fs.lookup(fs.root, toBytes(`d${i}`))
          expect(await fs.lookup(directory, toBytes('..'))).toBe(fs.root)
          for (let j = 0; j < i; j++) await fs.lookup(directory, toBytes(`name${j}`))
          await fs.create(directory, toBytes('more'), rw)
          if (i > 2) await fs.unlink(directory, toBytes('name1'))
          for (let j = 0; j < i; j++) await fs.mkdir(directory, toBytes(`sub${j}`), { ...rw, mode: 0o755 })
          await fs.rename(fs.root, toBytes(`d${i}`), fs.root, toBytes(`e${i}`))
        }
        await fs.close()
      })
      await runOk('e2fsck', ['-fn', image])
      await withKernelMount(image, folder => {
        for (let i = 0; i < 12; i++) {
          const names = readdirSync(join(folder, `e${i}`))
          expect(names.length).toBe(2 * i + 1 - (i > 2 ? 1 : 0))
          for (const name of names) lstatSync(join(folder, `e${i}`, name))
          expect(existsSync(join(folder, `e${i}`, 'more'))).toBe(true)
          mkdirSync(join(folder, `e${i}`, 'by-the-kernel'))
        }
      })
    },
  )
})
