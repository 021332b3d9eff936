import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryStorage } from '../../src/device/memory-storage.ts'
import { openImage } from '../../src/image/open.ts'
import { ClusterAllocator } from '../../src/image/qcow2/cluster-allocator.ts'
import { ClusterCache } from '../../src/image/qcow2/cluster-cache.ts'
import { ClusterCounts } from '../../src/image/qcow2/cluster-counts.ts'
import { geometryOf } from '../../src/image/qcow2/geometry.ts'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import { StreamPacker } from '../../src/image/qcow2/staged-compression-packer.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { everyPowerLoss, openOn } from '../support/power-loss.ts'
import { openFile, qemuRaw, readAll } from '../support/qcow2.ts'

checkWrittenImages()

/** How much of it can be taken away by compression: nearly all, about half, nothing. */
type Kind = 'text' | 'half' | 'noise'

function content(length: number, kind: Kind, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = (Math.imul(seed + 1, 2_654_435_761) | 1) >>> 0
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const noise = kind === 'noise' || (kind === 'half' && at % 256 < 100)
    bytes[at] = noise ? state >>> 24 : 1 + ((at >>> 4) % 7) + (seed % 64)
  }
  return bytes
}

async function compressedClusters(path: string): Promise<number> {
  const answer = JSON.parse(await runOk('qemu-img', ['check', '--output=json', '-f', 'qcow2', path])) as {
    'compressed-clusters'?: number
  }
  return answer['compressed-clusters'] ?? 0
}

async function compressedImage(folder: string, raw: Uint8Array, ...options: string[]): Promise<string> {
  const path = join(folder, 'image.qcow2')
  writeFileSync(join(folder, 'content.raw'), raw)
  await runOk('qemu-img', [
    'convert',
    '-c',
    '-f',
    'raw',
    '-O',
    'qcow2',
    '-o',
    options.join(),
    join(folder, 'content.raw'),
    path,
  ])
  return writes(path, 'qcow2')
}

async function expectContent(path: string, model: Uint8Array): Promise<void> {
  const raw = `${path}.raw`
  await qemuRaw(path, raw)
  expect(Buffer.compare(readFileSync(raw), model)).toBe(0)
}

interface Shape {
  readonly clusterBits: number
  readonly refcountBits: number
  readonly codec: 'zlib' | 'zstd'
  readonly extended: boolean
  readonly snapshot: boolean
}

const shapes: fc.Arbitrary<Shape> = fc
  .record({
    clusterBits: fc.constantFrom(9, 10, 12, 14, 16, 16, 17),
    refcountBits: fc.constantFrom(16, 16, 16, 1, 2, 4, 8, 64),
    codec: fc.constantFrom<'zlib' | 'zstd'>('zlib', 'zstd'),
    extended: fc.boolean(),
    snapshot: fc.constantFrom(false, false, true),
  })
  .map(shape => ({
    ...shape,
    extended: shape.extended && shape.clusterBits >= 14,
    snapshot: shape.snapshot && shape.refcountBits > 8,
  }))

const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constantFrom('write' as const, 'write' as const, 'write' as const, 'erase' as const),
        at: fc.double({ min: 0, max: 1, noNaN: true }),
        length: fc.oneof(fc.constantFrom(0.0001, 0.001, 0.02), fc.double({ min: 0, max: 0.4, noNaN: true })),
        aligned: fc.boolean(),
        kind: fc.constantFrom<Kind>('text', 'half', 'noise'),
        seed: fc.nat(1000),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constantFrom('commit' as const, 'rollback' as const, 'read' as const) }),
    },
  ),
  { minLength: 1, maxLength: 14 },
)

