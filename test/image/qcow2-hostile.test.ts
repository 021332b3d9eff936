import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryStorage } from '../../src/device/memory-storage.ts'
import { DrydiskError } from '../../src/errors.ts'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import { haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { openAlone, qemuCheck } from '../support/qcow2.ts'

const SIZE = 384 << 10
/** Longest that any damaged image may take, in milliseconds; the machine that tests may be slow. */
const PATIENCE = 20_000

const MAKE: readonly (readonly string[])[] = [
  ['cluster_size=4096'],
  ['cluster_size=512', '-c'],
  ['cluster_size=64k,compression_type=zstd', '-c'],
  ['cluster_size=16k,extended_l2=on'],
  ['cluster_size=4096,refcount_bits=1'],
  ['cluster_size=1024,compat=0.10'],
  ['cluster_size=4096', 'snapshot'],
  ['cluster_size=1024', 'bitmap'],
  ['cluster_size=1024,lazy_refcounts=on', 'dirty'],
]

async function build(folder: string): Promise<Uint8Array[]> {
  const content = new Uint8Array(SIZE)
  for (let at = 0; at < SIZE; at++) content[at] = at % 32_768 < 24_000 ? (at >>> 8) * 3 + 1 : 0
  writeFileSync(join(folder, 'raw'), content)
  const images: Uint8Array[] = []
  for (const [options = '', extra] of MAKE) {
    const path = join(folder, 'i.qcow2')
    const compress = extra === '-c' ? ['-c'] : []
    await runOk('qemu-img', [
      'convert',
      ...compress,
      '-f',
      'raw',
      '-O',
      'qcow2',
      '-o',
      options,
      join(folder, 'raw'),
      path,
    ])
    if (extra === 'snapshot') {
      await runOk('qemu-img', ['snapshot', '-c', 's', path])
      await runOk('qemu-io', ['-c', 'write -P 3 10k 40k', path])
    }
    if (extra === 'bitmap') await runOk('qemu-img', ['bitmap', '--add', path, 'b'])
    const bytes = new Uint8Array(readFileSync(path))
    if (extra === 'dirty') bytes[79] = 1
    images.push(bytes)
  }
  return images
}

interface Damage {
  readonly where: 'header' | 'tables' | 'anywhere' | 'cut'
  readonly at: number
  readonly width: 1 | 4 | 8
  readonly value: 'zero' | 'ones' | 'small' | 'flip' | 'near'
  readonly bits: number
}

const damages: fc.Arbitrary<Damage[]> = fc.array(
  fc.record({
    where: fc.constantFrom<Damage['where']>(
      'header',
      'header',
      'tables',
      'tables',
      'tables',
      'anywhere',
      'cut',
    ),
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    width: fc.constantFrom<Damage['width']>(1, 4, 8),
    value: fc.constantFrom<Damage['value']>('zero', 'ones', 'small', 'flip', 'near'),
    bits: fc.nat(0xffff),
  }),
  { minLength: 1, maxLength: 3 },
)

/** Offsets of what the header and the tables point at: where damage hurts most. */
function tableOffsets(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const cluster = 2 ** view.getUint32(20)
  const low = (at: number): number => (at + 8 <= bytes.length ? view.getUint32(at + 4) : 0)
  const found = [low(40), low(48), low(64)]
  for (const table of [low(40), low(48)])
    for (let entry = 0; entry < 24; entry++) found.push(low(table + entry * 8))
  return found.filter(at => at > 0 && at < bytes.length && at % cluster === 0)
}

function damage(original: Uint8Array, list: readonly Damage[]): Uint8Array {
  let bytes = original.slice()
  const tables = tableOffsets(original)
  for (const { where, at, width, value, bits } of list) {
    if (where === 'cut') {
      bytes = bytes.slice(0, Math.floor(at * bytes.length))
      continue
    }
    let offset = Math.floor(at * (bytes.length - 8))
    if (where === 'header') offset = Math.floor(at * 26) * 4
    else if (where === 'tables') {
      const table = tables[Math.floor(at * tables.length)] ?? 0
      offset = table + (bits % 64) * 8
    }
    for (let index = 0; index < width && offset + index < bytes.length && offset >= 0; index++) {
      const last = index === width - 1
      const old = bytes[offset + index] ?? 0
      if (value === 'zero') bytes[offset + index] = 0
      else if (value === 'ones') bytes[offset + index] = 0xff
      else if (value === 'small') bytes[offset + index] = last ? bits & 0xff : 0
      else if (value === 'flip')
        bytes[offset + index] = index === bits % width ? old ^ (1 << (bits % 8)) : old
      else if (index >= width - 3) bytes[offset + index] = old + (bits % 5) - 2
    }
  }
  return bytes
}

/** Lets typed errors pass and nothing else. */
async function tolerant<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof DrydiskError) return undefined
    throw error
  }
}

async function readSome(image: Qcow2Image): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(Math.min(image.size, SIZE))
  return tolerant(async () => {
    await image.read(0, bytes)
    return bytes
  })
}

describe.skipIf(!haveTool('qemu-img'))('damaged qcow2 images', () => {
  it('give an answer or a typed error; writing to one never makes it worse', async () => {
    const folder = temporaryFolder()
    const images = await build(folder)
    let opened = 0
    let committed = 0
    let turn = 0
    await fc.assert(
      fc.asyncProperty(fc.nat(images.length - 1), damages, async (which, list) => {
        const start = performance.now()
        const bytes = damage(images[which] ?? new Uint8Array(), list)
        await tolerant(async () => {
          const image = await openAlone(new MemoryStorage(bytes), false)
          opened++
          await readSome(image)
          await tolerant(async () => {
            for await (const extent of image.extents(0, image.size)) expect(extent.length).toBeGreaterThan(0)
          })
          await tolerant(() => image.check())
          await image.close()
        })
        await tolerant(async () => {
          const storage = new MemoryStorage(bytes)
          const image = await openAlone(storage, true)
          const before = await readSome(image)
          if (before === undefined || before.length < 70_000) return
          const problems = await image.check()
          await image.write(5000, new Uint8Array(30_000).fill(7))
          await image.erase(50_000, 20_000)
          await image.commit()
          committed++
          before.fill(7, 5000, 35_000)
          before.fill(0, 50_000, 70_000)
          const after = await readSome(image)
          expect(Buffer.compare(after ?? new Uint8Array(), before)).toBe(0)
          const found = await image.check()
          expect(found.corruptions).toBeLessThanOrEqual(problems.corruptions)
          if (turn++ % 10 === 0) {
            const written = new Uint8Array(storage.size)
            await storage.read(0, written)
            writeFileSync(join(folder, 'after.qcow2'), written)
            const qemu = await qemuCheck(join(folder, 'after.qcow2'))
            expect(qemu).toMatchObject({ corruptions: found.corruptions, leaks: found.leaks })
          }
        })
        expect(performance.now() - start).toBeLessThan(PATIENCE)
      }),
      propertySettings(300),
    )
    // The damage must leave enough to be worth the test.
    expect(opened).toBeGreaterThan(30)
    expect(committed).toBeGreaterThan(10)
  })
})
