import { createHash } from 'node:crypto'
import { readlinkSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeXfs } from '../../native-fixtures/xfs-images.ts'
import type { FileType } from '../../src/filesystem/filesystem.ts'
import {
  emptyAttributes,
  removeAttribute,
  setAttribute,
} from '../../src/filesystem/xfs/attribute-edit/attribute-edit.ts'
import { nameHash } from '../../src/filesystem/xfs/dir-name.ts'
import { listNames, lookupName } from '../../src/filesystem/xfs/directory.ts'
import { addEntry, initDirectory } from '../../src/filesystem/xfs/directory-edit/directory-edit.ts'
import { readData } from '../../src/filesystem/xfs/file-data.ts'
import { writeData } from '../../src/filesystem/xfs/fork/file-write.ts'
import { readTarget } from '../../src/filesystem/xfs/symlink.ts'
import { storeTarget } from '../../src/filesystem/xfs/symlink-edit.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { pattern } from '../support/filesystem-contract.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { expectKernelSees, expectValues, sameHash, type Values } from '../support/xfs-attributes.ts'
import { scattered, stingy, withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

interface Variant {
  readonly name: string
  readonly args: readonly string[]
  readonly blockSize: number
  readonly v4?: boolean
}

const VARIANTS: readonly Variant[] = [
  {
    name: 'version 4, attr=1, blocks of 512 bytes',
    args: ['-m', 'crc=0', '-i', 'size=256,attr=1', '-b', 'size=512'],
    blockSize: 512,
    v4: true,
  },
  { name: 'as mkfs.xfs makes it', args: [], blockSize: 4096 },
  {
    name: 'blocks of 1 KiB, reverse mapping',
    args: ['-b', 'size=1024', '-m', 'rmapbt=1', '-i', 'nrext64=1'],
    blockSize: 1024,
  },
  {
    name: 'blocks of 64 KiB, inodes of 2 KiB, without what came later',
    args: ['-b', 'size=65536', '-i', 'size=2048,nrext64=0', '-m', 'finobt=0,reflink=0,bigtime=0'],
    blockSize: 65_536,
  },
]

/** What has attributes, and how it begins. */
const OBJECTS: readonly {
  readonly name: string
  readonly type: FileType
  readonly pieces?: number
  readonly names?: number
  readonly target?: number
}[] = [
  { name: 'empty', type: 'file' },
  { name: 'pieces', type: 'file', pieces: 5 },
  { name: 'many-pieces', type: 'file', pieces: 60 },
  { name: 'directory', type: 'directory', names: 2 },
  { name: 'full-directory', type: 'directory', names: 9 },
  { name: 'large-directory', type: 'directory', names: 60 },
  { name: 'link', type: 'symlink', target: 20 },
  { name: 'long-link', type: 'symlink', target: 120 },
  { name: 'longer-link', type: 'symlink', target: 330 },
  { name: 'longest-link', type: 'symlink', target: 1023 },
  { name: 'fifo', type: 'fifo' },
  { name: 'device', type: 'character-device' },
]
const MODES: Readonly<Record<string, number>> = {
  file: 0o100644,
  directory: 0o040755,
  symlink: 0o120777,
  fifo: 0o010644,
  'character-device': 0o020644,
}

function targetOf(length: number): Uint8Array {
  return new TextEncoder().encode('target-'.repeat(200).slice(0, length))
}

async function makeObjects(writer: XfsWriter): Promise<void> {
  const { volume, inodes, inodeAllocator } = writer
  for (const { name, type, pieces = 0, names = 0, target = 0 } of OBJECTS)
    await inTransaction(writer, async () => {
      const root = await inodes.edit(volume.superblock.sb_rootino)
      const inode = await inodeAllocator.allocate(root.ino, MODES[type] ?? 0)
      inode.di_nlink = 1
      if (type === 'directory') {
        initDirectory(writer, inode, root.ino)
        inode.di_nlink = 2
        root.di_nlink++
      }
      await addEntry(writer, root, new TextEncoder().encode(name), inode.ino, type)
      for (let index = 0; index < pieces; index++) await addPiece(writer, inode.ino, index)
      for (let index = 0; index < names; index++) await addName(writer, inode.ino, index)
      if (target > 0) await storeTarget(writer, inode, targetOf(target))
    })
}

/** One more extent, behind a hole. */
async function addPiece(writer: XfsWriter, ino: number, index: number): Promise<void> {
  const at = index * 2 * writer.volume.geometry.blockSize
  await writeData(writer, await writer.inodes.edit(ino), at, pattern(9, index))
}

/** One more name of the file `empty`. */
async function addName(writer: XfsWriter, ino: number, index: number): Promise<void> {
  const file = await writer.inodes.edit(await inodeOf(writer, 'empty'))
  file.di_nlink++
  const name = new TextEncoder().encode(`name-${index}-${'x'.repeat(index % 17)}`)
  await addEntry(writer, await writer.inodes.edit(ino), name, file.ino, 'file')
}

async function inodeOf({ volume, inodes }: XfsWriter, name: string): Promise<number> {
  const root = await inodes.read(volume.superblock.sb_rootino)
  return lookupName({ volume, inodes }, root, new TextEncoder().encode(name))
}

/** So few, and their values so short, that a leaf holds them: see the test of those that no leaf holds. */
const SAME = 3

const NAMES: readonly string[] = [
  ...Array.from({ length: SAME }, (_, index) => sameHash(index)),
  ...Array.from({ length: 40 }, (_, index) => `n${index}`),
  ...Array.from({ length: 12 }, (_, index) => `${index}-${'long'.repeat(60)}`),
  'selinux',
  'apparmor',
  'é-ü',
  'y'.repeat(245),
]
const SPACES = ['user.', 'trusted.', 'security.'] as const

type Operation =
  | {
      readonly op: 'set'
      readonly name: number
      readonly space: number
      readonly length: number
      readonly seed: number
    }
  | { readonly op: 'many'; readonly from: number; readonly count: number; readonly length: number }
  | { readonly op: 'remove'; readonly which: number }
  | { readonly op: 'remove most'; readonly keep: number }
  | { readonly op: 'empty' }
  | { readonly op: 'grow' }

const lengths = (blockSize: number) =>
  fc.oneof(
    { weight: 4, arbitrary: fc.nat({ max: 40 }) },
    { weight: 3, arbitrary: fc.nat({ max: 300 }) },
    { weight: 2, arbitrary: fc.nat({ max: Math.min(65_536, blockSize) }) },
    { weight: 1, arbitrary: fc.constantFrom(0, 255, 256, Math.floor(blockSize * 0.75) - 20, 65_536) },
    { weight: 1, arbitrary: fc.nat({ max: 65_536 }) },
  )

const operations = (blockSize: number) =>
  fc.array(
    fc.oneof<{ weight: number; arbitrary: fc.Arbitrary<Operation> }[]>(
      {
        weight: 8,
        arbitrary: fc.record({
          op: fc.constant('set'),
          name: fc.nat({ max: NAMES.length - 1 }),
          space: fc.nat({ max: 2 }),
          length: lengths(blockSize),
          seed: fc.nat({ max: 250 }),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          op: fc.constant('many'),
          from: fc.nat({ max: NAMES.length - 1 }),
          count: fc.nat({ max: NAMES.length }),
          length: fc.nat({ max: Math.min(3000, Math.floor(blockSize / 3)) }),
        }),
      },
      { weight: 5, arbitrary: fc.record({ op: fc.constant('remove'), which: fc.nat({ max: 100 }) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('remove most'), keep: fc.nat({ max: 4 }) }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant('empty') }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('grow') }) },
    ),
    { minLength: 3, maxLength: 25 },
  )