describe.skipIf(!haveTool('qemu-img'))('writes to compressed images', () => {
  it('leave what qemu takes for the same content, whatever is written and taken back', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, steps, async (shape, list) => {
        const folder = temporaryFolder()
        const size = Math.max(160 << 10, 5 << shape.clusterBits) + 512
        let committed = content(size, 'half', 1)
        committed.fill(0, size >>> 1, (size >>> 1) + (size >>> 3))
        const path = await compressedImage(
          folder,
          committed,
          `cluster_size=${1 << shape.clusterBits}`,
          `refcount_bits=${shape.refcountBits}`,
          `compression_type=${shape.codec}`,
          `extended_l2=${shape.extended ? 'on' : 'off'}`,
        )
        if (shape.snapshot) await runOk('qemu-img', ['snapshot', '-c', 'kept', path])
        const kept = committed
        const image = await openFile(path, true)
        let model = committed.slice()
        for (const step of list)
          if (step.do === 'write' || step.do === 'erase') {
            const unit = step.aligned ? image.clusterSize : 1
            const at = Math.min(size, Math.floor((step.at * size) / unit) * unit)
            const length = Math.min(size - at, Math.ceil((step.length * size) / unit) * unit)
            const bytes = step.do === 'write' ? content(length, step.kind, step.seed) : new Uint8Array(length)
            await (step.do === 'write' ? image.write(at, bytes) : image.erase(at, length))
            model.set(bytes, at)
          } else if (step.do === 'commit') {
            await image.commit()
            committed = model.slice()
          } else if (step.do === 'rollback') {
            await image.rollback()
            model = committed.slice()
          } else expect(Buffer.compare(await readAll(image), model)).toBe(0)
        expect(Buffer.compare(await readAll(image), model)).toBe(0)
        await image.commit()
        expect(Buffer.compare(await readAll(image), model)).toBe(0)
        expect(await image.check()).toMatchObject({ corruptions: 0, leaks: 0 })
        await image.close()
        await runOk('qemu-img', ['check', '-f', 'qcow2', path])
        await expectContent(path, model)
        if (shape.snapshot) {
          await qemuRaw(path, join(folder, 'kept.raw'), 'kept')
          expect(Buffer.compare(readFileSync(join(folder, 'kept.raw')), kept)).toBe(0)
        }
      }),
      propertySettings(20),
    )
  })

  it('keep the number of compressed clusters where what is written compresses', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.array(fc.tuple(fc.double({ min: 0, max: 0.95, noNaN: true }), fc.nat(60_000), fc.nat(63)), {
          minLength: 1,
          maxLength: 8,
        }),
        async (shape, list) => {
          const folder = temporaryFolder()
          const size = Math.max(160 << 10, 5 << shape.clusterBits)
          const model = content(size, 'text', 1)
          model.fill(0, size >>> 1, (size >>> 1) + (size >>> 3))
          const path = await compressedImage(
            folder,
            model,
            `cluster_size=${1 << shape.clusterBits}`,
            `refcount_bits=${shape.refcountBits}`,
            `compression_type=${shape.codec}`,
            `extended_l2=${shape.extended ? 'on' : 'off'}`,
          )
          const before = await compressedClusters(path)
          const sizeBefore = statSync(path).size
          const image = await openFile(path, true)
          for (const [index, [where, length, seed]] of list.entries()) {
            const at = Math.floor(where * size)
            const bytes = content(Math.min(length, size - at), 'text', seed)
            await image.write(at, bytes)
            model.set(bytes, at)
            if (index === 3) await image.commit()
          }
          await image.commit()
          await image.close()
          expect(await compressedClusters(path)).toBeGreaterThanOrEqual(before)
          await expectContent(path, model)
          // Text takes next to nothing; a 1-bit refcount keeps each stream in a cluster of its own.
          if (shape.refcountBits > 8 && shape.clusterBits > 10)
            expect(statSync(path).size).toBeLessThan(sizeBefore + (8 << shape.clusterBits) + (size >>> 3))
        },
      ),
      propertySettings(12),
    )
  })

  it.each([
    ['zstd', 16],
    ['zlib', 21],
  ] as const)('go to the file compressed when memory is needed (%s, 2^%d)', async (codec, bits) => {
    const folder = temporaryFolder()
    const size = 24 << 20
    const model = content(size, 'text', 3)
    const path = await compressedImage(
      folder,
      model,
      `cluster_size=${1 << bits}`,
      `compression_type=${codec}`,
    )
    const before = await compressedClusters(path)
    const image = await openFile(path, true)
    for (let round = 0; round < 3; round++) {
      const bytes = content(6 << 20, round === 1 ? 'half' : 'text', round)
      for (let at = round * (3 << 20) + 777; at + bytes.length < size; at += 9 << 20) {
        await image.write(at, bytes)
        model.set(bytes, at)
      }
      // What went to the file is changed again.
      const small = content(5000, 'text', round + 9)
      for (let at = 100; at + small.length < size; at += 2_500_000) {
        await image.write(at, small)
        model.set(small, at)
      }
    }
    expect(Buffer.compare(await readAll(image), model)).toBe(0)
    await image.commit()
    expect(await image.check()).toMatchObject({ corruptions: 0, leaks: 0 })
    await image.close()
    expect(await compressedClusters(path)).toBe(before)
    await expectContent(path, model)
  })

  it('are written again and again, read between, and taken back', async () => {
    const folder = temporaryFolder()
    const clusters = 600
    const model = content(clusters << 15, 'text', 3)
    const path = await compressedImage(folder, model, 'cluster_size=32768')
    const image = await openFile(path, true)
    const before = model.slice()
    const rewrite = async (round: number): Promise<void> => {
      for (let cluster = 0; cluster < clusters; cluster++) {
        const bytes = content(32_768, cluster % 4 === 0 ? 'half' : 'text', cluster * 3 + round)
        await image.write(cluster << 15, bytes)
        model.set(bytes, cluster << 15)
      }
    }
    for (const round of [1, 2]) {
      await rewrite(round)
      expect(Buffer.compare(await readAll(image), model)).toBe(0)
      // What was decompressed last is at the place where the next round packs its first cluster.
      await image.read(0, new Uint8Array(10))
    }
    await image.rollback()
    expect(Buffer.compare(await readAll(image), before)).toBe(0)
    const noise = content(3 << 20, 'noise', 9)
    await image.write(70_000, noise)
    before.set(noise, 70_000)
    await image.commit()
    expect(await image.check()).toMatchObject({ corruptions: 0, leaks: 0 })
    await image.close()
    await expectContent(path, before)
  })

  it('store plainly what compression does not shrink, and what they are told not to compress', async () => {
    const folder = temporaryFolder()
    const model = content(1 << 20, 'text', 3)
    const path = await compressedImage(folder, model, 'cluster_size=65536')
    expect(await compressedClusters(path)).toBe(16)
    const write = async (at: number, bytes: Uint8Array, keepCompressed?: boolean): Promise<void> => {
      const image = await openImage(path, {
        writable: true,
        ...(keepCompressed === undefined ? {} : { keepCompressed }),
      })
      await image.write(at, bytes)
      await image.commit()
      await image.close()
      model.set(bytes, at)
      await expectContent(path, model)
    }
    await write(0, content(131_072, 'noise', 5))
    expect(await compressedClusters(path)).toBe(14)
    await write(131_072, content(65_536, 'text', 5))
    expect(await compressedClusters(path)).toBe(14)
    await write(131_072, content(65_536, 'text', 6), false)
    expect(await compressedClusters(path)).toBe(13)
    // A plain cluster stays one.
    await write(0, content(100, 'text', 7))
    expect(await compressedClusters(path)).toBe(13)
  })

  it('compress what is new only where most clusters are compressed', async () => {
    const folder = temporaryFolder()
    const model = new Uint8Array(4 << 20)
    model.set(content(1 << 20, 'text', 3))
    const path = await compressedImage(folder, model, 'cluster_size=65536')
    const image = await openFile(path, true)
    const bytes = content(2 << 20, 'text', 4)
    await image.write(2 << 20, bytes)
    model.set(bytes, 2 << 20)
    await image.commit()
    await image.close()
    expect(await compressedClusters(path)).toBe(16 + 32)
    await expectContent(path, model)

    const plain = writes(join(folder, 'plain.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', plain, '4M'])
    await runOk('qemu-io', ['-c', 'write -c 0 64k', '-c', 'write 64k 128k', plain])
    const mostlyPlain = await openFile(plain, true)
    await mostlyPlain.write(1 << 20, bytes)
    await mostlyPlain.write(10, bytes.subarray(0, 100))
    await mostlyPlain.commit()
    await mostlyPlain.close()
    expect(await compressedClusters(plain)).toBe(1)
  })

  it('share no host cluster with what is committed', () => {
    const allocator = new ClusterAllocator(new ClusterCounts('image'), 4096, 1)
    allocator.counts.set(0, 1)
    const cache = new ClusterCache(new MemoryStorage(), 4096)
    const packer = new StreamPacker(allocator, cache, geometryOf(12, 4, false))
    expect([packer.pack(new Uint8Array(3000)), packer.pack(new Uint8Array(3000))]).toEqual([4096, 7096])
    expect([allocator.counts.get(1), allocator.counts.get(2)]).toEqual([2, 1])
    allocator.publish()
    expect(packer.pack(new Uint8Array(100))).toBe(3 * 4096)
    // Nor with what takes the place of what was taken back.
    packer.letGo(3 * 4096, 100)
    expect(allocator.allocate(1)).toEqual({ first: 3, count: 1 })
    expect(packer.pack(new Uint8Array(100))).toBe(4 * 4096)
  })

  it('survive a power failure at every operation, packed across host clusters and written twice', async () => {
    const folder = temporaryFolder()
    const path = await compressedImage(folder, content(96 << 10, 'half', 2), 'cluster_size=4096')
    const files = { 't.qcow2': new Uint8Array(readFileSync(path)) }
    const operations = await everyPowerLoss(files, async medium => {
      const image: Qcow2Image = await openOn(medium, true)
      await image.write(1000, content(40_000, 'half', 5))
      await image.write(9000, content(9000, 'noise', 6))
      await image.write(5000, content(20_000, 'half', 7))
      await image.commit()
      await image.close()
    })
    expect(operations).toBeGreaterThan(8)
  })
})
