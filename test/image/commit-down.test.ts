import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { commitImage } from '../../src/image/commit-down.ts'
import { openImage } from '../../src/image/open.ts'
import { emptyQcow2 } from '../../src/image/qcow2/commit-down.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { everyPowerLoss, fileOf } from '../support/power-loss.ts'
import { sha256Of } from '../support/qcow2.ts'

checkWrittenImages()

interface Layer {
  readonly raw: boolean
  /** Of the disk, in units of 1 KiB. */
  readonly size: number
  readonly clusterBits: number
  readonly seed: number
}

interface Shape {
  readonly layers: readonly Layer[]
  /** Layer to commit into, 0 is the lowest. */
  readonly into: number
  readonly explicit: boolean
  readonly keep: boolean
  readonly snapshot: boolean
}

const shapes: fc.Arbitrary<Shape> = fc
  .record({
    layers: fc.array(
      fc.record({
        raw: fc.boolean(),
        size: fc.integer({ min: 20, max: 150 }).map(size => size * 2),
        clusterBits: fc.constantFrom(9, 12, 16),
        seed: fc.nat(1000),
      }),
      { minLength: 2, maxLength: 4 },
    ),
    into: fc.nat(2),
    explicit: fc.boolean(),
    keep: fc.boolean(),
    snapshot: fc.boolean(),
  })
  .map(shape => {
    const into = shape.explicit ? shape.into % (shape.layers.length - 1) : shape.layers.length - 2
    return { ...shape, into }
  })

const nameOf = (layer: Layer, depth: number): string =>
  `l${depth}.${depth === 0 && layer.raw ? 'raw' : 'qcow2'}`

/** A chain of images; the file of the top one. */
async function build(folder: string, { layers }: Shape): Promise<string> {
  let below = ''
  for (const [depth, layer] of layers.entries()) {
    const name = nameOf(layer, depth)
    const path = join(folder, name)
    const raw = name.endsWith('.raw')
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      raw ? 'raw' : 'qcow2',
      ...(raw ? [] : ['-o', `cluster_size=${1 << layer.clusterBits}`]),
      ...(below === '' ? [] : ['-b', below, '-F', below.endsWith('.raw') ? 'raw' : 'qcow2']),
      path,
      `${layer.size}k`,
    ])
    const commands: string[] = []
    for (let at = layer.seed % 5; at < layer.size - 8; at += 3 + (layer.seed % 29))
      commands.push(
        '-c',
        `${at % 4 === 3 ? 'write -z' : `write -P ${(at + layer.seed) % 250}`} ${at}k ${1 + (at % 5)}k`,
      )
    if (commands.length > 0) await runOk('qemu-io', ['-f', raw ? 'raw' : 'qcow2', ...commands, path])
    below = name
  }
  return join(folder, below)
}

