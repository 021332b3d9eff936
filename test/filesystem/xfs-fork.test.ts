import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { lookupName } from '../../src/filesystem/xfs/directory.ts'
import { readData } from '../../src/filesystem/xfs/file-data.ts'
import { truncateData, writeData } from '../../src/filesystem/xfs/fork/file-write.ts'
import { ForkEditor } from '../../src/filesystem/xfs/fork/fork-edit.ts'
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
import { stingy, withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

interface Variant {
  readonly name: string
  readonly args: readonly string[]
  readonly blockSize: number
  readonly v4?: boolean
  readonly reflink?: boolean
  /** Blocks that are left free. */
  readonly left?: number
}

const VARIANTS: readonly Variant[] = [
  {
    name: 'version 4, blocks of 512 bytes',
    args: ['-m', 'crc=0', '-b', 'size=512', '-i', 'size=256'],
    blockSize: 512,
    v4: true,
  },
  {
    name: 'blocks of 1 KiB, reverse mapping, shared blocks',
    args: ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1', '-i', 'nrext64=1'],
    blockSize: 1024,
    reflink: true,
  },
  { name: 'as mkfs.xfs makes it, nearly full', args: [], blockSize: 4096, reflink: true, left: 110 },
  {
    name: 'blocks of 64 KiB, nothing shared',
    args: ['-b', 'size=65536', '-m', 'reflink=0,finobt=0', '-i', 'size=2048'],
    blockSize: 65536,
  },
]

const FILES = 12

/** Files `f0` … with some content, `g0` … that share it, and `u0` … with unwritten blocks. */
async function makeImage({ args, blockSize, v4, reflink }: Variant): Promise<string> {
  const folder = temporaryFolder()
  const [image, proto, content] = [join(folder, 'image'), join(folder, 'proto'), join(folder, 'content')]
  mkdirSync(content)
  const lines = ['/', '0 0', 'd--755 0 0']
  for (let n = 0; n < FILES; n++) {
    writeFileSync(join(content, `f${n}`), pattern(lengthOf(n, blockSize), n + 1))
    lines.push(`f${n} ---644 0 0 ${join(content, `f${n}`)}`)
  }
  writeFileSync(proto, [...lines, 'full ---644 0 0 /dev/null', '$', ''].join('\n'))
  await runOk('truncate', ['-s', '320M', image])
  await runOk('mkfs.xfs', ['-q', ...args, '-p', proto, image])
  if (!v4 && haveLoopMounts())
    await withXfsMount(image, 'noatime', async top => {
      for (let n = 0; n < FILES; n++) {
        const [file, copy, reserved] = ['f', 'g', 'u'].map(letter => join(top, `${letter}${n}`))
        if (!file || !copy || !reserved) throw new Error('no names')
        await runOk('cp', reflink ? ['--reflink=always', file, copy] : [file, copy])
        writeFileSync(reserved, pattern(n * 100, n))
        const keep = n % 2 === 0 ? ['-n'] : []
        await runOk('fallocate', [...keep, '-o', `${blockSize}`, '-l', `${blockSize * 30}`, reserved])
      }
    })
  return writes(image, 'xfs')
}

function lengthOf(n: number, blockSize: number): number {
  return n % 3 === 0 ? 0 : Math.floor(n * 3.4 * blockSize)
}

type Operation =
  | { readonly op: 'write'; readonly at: number; readonly length: number; readonly seed: number }
  | { readonly op: 'comb'; readonly at: number; readonly count: number; readonly seed: number }
  | { readonly op: 'truncate'; readonly size: number }

/** Places near the borders of blocks. */
const place = (blockSize: number, most: number) =>
  fc
    .tuple(fc.nat({ max: most }), fc.constantFrom(0, 0, 1, blockSize - 1, Math.floor(blockSize / 3)))
    .map(([block, rest]) => block * blockSize + rest)

const operations = (blockSize: number) =>
  fc.array(
    fc.tuple(
      fc.nat({ max: 2 }),
      fc.oneof<fc.Arbitrary<Operation>[]>(
        fc.record({
          op: fc.constant('write'),
          at: place(blockSize, 60),
          length: place(blockSize, 9),
          seed: fc.nat({ max: 250 }),
        }),
        fc.record({
          op: fc.constant('comb'),
          at: fc.nat({ max: 30 }),
          count: fc.integer({ min: 5, max: 40 }),
          seed: fc.nat({ max: 250 }),
        }),
        fc.record({ op: fc.constant('truncate'), size: place(blockSize, 100) }),
      ),
    ),
    { minLength: 4, maxLength: 24 },
  )

/** A file's bytes as they should be. */
class Model {
  bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  resize(size: number): void {
    const bytes = new Uint8Array(size)
    bytes.set(this.bytes.subarray(0, size))
    this.bytes = bytes
  }

  write(at: number, from: Uint8Array): void {
    if (from.length === 0) return
    if (at + from.length > this.bytes.length) this.resize(at + from.length)
    this.bytes.set(from, at)
  }
}

async function inodeOf({ volume, inodes }: XfsWriter, name: string): Promise<number> {
  const root = await inodes.read(volume.superblock.sb_rootino)
  return lookupName({ volume, inodes }, root, new TextEncoder().encode(name))
}

async function contentOf(writer: XfsWriter, ino: number): Promise<Uint8Array> {
  const inode = await writer.inodes.read(ino)
  const bytes = new Uint8Array(inode.di_size)
  await readData(writer.volume, inode, 0, bytes)
  return bytes
}

async function write(writer: XfsWriter, ino: number, at: number, from: Uint8Array): Promise<void> {
  await inTransaction(writer, async () => writeData(writer, await writer.inodes.edit(ino), at, from))
}

/** Leaves so many blocks free. */
async function fill(writer: XfsWriter, left: number): Promise<void> {
  const ino = await inodeOf(writer, 'full')
  await inTransaction(writer, async () => {
    const editor = new ForkEditor(writer, await writer.inodes.edit(ino), 'data')
    const count = (await writer.space.freeBlocks()) - left
    await editor.allocate(0, count, { unwritten: true })
  })
}

/** A change; `false` when there was no space for it. */
async function fits(change: Promise<void>): Promise<boolean> {
  try {
    await change
    return true
  } catch (error) {
    if (isDrydiskError(error, 'ENOSPC')) return false
    throw error
  }
}

async function run(
  writer: XfsWriter,
  { ino, model }: { readonly ino: number; readonly model: Model },
  operation: Operation,
): Promise<void> {
  const { blockSize } = writer.volume.geometry
  if (operation.op === 'truncate') {
    const change = inTransaction(writer, async () =>
      truncateData(writer, await writer.inodes.edit(ino), operation.size),
    )
    if (await fits(change)) model.resize(operation.size)
  } else if (operation.op === 'write') {
    const from = pattern(operation.length, operation.seed)
    if (await fits(write(writer, ino, operation.at, from))) model.write(operation.at, from)
  } else
    for (let index = 0; index < operation.count; index++) {
      const at = (operation.at + index * 2) * blockSize + (index % 3)
      const from = pattern(7, operation.seed + index)
      if (await fits(write(writer, ino, at, from))) model.write(at, from)
    }
}

const tools = haveTool('mkfs.xfs') && haveTool('xfs_repair')

describe.skipIf(!tools)('file content on XFS', () => {
  for (const variant of VARIANTS)
    test(variant.name, async () => {
      const image = await makeImage(variant)
      const { left } = variant
      if (left !== undefined) await withXfsWriter(image, writer => fill(writer, left))
      const models = new Map<string, Model>()
      const mounted = !variant.v4 && haveLoopMounts()
      let next = 0
      await fc.assert(
        fc.asyncProperty(operations(variant.blockSize), fc.nat({ max: 9 }), async (list, piece) => {
          const n = next++ % FILES
          const names = mounted ? [`f${n}`, `g${n}`, `u${n}`] : [`f${n}`, `f${(n + 4) % FILES}`]
          let step = 0
          const wrap = stingy(() => (piece === 0 ? 1 << 30 : 1 + (step++ % piece)))
          await withXfsWriter(
            image,
            async writer => {
              const files: { ino: number; model: Model }[] = []
              for (const name of names) {
                const ino = await inodeOf(writer, name)
                const model = models.get(name) ?? new Model(await contentOf(writer, ino))
                models.set(name, model)
                files.push({ ino, model })
              }
              for (const [which, operation] of list) {
                const file = files[which % files.length]
                if (file === undefined) continue
                await run(writer, file, operation)
                expect(Buffer.compare(await contentOf(writer, file.ino), file.model.bytes)).toBe(0)
              }
            },
            wrap,
          )
        }),
        propertySettings(variant.blockSize > 4096 ? 4 : 8),
      )
      await withXfsWriter(image, async writer => {
        for (const [name, { bytes }] of models)
          expect(Buffer.compare(await contentOf(writer, await inodeOf(writer, name)), bytes), name).toBe(0)
      })
      if (!mounted) return
      await runOk('xfs_repair', ['-n', '-f', image])
      await withXfsMount(image, 'noatime', async top => {
        for (const [name, { bytes }] of models)
          expect(Buffer.compare(readFileSync(join(top, name)), bytes), name).toBe(0)
        // And Linux goes on where drydisk ended.
        await runOk('sh', [
          '-ec',
          `cd ${top}; rm -f *0 *4 full; for f in *1 *5; do truncate -s 7000 $f; done; sync`,
        ])
        for (const name of ['f2', 'g3', 'u6'])
          await runOk('xfs_io', ['-c', 'pwrite -q 5000 3000', '-c', 'fpunch 20000 100000', join(top, name)])
      })
    })
})