/** What an object has, and what it is beside its attributes. */
interface Model {
  readonly values: Values
  grown: number
}

class Life {
  readonly #writer: XfsWriter
  readonly #ino: number
  readonly #type: FileType
  readonly #model: Model

  constructor(writer: XfsWriter, ino: number, type: FileType, model: Model) {
    this.#writer = writer
    this.#ino = ino
    this.#type = type
    this.#model = model
  }

  async #set(name: string, length: number, seed: number): Promise<void> {
    const value = pattern(name.includes(sameHash(0).slice(-6)) ? length % 5 : length, seed)
    await inTransaction(this.#writer, async () =>
      setAttribute(this.#writer, await this.#writer.inodes.edit(this.#ino), name, value),
    )
    this.#model.values.set(name, value)
  }

  async #remove(name: string): Promise<void> {
    await inTransaction(this.#writer, async () =>
      removeAttribute(this.#writer, await this.#writer.inodes.edit(this.#ino), name),
    )
    this.#model.values.delete(name)
  }

  #nameOf(name: number, space: number): string {
    const known = this.#type === 'file' || this.#type === 'directory' ? space : (space % 2) + 1
    const text = NAMES[name % NAMES.length] ?? ''
    // The namespace is no part of the hash.
    return `${SPACES[known] ?? ''}${text}${name % NAMES.length < SAME ? '' : known}`
  }

  async run(operation: Operation): Promise<void> {
    const { values } = this.#model
    if (operation.op === 'set')
      await this.#set(this.#nameOf(operation.name, operation.space), operation.length, operation.seed)
    else if (operation.op === 'many')
      for (let index = 0; index < operation.count; index++)
        await this.#set(this.#nameOf(operation.from + index, index % 3), operation.length, index)
    else if (operation.op === 'remove') {
      const name = [...values.keys()][operation.which % Math.max(1, values.size)]
      if (name !== undefined) await this.#remove(name)
    } else if (operation.op === 'remove most')
      for (const name of [...values.keys()].slice(operation.keep)) await this.#remove(name)
    else if (operation.op === 'empty') {
      await inTransaction(this.#writer, async () =>
        emptyAttributes(this.#writer, await this.#writer.inodes.edit(this.#ino)),
      )
      values.clear()
    } else if (this.#type === 'file' || this.#type === 'directory') {
      const index = 1000 + this.#model.grown++
      const add = this.#type === 'file' ? addPiece : addName
      await inTransaction(this.#writer, () => add(this.#writer, this.#ino, index))
    }
  }

  async check(all = true): Promise<void> {
    await expectValues(this.#writer, this.#ino, this.#model.values, all)
  }
}

/** Names, content and targets of what a writer sees, apart from attributes. */
async function contentOf(writer: XfsWriter, ino: number): Promise<string> {
  const { volume, inodes } = writer
  const inode = await inodes.read(ino)
  const hash = createHash('sha1')
  if (inode.type === 'file') {
    const bytes = new Uint8Array(4096)
    for (let at = 0; at < inode.di_size; at += bytes.length) {
      const length = await readData(volume, inode, at, bytes)
      hash.update(bytes.subarray(0, length))
    }
  } else if (inode.type === 'symlink') hash.update(await readTarget(volume, inode))
  else if (inode.type === 'directory')
    for await (const { name, ino: of } of listNames({ volume, inodes }, inode))
      hash.update(name).update(`${of}`)
  return hash.digest('hex')
}

const tools = haveTool('mkfs.xfs') && haveTool('xfs_repair')

test('names that are to have one hash have it', () => {
  expect(
    new Set(Array.from({ length: 64 }, (_, index) => nameHash(new TextEncoder().encode(sameHash(index)))))
      .size,
  ).toBe(1)
})

describe.skipIf(!tools)('attributes changed on XFS', () => {
  for (const variant of VARIANTS)
    test(variant.name, async () => {
      const image = join(temporaryFolder(), 'image')
      await makeXfs(image, 320, variant.args)
      writes(image, 'xfs')
      await withXfsWriter(
        image,
        makeObjects,
        stingy(() => 1),
      )
      await runOk('xfs_repair', ['-n', '-f', image])
      const models = new Map<string, Model>(
        OBJECTS.map(({ name }) => [name, { values: new Map(), grown: 0 }]),
      )
      await fc.assert(
        fc.asyncProperty(
          fc.nat({ max: OBJECTS.length - 1 }),
          operations(variant.blockSize),
          fc.nat({ max: 6 }),
          async (which, list, piece) => {
            const object = OBJECTS[which]
            const model = object && models.get(object.name)
            if (object === undefined || model === undefined) return
            let step = 0
            const wrap =
              piece === 6 ? scattered(which) : stingy(() => (piece === 0 ? 1 << 30 : 1 + (step++ % piece)))
            await withXfsWriter(
              image,
              async writer => {
                const ino = await inodeOf(writer, object.name)
                const life = new Life(writer, ino, object.type, model)
                const grown = model.grown
                const before = await contentOf(writer, ino)
                for (const operation of list) {
                  await life.run(operation)
                  await life.check(false)
                }
                await life.check()
                if (model.grown === grown) expect(await contentOf(writer, ino)).toBe(before)
              },
              wrap,
            )
            if (process.env.DRYDISK_RUNS !== undefined) await runOk('xfs_repair', ['-n', '-f', image])
          },
        ),
        propertySettings(8),
      )
      await withXfsWriter(image, async writer => {
        for (const { name, type } of OBJECTS) {
          const model = models.get(name)
          if (model !== undefined) await new Life(writer, await inodeOf(writer, name), type, model).check()
        }
      })
      if (variant.v4 || !haveLoopMounts()) return
      await runOk('xfs_repair', ['-n', '-f', image])
      const values = new Map([...models].map(([name, model]) => [name, model.values]))
      await expectKernelSees(image, values, top =>
        expect(readlinkSync(join(top, 'longest-link'))).toBe(Buffer.from(targetOf(1023)).toString()),
      )
    })
})
