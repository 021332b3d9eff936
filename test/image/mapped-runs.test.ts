import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MappedRun } from '../../src/device/mapped-runs.ts'
import { loadDecompressor } from '../../src/image/compression/codec.ts'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { openFile, readAll } from '../support/qcow2.ts'

checkWrittenImages()

/** The guest's bytes, put together from where the runs say that they lie. */
async function assembled(image: Qcow2Image): Promise<{ bytes: Uint8Array; runs: MappedRun[] }> {
  const bytes = new Uint8Array(image.size).fill(0xee)
  const runs: MappedRun[] = []
  const inflate = await loadDecompressor('zlib')
  let at = 0
  for await (const batch of image.mappedRuns(0, image.size))
    for (const run of batch) {
      expect(run.offset).toBe(at)
      expect(run.length).toBeGreaterThan(0)
      at += run.length
      runs.push(run)
      const into = bytes.subarray(run.offset, at)
      if (run.kind === 'zero') into.fill(0)
      else if (run.kind === 'staged') await image.read(run.offset, into)
      else {
        const stored = new Uint8Array(run.kind === 'data' ? run.length : run.stored)
        const present = Math.max(0, Math.min(stored.length, run.storage.size - run.host))
        await run.storage.read(run.host, stored.subarray(0, present))
        if (run.kind === 'data') into.set(stored)
        else into.set(inflate(stored, run.clusterSize).subarray(run.within, run.within + run.length))
      }
    }
  expect(at).toBe(image.size)
  return { bytes, runs }
}

const layer = fc.record({
  cluster: fc.constantFrom(512, 4096, 16_384, 65_536),
  extended: fc.boolean(),
  size: fc.integer({ min: 1, max: 1500 }),
  writes: fc.array(
    fc.record({
      kind: fc.constantFrom('write -P 17', 'write -P 0', 'write -z', 'write -c -P 33', 'discard'),
      at: fc.nat(1400),
      length: fc.integer({ min: 1, max: 300 }),
    }),
    { maxLength: 8 },
  ),
})

describe.skipIf(!haveTool('qemu-img'))('mapped runs', () => {
  it('say where each byte of a chain of images lies', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 3 }), fc.nat(1000), async (layers, cut) => {
        const folder = temporaryFolder()
        let top = ''
        for (const [index, { cluster, extended, size, writes: changes }] of layers.entries()) {
          const path = join(folder, `${index}.qcow2`)
          const options = `cluster_size=${cluster},extended_l2=${extended && cluster >= 16_384 ? 'on' : 'off'}`
          const backing = top === '' ? [] : ['-b', top, '-F', 'qcow2']
          await runOk('qemu-img', [
            'create',
            '-q',
            '-f',
            'qcow2',
            '-o',
            options,
            ...backing,
            path,
            `${size * 1024}`,
          ])
          for (const { kind, at, length } of changes) {
            const unit = kind.includes('-c') ? cluster / 512 : 1
            const from = Math.floor((at * 2) / unit) * unit
            const count = Math.min(Math.ceil((length * 2) / unit) * unit, size * 2 - from)
            if (count > 0 && count % unit === 0)
              // qemu does not compress over a compressed cluster: then nothing is written.
              await run('qemu-io', ['-c', `${kind} ${from * 512} ${count * 512}`, path])
          }
          top = path
        }
        const image = await openFile(writes(top, 'qcow2'), false)
        const { bytes, runs } = await assembled(image)
        expect(Buffer.compare(bytes, await readAll(image))).toBe(0)
        for (const [index, run] of runs.entries()) {
          const next = runs[index + 1]
          if (run.kind !== 'zero' || next?.kind !== 'zero' || run.depth !== next.depth) continue
          expect(run.allocated !== next.allocated || run.host !== next.host || run.host !== undefined).toBe(
            true,
          )
        }
        await image.close()

        const writable = await openFile(top, true)
        const start = Math.min(cut * 700, writable.size - 1)
        await writable.write(start, new Uint8Array(Math.min(70_000, writable.size - start)).fill(9))
        expect(Buffer.compare((await assembled(writable)).bytes, await readAll(writable))).toBe(0)
        await writable.commit()
        const after = await assembled(writable)
        expect(Buffer.compare(after.bytes, await readAll(writable))).toBe(0)
        expect(after.runs.filter(run => run.kind === 'staged')).toEqual([])
        await writable.close()
      }),
      propertySettings(6),
    )
  })

  it('answers for unallocated gigabytes at once', async () => {
    const path = join(temporaryFolder(), 'large.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, '8T'])
    await runOk('qemu-io', ['-c', 'write -P 1 4T 64k', '-c', 'write -P 1 4398046576640 64k', path])
    const image = await openFile(writes(path, 'qcow2'), false)
    const batches: (readonly MappedRun[])[] = []
    for await (const batch of image.mappedRuns(0, image.size)) batches.push(batch)
    expect(batches.flat().map(({ kind, length }) => ({ kind, length }))).toEqual([
      { kind: 'zero', length: 2 ** 42 },
      { kind: 'data', length: 131_072 },
      { kind: 'zero', length: 2 ** 42 - 131_072 },
    ])
    await image.close()
  })
})
