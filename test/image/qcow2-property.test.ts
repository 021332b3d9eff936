import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { openFile, qemuRaw, readAll } from '../support/qcow2.ts'

checkWrittenImages()

interface Shape {
  readonly clusterBits: number
  readonly refcountBits: number
  readonly version: 2 | 3
  readonly extended: boolean
  readonly lazy: boolean
  readonly dirty: boolean
  readonly content: 'empty' | 'plain' | 'zlib' | 'zstd'
  readonly backing: 'none' | 'shorter' | 'longer' | 'qcow2'
  readonly snapshot: boolean
  readonly dataFile: 'none' | 'plain' | 'raw'
  /** Of the disk, in units of a 64th of its base size, so that sizes off the cluster grid come up. */
  readonly size: number
}

type Step =
  | {
      readonly do: 'write' | 'erase'
      readonly at: number
      readonly length: number
      readonly aligned: boolean
      readonly fill: number
    }
  | { readonly do: 'commit' | 'rollback' | 'reopen' | 'check' }

const shapes: fc.Arbitrary<Shape> = fc
  .record({
    clusterBits: fc.constantFrom(9, 9, 10, 12, 14, 16, 16, 17, 21),
    refcountBits: fc.constantFrom(16, 16, 1, 2, 4, 8, 32, 64),
    version: fc.constantFrom<2 | 3>(3, 3, 3, 2),
    extended: fc.constantFrom(false, false, true),
    lazy: fc.constantFrom(false, false, false, true),
    dirty: fc.boolean(),
    content: fc.constantFrom<Shape['content']>('empty', 'plain', 'zlib', 'zstd'),
    backing: fc.constantFrom<Shape['backing']>('none', 'none', 'shorter', 'longer', 'qcow2'),
    snapshot: fc.constantFrom(false, false, true),
    dataFile: fc.constantFrom<Shape['dataFile']>('none', 'none', 'none', 'none', 'plain', 'raw'),
    size: fc.integer({ min: 20, max: 64 }),
  })
  .map(shape => {
    const two = shape.version === 2
    const dataFile = two || shape.extended ? 'none' : shape.dataFile
    const compressed = shape.content === 'zlib' || shape.content === 'zstd'
    return {
      ...shape,
      refcountBits: two ? 16 : shape.refcountBits,
      lazy: !two && shape.lazy,
      extended: shape.extended && !two && shape.clusterBits >= 14,
      content:
        dataFile !== 'none' && compressed
          ? 'plain'
          : two && shape.content === 'zstd'
            ? 'zlib'
            : shape.content,
      backing:
        shape.content === 'empty' || dataFile !== 'raw'
          ? dataFile === 'raw'
            ? 'none'
            : shape.backing
          : 'none',
      // Narrow refcounts cannot count compressed clusters that a snapshot shares.
      snapshot: shape.snapshot && shape.refcountBits >= 8 && dataFile === 'none',
      dataFile,
    }
  })

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constantFrom('write' as const, 'write' as const, 'erase' as const),
        at: fc.double({ min: 0, max: 1, noNaN: true }),
        length: fc.oneof(fc.constantFrom(0.0001, 0.001, 0.01), fc.double({ min: 0, max: 0.5, noNaN: true })),
        aligned: fc.boolean(),
        fill: fc.integer({ min: 1, max: 255 }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constantFrom('commit' as const, 'rollback' as const, 'reopen' as const, 'check' as const),
      }),
    },
  ),
  { minLength: 1, maxLength: 14 },
)

function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed
  for (let at = 0; at < length; at++) {
    if ((at & 0xfff) === 0) state = (Math.imul(state, 1103515245) + 12345) >>> 0
    // Pages that compress, pages of zeros, pages that do not.
    const kind = (state >>> 16) % 3
    if (kind === 1) bytes[at] = state
    else if (kind === 2) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      bytes[at] = state >>> 24
    }
  }
  return bytes
}