describe.skipIf(!haveTool('qemu-img'))('committing into a backing file', () => {
  it('gives it the content of the image, as qemu-img does, over random chains', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async shape => {
        const [folder, theirs] = [temporaryFolder(), temporaryFolder()]
        const path = await build(folder, shape)
        const baseName = nameOf(shape.layers[shape.into] as Layer, shape.into)
        const base = join(folder, baseName)
        if (shape.snapshot) await runOk('qemu-img', ['snapshot', '-c', 'one', path])
        for (const [depth, layer] of shape.layers.entries())
          copyFileSync(join(folder, nameOf(layer, depth)), join(theirs, nameOf(layer, depth)))
        const flat = join(folder, 'flat.raw')
        await runOk('qemu-img', ['convert', '-O', 'raw', path, flat])

        const options = {
          ...(shape.explicit ? { base } : {}),
          ...(shape.keep ? { empty: false } : {}),
        }
        const result = await commitImage(path, options)
        expect(result.emptied).toBe(!shape.explicit && !shape.keep)
        // A larger one keeps what it has beyond.
        await runOk('qemu-img', ['convert', '-O', 'raw', base, join(folder, 'base.flat')])
        const model = readFileSync(flat)
        expect(Buffer.compare(readFileSync(join(folder, 'base.flat')).subarray(0, model.length), model)).toBe(
          0,
        )
        const sizes = shape.layers.map(layer => layer.size << 10)
        expect(result.copied + result.zeroed).toBeLessThanOrEqual(sizes.at(-1) ?? 0)
        // The image itself reads as before, whether it was emptied or not.
        if (!shape.explicit || shape.into === shape.layers.length - 2)
          await runOk('qemu-img', ['compare', '-F', 'raw', path, flat])
        if (base.endsWith('.qcow2')) await runOk('qemu-img', ['check', '-q', base])
        await runOk('qemu-img', ['check', '-q', path])

        const top = join(theirs, nameOf(shape.layers.at(-1) as Layer, shape.layers.length - 1))
        await runOk('qemu-img', [
          'commit',
          '-q',
          ...(shape.keep ? ['-d'] : []),
          ...(shape.explicit ? ['-b', baseName] : []),
          top,
        ])
        const compared = await run('qemu-img', ['compare', base, join(theirs, baseName)])
        expect(compared, compared.stdout).toMatchObject({ status: 0 })
      }),
      propertySettings(6),
    )
  })

  it('empties the image: nothing of it is left but its header and tables', async () => {
    const folder = temporaryFolder()
    const raw = join(folder, 'base.raw')
    writeFileSync(raw, new Uint8Array(4 << 20).fill(1))
    const path = writes(join(folder, 'top.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', path, '8M'])
    await runOk('qemu-io', ['-c', 'write -P 7 1M 2M', '-c', 'write -P 9 6M 1M', path])
    const image = await openImage(path)
    const before = await sha256Of(image)
    await image.close()
    expect(await commitImage(path)).toEqual({ base: raw, copied: 3 << 20, zeroed: 3 << 20, emptied: true })
    expect(statSync(raw).size).toBe(8 << 20)
    expect(statSync(path).size).toBeLessThan(400_000)
    const map = JSON.parse(await runOk('qemu-img', ['map', '--output=json', path])) as { depth: number }[]
    expect(map.every(({ depth }) => depth === 1)).toBe(true)
    const after = await openImage(path)
    expect(await sha256Of(after)).toBe(before)
    await after.close()
  })

  it('refuses an image without a backing file, and a base that is none of its', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'base.raw'), new Uint8Array(1 << 20))
    const path = join(folder, 'top.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', path, '1M'])
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', join(folder, 'alone.qcow2'), '1M'])
    const code = async (...[image, options]: Parameters<typeof commitImage>): Promise<string | undefined> => {
      const error = await commitImage(image, options).catch((thrown: unknown) => thrown)
      return isDrydiskError(error) ? error.code : undefined
    }
    expect(await code(join(folder, 'alone.qcow2'))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(join(folder, 'base.raw'))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(path, { base: join(folder, 'alone.qcow2') })).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(path, { base: 'nowhere' })).toBe('ERR_INVALID_ARGUMENT')
  })

  it('takes the growing of the backing file back when it is stopped', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'base.raw'), new Uint8Array(1 << 20).fill(3))
    const path = writes(join(folder, 'top.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', path, '2M'])
    await runOk('qemu-io', ['-c', 'write -P 7 0 2M', path])
    const before = [readFileSync(path), readFileSync(join(folder, 'base.raw'))]
    const controller = new AbortController()
    const error = await commitImage(path, {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    }).catch((thrown: unknown) => thrown)
    expect(isDrydiskError(error, 'ERR_ABORTED')).toBe(true)
    for (const [index, name] of ['top.qcow2', 'base.raw'].entries())
      expect(Buffer.compare(readFileSync(join(folder, name)), before[index] as Buffer)).toBe(0)
  })

  it('empties in one step: full or empty after a power failure at any operation', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'top.qcow2')
    writeFileSync(join(folder, 'base'), new Uint8Array(60_000).fill(8))
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'cluster_size=1k',
      '-b',
      'base',
      '-F',
      'raw',
      path,
      '80k',
    ])
    await runOk('qemu-io', ['-c', 'write -P 7 1k 20k', '-c', 'write -z 30k 9k', path])
    await runOk('qemu-img', ['snapshot', '-c', 'one', path])
    await runOk('qemu-io', ['-c', 'write -P 9 5k 30k', path])
    const files = { 't.qcow2': new Uint8Array(readFileSync(path)), base: new Uint8Array(60_000).fill(8) }
    writeFileSync(join(folder, 't.raw'), files.base)
    const operations = await everyPowerLoss(files, async medium => {
      await emptyQcow2(await fileOf(medium, 't.qcow2', 'write'))
    })
    expect(operations).toBeGreaterThan(3)
    expect(new FaultMedium(files).names).toContain('base')
  })
})
