import { closeSync, copyFileSync, mkdirSync, openSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  DATA_VARIANTS,
  type Ext4Variant,
  inodesOfRoot,
  makeExt4Image,
  withExt4,
  withKernelMount,
} from '../../native-fixtures/ext4-images.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { punchData, readData, truncateData, writeData } from '../../src/filesystem/ext4/file-data.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

type Step =
  | { readonly kind: 'write'; readonly file: number; readonly offset: number; readonly length: number }
  | { readonly kind: 'truncate'; readonly file: number; readonly size: number }
  | { readonly kind: 'punch'; readonly file: number; readonly offset: number; readonly length: number }
  | { readonly kind: 'reopen' }

const FILES = 3
const FILLERS = 120

/** What a file should hold; far beyond what it holds, zeros. */
class ModelFile {
  #bytes = Buffer.alloc(1 << 16)
  size = 0

  get content(): Buffer {
    return this.#bytes.subarray(0, this.size)
  }
  write(offset: number, from: Uint8Array): void {
    this.#grow(offset + from.length)
    this.#bytes.set(from, offset)
    this.size = Math.max(this.size, offset + from.length)
  }
  truncate(size: number): void {
    this.#grow(size)
    if (size < this.size) this.#bytes.fill(0, size, this.size)
    this.size = size
  }
  punch(offset: number, length: number): void {
    this.#bytes.fill(0, Math.min(offset, this.size), Math.min(offset + length, this.size))
  }
  #grow(size: number): void {
    if (size <= this.#bytes.length) return
    const grown = Buffer.alloc(Math.max(size, this.#bytes.length * 2))
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}

const file = fc.nat(FILES - 1)
const position = fc.oneof(
  fc.nat(300),
  fc.nat(70_000),
  fc.nat(400).map(block => block * 1024),
  fc.nat(6_000_000),
  fc.nat(30).map(times => times * 65_536),
)
const length = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 200 }), weight: 3 },
  { arbitrary: fc.integer({ min: 1, max: 9000 }), weight: 3 },
  { arbitrary: fc.integer({ min: 1, max: 20 }).map(blocks => blocks * 4096), weight: 2 },
  { arbitrary: fc.integer({ min: 1, max: 500_000 }), weight: 1 },
)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    arbitrary: fc.record({ kind: fc.constant('write' as const), file, offset: position, length }),
    weight: 8,
  },
  { arbitrary: fc.record({ kind: fc.constant('truncate' as const), file, size: position }), weight: 2 },
  {
    arbitrary: fc.record({ kind: fc.constant('punch' as const), file, offset: position, length }),
    weight: 2,
  },
  { arbitrary: fc.record({ kind: fc.constant('reopen' as const) }), weight: 1 },
)

function bytesOf(seed: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count)
  for (let at = 0; at < count; at++) bytes[at] = (seed * 31 + at * 7 + (at >>> 8)) | 1
  return bytes
}

/** An image with empty files to write to, one of them with unwritten blocks, and fillers that free space can be cut from. */
async function baseImage(variant: Ext4Variant): Promise<string> {
  const tree = join(temporaryFolder(), 'tree')
  mkdirSync(tree)
  for (let index = 0; index < FILES; index++) writeFileSync(join(tree, `file${index}`), '')
  for (let index = 0; index < FILLERS; index++)
    writeFileSync(join(tree, `filler${index}`), bytesOf(index, 9000 + index * 100))
  return makeExt4Image({ ...variant, megabytes: 24, arguments: [...variant.arguments, '-d', tree] })
}

async function apply(
  filesystem: Ext4FileSystem,
  inos: readonly number[],
  models: readonly ModelFile[],
  steps: readonly Step[],
  start: number,
): Promise<number> {
  const { context } = filesystem
  for (let index = start; index < steps.length; index++) {
    const step = steps[index]
    if (step === undefined || step.kind === 'reopen') return index + 1
    const model = models[step.file]
    const inode = await context.inodes.read(inos[step.file] ?? 0)
    if (model === undefined) continue
    try {
      if (step.kind === 'write') {
        const bytes = bytesOf(index, step.length)
        await writeData(context, inode, step.offset, bytes)
        model.write(step.offset, bytes)
      } else if (step.kind === 'truncate') {
        await truncateData(context, inode, step.size)
        model.truncate(step.size)
      } else {
        await punchData(context, inode, step.offset, step.length)
        model.punch(step.offset, step.length)
      }
    } catch (error) {
      if (!isDrydiskError(error, 'ENOSPC')) throw error
      // What was written before space ran out stays; the model takes it over.
      const content = new Uint8Array(inode.size)
      await readData(context, inode, 0, content)
      model.truncate(0)
      model.write(0, content)
    }
  }
  return steps.length
}

async function checkContent(
  filesystem: Ext4FileSystem,
  inos: readonly number[],
  models: readonly ModelFile[],
): Promise<void> {
  for (const [index, model] of models.entries()) {
    const ino = inos[index] ?? 0
    expect((await filesystem.stat(ino)).size).toBe(model.size)
    const content = new Uint8Array(model.size + 1)
    expect(await filesystem.read(ino, 0, content)).toBe(model.size)
    expect(Buffer.compare(content.subarray(0, model.size), model.content), `file${index}`).toBe(0)
  }
}

function readHostFile(path: string, size: number): Buffer {
  const bytes = Buffer.alloc(size + 1)
  const handle = openSync(path, 'r')
  const got = readSync(handle, bytes, 0, size + 1, 0)
  closeSync(handle)
  return bytes.subarray(0, got)
}

async function checkByKernel(image: string, models: readonly ModelFile[]): Promise<void> {
  await withKernelMount(
    image,
    folder => {
      for (const [index, model] of models.entries())
        expect(
          Buffer.compare(readHostFile(join(folder, `file${index}`), model.size), model.content),
          `file${index}`,
        ).toBe(0)
    },
    'loop,ro',
  )
}

describe('content that is written reads back, here and in the kernel', () => {
  for (const variant of DATA_VARIANTS)
    it.skipIf(!haveTool('mke2fs') || !haveTool('debugfs'))(variant.name, async () => {
      const base = await baseImage(variant)
      const inos = await inodesOfRoot(base)
      const targets = Array.from({ length: FILES }, (_, index) => inos.get(`file${index}`) ?? 0)
      const fallocated = `${base}.fallocated`
      copyFileSync(base, fallocated)
      if (/ext4/.test(variant.arguments.join()) && !/\^extent/.test(variant.arguments.join()))
        await runOk('debugfs', ['-w', '-R', 'fallocate /file0 3 700', fallocated])
      const image = writes(`${base}.test`, 'ext4')
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 1, maxLength: 40 }),
          fc.boolean(),
          async (steps, fragmented) => {
            copyFileSync(fallocated, image)
            const models = Array.from({ length: FILES }, () => new ModelFile())
            for (let at = 0; at < steps.length; )
              await withExt4(image, true, async filesystem => {
                if (at === 0 && fragmented)
                  for (let index = 0; index < FILLERS; index += 2)
                    await truncateData(
                      filesystem.context,
                      await filesystem.context.inodes.read(inos.get(`filler${index}`) ?? 0),
                      0,
                    )
                at = await apply(filesystem, targets, models, steps, at)
                await filesystem.context.sync()
              })
            await withExt4(image, false, filesystem => checkContent(filesystem, targets, models))
            await runOk('e2fsck', ['-fn', image])
            if (variant.kernel !== false && haveLoopMounts()) await checkByKernel(image, models)
          },
        ),
        propertySettings(3),
      )
    })
})