/** Makes the image with qemu-img. @returns what the guest sees. */
async function build(folder: string, shape: Shape): Promise<{ path: string; model: Uint8Array }> {
  const base = Math.max(256 << 10, 6 << shape.clusterBits)
  const size = Math.floor((base * shape.size) / 64 / 512) * 512
  const path = join(folder, 'image.qcow2')
  const raw = join(folder, 'content.raw')
  const options = [`cluster_size=${1 << shape.clusterBits}`, `compat=${shape.version === 2 ? '0.10' : '1.1'}`]
  if (shape.version === 3) options.push(`refcount_bits=${shape.refcountBits}`)
  if (shape.extended) options.push('extended_l2=on')
  if (shape.lazy) options.push('lazy_refcounts=on')
  if (shape.content === 'zstd') options.push('compression_type=zstd')
  if (shape.dataFile !== 'none') options.push(`data_file=${join(folder, 'data.bin')}`)
  if (shape.dataFile === 'raw') options.push('data_file_raw=on')

  const model = new Uint8Array(size)
  if (shape.backing === 'none') {
    if (shape.content !== 'empty') model.set(noise(size, shape.size))
    writeFileSync(raw, model)
    if (shape.content === 'empty')
      await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options.join(), path, String(size)])
    else {
      const compress = shape.content === 'plain' ? [] : ['-c']
      await runOk('qemu-img', [
        'convert',
        ...compress,
        '-f',
        'raw',
        '-O',
        'qcow2',
        '-o',
        options.join(),
        raw,
        path,
      ])
    }
  } else {
    const backed = Math.floor((size * (shape.backing === 'shorter' ? 0.6 : 1.3)) / 512) * 512
    const bytes = noise(backed, shape.size + 1)
    writeFileSync(raw, bytes)
    const name = shape.backing === 'qcow2' ? join(folder, 'base.qcow2') : raw
    if (shape.backing === 'qcow2') await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, name])
    const format = shape.backing === 'qcow2' ? 'qcow2' : 'raw'
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-b',
      name,
      '-F',
      format,
      '-o',
      options.join(),
      path,
      String(size),
    ])
    model.set(bytes.subarray(0, size))
    if (shape.content !== 'empty') {
      await runOk('qemu-io', [
        '-c',
        `write -P 99 ${Math.floor(size / 1024) * 256} 4096`,
        '-c',
        `write -z 0 ${Math.floor(size / 4096) * 512}`,
        path,
      ])
      model.fill(0, 0, Math.floor(size / 4096) * 512)
      model.fill(99, Math.floor(size / 1024) * 256, Math.floor(size / 1024) * 256 + 4096)
    }
  }
  if (shape.snapshot) {
    await runOk('qemu-img', ['snapshot', '-c', 'kept', path])
    await runOk('qemu-io', ['-c', `write -P 77 8192 20000`, path])
    writeFileSync(join(folder, 'kept.raw'), model)
    model.fill(77, 8192, 28192)
  }
  if (shape.lazy && shape.dirty && shape.version === 3) {
    const bytes = readFileSync(path)
    bytes[79] = (bytes[79] ?? 0) | 1
    writeFileSync(path, bytes)
  }
  return { path: writes(path, 'qcow2'), model }
}

async function expectSame(image: Qcow2Image, model: Uint8Array): Promise<void> {
  expect(Buffer.compare(await readAll(image), model)).toBe(0)
  let at = 0
  for await (const extent of image.extents(0, image.size)) {
    expect(extent.offset).toBe(at)
    expect(extent.length).toBeGreaterThan(0)
    at += extent.length
    if (extent.kind === 'zero') expect(model.subarray(extent.offset, at).every(byte => byte === 0)).toBe(true)
  }
  expect(at).toBe(image.size)
}

describe.skipIf(!haveTool('qemu-img'))('random changes to qcow2 images that qemu-img made', () => {
  it('reads, stages, commits and rolls back as a byte array would', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, steps, async (shape, list) => {
        const folder = temporaryFolder()
        const { path, model: initial } = await build(folder, shape)
        let committed = initial
        let model = initial.slice()
        let image = await openFile(path, true)
        await expectSame(image, model)
        for (const step of list) {
          if (step.do === 'write' || step.do === 'erase') {
            const unit = step.aligned ? image.clusterSize : 1
            const at = Math.min(image.size, Math.floor((step.at * image.size) / unit) * unit)
            const length = Math.min(image.size - at, Math.ceil((step.length * image.size) / unit) * unit)
            if (step.do === 'erase') {
              await image.erase(at, length)
              model.fill(0, at, at + length)
            } else {
              const bytes = noise(length, step.fill).map(byte => byte ^ step.fill)
              await image.write(at, bytes)
              model.set(bytes, at)
            }
          } else if (step.do === 'commit') {
            await image.commit()
            committed = model.slice()
            expect(image.dirty).toBe(false)
          } else if (step.do === 'rollback') {
            await image.rollback()
            model = committed.slice()
          } else if (step.do === 'reopen') {
            await image.close()
            image = await openFile(path, true)
            model = committed.slice()
          } else await expectSame(image, model)
        }
        await expectSame(image, model)
        await image.commit()
        expect(await image.check()).toMatchObject(
          shape.dataFile === 'none' && !shape.dirty ? { corruptions: 0, leaks: 0 } : {},
        )
        await image.close()

        await qemuRaw(path, join(folder, 'after.raw'))
        expect(Buffer.compare(readFileSync(join(folder, 'after.raw')), model)).toBe(0)
        if (shape.snapshot) {
          await qemuRaw(path, join(folder, 'snapshot.raw'), 'kept')
          expect(
            Buffer.compare(
              readFileSync(join(folder, 'snapshot.raw')),
              readFileSync(join(folder, 'kept.raw')),
            ),
          ).toBe(0)
        }
        if (shape.dataFile === 'raw')
          expect(
            Buffer.compare(readFileSync(join(folder, 'data.bin')).subarray(0, model.length), model),
          ).toBe(0)
        await runOk('qemu-img', ['check', '-f', 'qcow2', path])
        const reader = await openFile(path, false)
        await expectSame(reader, model)
        await reader.close()
      }),
      propertySettings(25),
    )
  })
})
