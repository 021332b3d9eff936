import { createHash } from 'node:crypto'
import { lstatSync, readFileSync, readlinkSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  DATA_VARIANTS,
  type Ext4Variant,
  makeExt4Image,
  withExt4,
  withKernelMount,
  writeAt,
} from '../../native-fixtures/ext4-images.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import { checkWrittenImages, haveLoopMounts, haveTool, run } from '../support/native.ts'

checkWrittenImages()

function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed | 1
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) | 0
    bytes[at] = state >>> 16
  }
  return bytes
}

interface Expected {
  readonly name: string
  readonly ino: number
  readonly size: number
  readonly sha256: string
  readonly target?: string
}

/** Files whose maps differ, made by the kernel. */
async function populate(folder: string): Promise<Expected[]> {
  const names: string[] = []
  const file = (name: string) => {
    names.push(name)
    return join(folder, name)
  }
  writeFileSync(file('empty'), '')
  writeFileSync(file('tiny'), 'tiny content\n')
  writeFileSync(file('hundred'), pattern(100, 3))
  writeFileSync(file('inline-grown'), 'x')
  truncateSync(join(folder, 'inline-grown'), 50)
  writeFileSync(file('dense'), pattern(3_000_001, 7))
  // Every other block of 1 KiB to 4 KiB, so that no two extents join: several levels of nodes.
  const step = 8192
  writeAt(
    file('comb'),
    Array.from({ length: 800 }, (_, index) => index * step),
    pattern(700, 5),
  )
  // Reaches the third level of pointer blocks with 1 KiB blocks, the second with 4 KiB.
  writeAt(file('far'), [0, 60 << 10, (1 << 20) + 5, 70_000_000], pattern(9000, 9))
  writeFileSync(file('only-hole'), '')
  truncateSync(join(folder, 'only-hole'), 5_000_000)
  const fallocated = await run('fallocate', ['-l', '3000000', file('unwritten')])
  if (fallocated.status === 0) writeAt(join(folder, 'unwritten'), [1_000_000, 2_000_000], pattern(5000, 11))
  writeFileSync(file('behind-the-end'), '')
  const kept = await run('fallocate', ['-n', '-l', '2000000', join(folder, 'behind-the-end')])
  writeAt(join(folder, 'behind-the-end'), [0], pattern(5000, 13))
  if (kept.status === 0) expect(fallocated.status).toBe(0)
  writeFileSync(file('punched'), pattern(400_000, 15))
  await run('fallocate', ['-p', '-o', '50000', '-l', '100000', join(folder, 'punched')])

  const expected: Expected[] = names.map(name => {
    const path = join(folder, name)
    const content = readFileSync(path)
    const sha256 = createHash('sha256').update(content).digest('hex')
    return { name, ino: lstatSync(path).ino, size: content.length, sha256 }
  })
  for (const length of [1, 59, 60, 61, 200, 1000]) {
    const path = join(folder, `link${length}`)
    symlinkSync('t'.repeat(length), path)
    expected.push({
      name: `link${length}`,
      ino: lstatSync(path).ino,
      size: length,
      sha256: '',
      target: readlinkSync(path),
    })
  }
  return expected
}

async function checkFile(filesystem: Ext4FileSystem, wanted: Expected): Promise<void> {
  if (wanted.target !== undefined) {
    expect(new TextDecoder().decode(await filesystem.readlink(wanted.ino))).toBe(wanted.target)
    return
  }
  const { size } = await filesystem.stat(wanted.ino)
  expect(size, wanted.name).toBe(wanted.size)
  // Longer than the file, and dirty, so that every byte has to be put there.
  const content = new Uint8Array(size + 10).fill(0xaa)
  expect(await filesystem.read(wanted.ino, 0, content)).toBe(size)
  expect(createHash('sha256').update(content.subarray(0, size)).digest('hex'), wanted.name).toBe(
    wanted.sha256,
  )

  let next = 0
  for await (const extent of filesystem.fileExtents(wanted.ino)) {
    expect(extent.offset).toBe(next)
    expect(extent.length).toBeGreaterThan(0)
    next += extent.length
    if (extent.kind === 'hole' || extent.kind === 'unwritten')
      expect(Buffer.compare(content.subarray(extent.offset, next), Buffer.alloc(extent.length))).toBe(0)
  }
  expect(next).toBe(size)

  for (let probe = 0; probe < 20 && size > 0; probe++) {
    const from = Math.floor((probe / 20) * size)
    const piece = new Uint8Array(Math.min(6001, size - from + 5)).fill(0x55)
    const got = await filesystem.read(wanted.ino, from, piece)
    expect(got).toBe(Math.min(piece.length, size - from))
    expect(Buffer.compare(piece.subarray(0, got), content.subarray(from, from + got))).toBe(0)
  }
}

/** Read only: clusters of four blocks. */
const BIGALLOC: Ext4Variant = {
  name: 'ext4, bigalloc',
  arguments: ['-t', 'ext4', '-b', '4096', '-O', 'bigalloc', '-C', '16384'],
  megabytes: 64,
}

describe('reading content that the kernel wrote', () => {
  for (const variant of [...DATA_VARIANTS, BIGALLOC].filter(variant => variant.kernel !== false))
    it.skipIf(!haveLoopMounts() || !haveTool('mke2fs'))(variant.name, async () => {
      const image = await makeExt4Image(variant)
      const expected = await withKernelMount(image, populate)
      await withExt4(image, false, async filesystem => {
        for (const wanted of expected) await checkFile(filesystem, wanted)
        expect(await filesystem.read(expected[0]?.ino ?? 0, 100, new Uint8Array(10))).toBe(0)
        await expect(filesystem.read(filesystem.root, 0, new Uint8Array(1))).rejects.toMatchObject({
          code: 'EISDIR',
        })
      })
    })
})
