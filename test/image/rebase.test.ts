import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openImage } from '../../src/image/open.ts'
import { parseHeader } from '../../src/image/qcow2/header.ts'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import { copyDifferences, stageBackingName } from '../../src/image/qcow2/rebase.ts'
import { planBackingName } from '../../src/image/qcow2/rebase-header.ts'
import { rebaseImage } from '../../src/image/rebase.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { everyPowerLoss, openOn } from '../support/power-loss.ts'
import { sha256Of } from '../support/qcow2.ts'

checkWrittenImages()

interface Shape {
  readonly clusterBits: number
  readonly version: 2 | 3
  readonly extended: boolean
  /** Of the disk and the backing files, in units of 1 KiB; -1: no such file. */
  readonly size: number
  readonly old: number
  readonly next: number
  readonly nextQcow2: boolean
  readonly holes: number
  readonly seed: number
}

const shapes: fc.Arbitrary<Shape> = fc
  .record({
    clusterBits: fc.constantFrom(9, 12, 14, 16),
    version: fc.constantFrom<2 | 3>(3, 3, 2),
    extended: fc.boolean(),
    size: fc.integer({ min: 100, max: 400 }),
    old: fc.oneof(fc.constant(-1), fc.integer({ min: 1, max: 500 })),
    next: fc.oneof(fc.constant(-1), fc.integer({ min: 1, max: 500 })),
    nextQcow2: fc.boolean(),
    holes: fc.nat(7),
    seed: fc.nat(1000),
  })
  .map(shape => ({ ...shape, extended: shape.extended && shape.version === 3 && shape.clusterBits >= 14 }))

/** Blocks of 1 KiB: zeros, something that both backing files have, something of one's own. */
function content(blocks: number, seed: number, own: number): Uint8Array {
  const bytes = new Uint8Array(blocks << 10)
  for (let block = 0; block < blocks; block++) {
    const kind = (Math.imul(Math.floor(block / 5) + seed, 2_654_435_761) >>> 28) % 4
    const value = kind === 0 ? 0 : kind === 3 ? own : 1 + (block % 200)
    bytes.fill(value, block << 10, (block + 1) << 10)
  }
  return bytes
}

async function build(folder: string, shape: Shape): Promise<string> {
  const path = join(folder, 'image.qcow2')
  const { clusterBits, version, extended, size, old, next, nextQcow2, seed } = shape
  if (old > 0) writeFileSync(join(folder, 'old.raw'), content(old, seed, 201))
  if (next > 0) {
    writeFileSync(join(folder, 'next.raw'), content(next, seed + (seed % 2), 202))
    if (nextQcow2)
      await runOk('qemu-img', [
        'convert',
        '-f',
        'raw',
        '-O',
        'qcow2',
        join(folder, 'next.raw'),
        join(folder, 'next.qcow2'),
      ])
  }
  await runOk('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    [
      `cluster_size=${1 << clusterBits}`,
      `compat=${version === 2 ? '0.10' : '1.1'}`,
      ...(extended ? ['extended_l2=on'] : []),
    ].join(),
    ...(old > 0 ? ['-b', 'old.raw', '-F', 'raw'] : []),
    path,
    `${size}k`,
  ])
  const writesOfIt: string[] = []
  for (let at = seed % 7; at < size - 8; at += 23 + shape.holes * 11)
    writesOfIt.push('-c', `${at % 3 === 0 ? 'write -z' : `write -P ${at % 250}`} ${at}k ${1 + (at % 6)}k`)
  if (writesOfIt.length > 0) await runOk('qemu-io', [...writesOfIt, path])
  return writes(path, 'qcow2')
}

async function backingOf(path: string): Promise<readonly [string | undefined, string | undefined]> {
  const info = JSON.parse(await runOk('qemu-img', ['info', '-U', '--output=json', path])) as {
    'backing-filename'?: string
    'backing-filename-format'?: string
  }
  return [info['backing-filename'], info['backing-filename-format']]
}

describe.skipIf(!haveTool('qemu-img'))('rebasing', () => {
  it('leaves the content as it was, whatever both backing files hold and however long they are', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async shape => {
        const folder = temporaryFolder()
        const path = await build(folder, shape)
        const flat = join(folder, 'flat.raw')
        await runOk('qemu-img', ['convert', '-O', 'raw', path, flat])
        const theirs = writes(join(folder, 'theirs.qcow2'), 'qcow2')
        copyFileSync(path, theirs)
        const backingFile = shape.next < 0 ? '' : shape.nextQcow2 ? 'next.qcow2' : 'next.raw'
        const backingFormat = shape.nextQcow2 ? 'qcow2' : 'raw'
        const result = await rebaseImage(path, { backingFile, backingFormat })
        expect(await backingOf(path)).toEqual(
          backingFile === '' ? [undefined, undefined] : [backingFile, backingFormat],
        )
        await runOk('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', path, flat])
        await runOk('qemu-img', [
          'rebase',
          '-b',
          backingFile,
          ...(backingFile === '' ? [] : ['-F', backingFormat]),
          theirs,
        ])
        // Of an image without a backing file, version 2, qemu-img 7.2 loses the content.
        if (shape.old > 0 || shape.version === 3) await runOk('qemu-img', ['compare', path, theirs])
        expect(result.copied + result.zeroed).toBeLessThanOrEqual(shape.size << 10)
        // The other way round, what is there is enough.
        await rebaseImage(path, { backingFile, backingFormat }).then(again =>
          expect(again).toMatchObject({ copied: 0, zeroed: 0 }),
        )
      }),
      propertySettings(8),
    )
  })

  it('copies nothing that the new backing file has in the same place', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'a.raw'), content(2000, 4, 210))
    const create = (name: string, backing: string, format: string) =>
      runOk('qemu-img', [
        'create',
        '-q',
        '-f',
        'qcow2',
        '-b',
        backing,
        '-F',
        format,
        join(folder, name),
        '2000k',
      ])
    await create('b.qcow2', 'a.raw', 'raw')
    await runOk('qemu-io', ['-c', 'write -P 9 100k 10k', join(folder, 'b.qcow2')])
    await create('c.qcow2', 'b.qcow2', 'qcow2')
    const path = writes(join(folder, 'c.qcow2'), 'qcow2')
    await runOk('qemu-io', ['-c', 'write -P 7 300k 10k', path])
    const image = await openImage(path)
    const before = await sha256Of(image)
    await image.close()
    // One cluster, the one that b has itself.
    expect(await rebaseImage(path, { backingFile: 'a.raw', backingFormat: 'raw' })).toMatchObject({
      copied: 65_536,
      zeroed: 0,
    })
    const after = await openImage(path)
    expect(await sha256Of(after)).toBe(before)
    await after.close()
    expect(await rebaseImage(path, {})).toMatchObject({ backingFile: undefined })
    const alone = await openImage(path, { allowBacking: 'none' })
    expect(await sha256Of(alone)).toBe(before)
    await alone.close()
  })

  it('-u changes the name alone, also where neither file is there', async () => {
    const folder = temporaryFolder()
    const path = writes(join(folder, 'image.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-u', '-f', 'qcow2', '-b', 'gone.raw', '-F', 'raw', path, '1M'])
    const before = readFileSync(path)
    await rebaseImage(path, { backingFile: 'there.qcow2', backingFormat: 'qcow2', unsafe: true })
    expect(await backingOf(path)).toEqual(['there.qcow2', 'qcow2'])
    await rebaseImage(path, { unsafe: true })
    expect(await backingOf(path)).toEqual([undefined, undefined])
    const long = `${'x'.repeat(900)}.raw`
    await rebaseImage(path, { backingFile: long, backingFormat: 'raw', unsafe: true })
    expect(await backingOf(path)).toEqual([long, 'raw'])
    await rebaseImage(path, { backingFile: 'gone.raw', backingFormat: 'raw', unsafe: true })
    expect(readFileSync(path).length).toBe(before.length)
    writeFileSync(join(folder, 'gone.raw'), new Uint8Array(4096))
    const error = await rebaseImage(path, {
      backingFile: 'y'.repeat(1024),
      backingFormat: 'raw',
      unsafe: true,
    }).catch((thrown: unknown) => thrown)
    expect(isDrydiskError(error, 'ERR_INVALID_ARGUMENT')).toBe(true)
  })

  it('refuses what would make a loop, formats that are wrong, and raw images', async () => {
    const folder = temporaryFolder()
    const make = async (name: string, ...args: string[]): Promise<string> => {
      await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', ...args, join(folder, name), '1M'])
      return writes(join(folder, name), 'qcow2')
    }
    const image = await make('image.qcow2')
    await make('child.qcow2', '-b', 'image.qcow2', '-F', 'qcow2')
    writeFileSync(join(folder, 'plain.raw'), new Uint8Array(1 << 20))
    const before = readFileSync(image)
    const code = async (
      path: string,
      backingFile: string,
      backingFormat?: 'raw' | 'qcow2',
      unsafe = false,
    ): Promise<string | undefined> => {
      const error = await rebaseImage(path, {
        backingFile,
        ...(backingFormat === undefined ? {} : { backingFormat }),
        unsafe,
      }).catch((thrown: unknown) => thrown)
      return isDrydiskError(error) ? error.code : undefined
    }
    expect(await code(image, 'child.qcow2', 'qcow2')).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(image, 'image.qcow2', 'qcow2')).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(image, './image.qcow2', 'raw', true)).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(image, 'plain.raw', 'qcow2')).toBe('ERR_CORRUPT')
    expect(await code(image, 'plain.raw')).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(image, 'nothing.raw', 'raw')).toBe('ENOENT')
    expect(await code(join(folder, 'plain.raw'), 'image.qcow2', 'qcow2')).toBe('ERR_UNSUPPORTED')
    expect(await code(join(folder, 'plain.raw'), 'image.qcow2', 'qcow2', true)).toBe('ERR_UNSUPPORTED')
    expect(Buffer.compare(readFileSync(image), before)).toBe(0)
  })

  it('goes on where there are snapshots, as qemu-img does, and says what that means', async () => {
    const folder = temporaryFolder()
    const path = await build(folder, {
      clusterBits: 12,
      version: 3,
      extended: false,
      size: 200,
      old: 200,
      next: 200,
      nextQcow2: false,
      holes: 1,
      seed: 5,
    })
    await runOk('qemu-img', ['snapshot', '-c', 'one', path])
    const image = await openImage(path)
    const before = await sha256Of(image)
    await image.close()
    const { warnings } = await rebaseImage(path, { backingFile: 'next.raw', backingFormat: 'raw' })
    expect(warnings).toHaveLength(1)
    const after = await openImage(path)
    expect(await sha256Of(after)).toBe(before)
    await after.close()
  })

  it('keeps bitmaps valid, for the content stays the same', async () => {
    const folder = temporaryFolder()
    const path = await build(folder, {
      clusterBits: 16,
      version: 3,
      extended: false,
      size: 300,
      old: 300,
      next: 300,
      nextQcow2: false,
      holes: 1,
      seed: 5,
    })
    await runOk('qemu-img', ['bitmap', '--add', path, 'b0'])
    await rebaseImage(path, { backingFile: '' })
    const info = JSON.parse(await runOk('qemu-img', ['info', '--output=json', path])) as {
      'format-specific': { data: { bitmaps: { flags: string[] }[] } }
    }
    expect(info['format-specific'].data.bitmaps[0]?.flags).toEqual(['auto'])
  })

  it('works on an image with an external data file', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'old.raw'), content(300, 4, 201))
    // qemu looks for the data file from its own current folder.
    const path = join(folder, 'image.qcow2')
    await runOk('sh', [
      '-c',
      'cd "$0" && qemu-img create -q -f qcow2 -o data_file=data.bin,cluster_size=4k -b old.raw -F raw image.qcow2 300k && ' +
        'qemu-io -c "write -P 5 30k 30k" image.qcow2 && qemu-img convert -O raw image.qcow2 flat.raw',
      folder,
    ])
    await rebaseImage(path, { backingFile: '' })
    const same = await run('sh', [
      '-c',
      'cd "$0" && qemu-img compare image.qcow2 flat.raw && qemu-img check -q image.qcow2 && qemu-img info image.qcow2',
      folder,
    ])
    expect(same.status).toBe(0)
    expect(same.stdout).not.toContain('backing')
  })

  it('is the old or the new image after a power failure at any operation', async () => {
    for (const clusterBits of [9]) {
      const folder = temporaryFolder()
      const path = await build(folder, {
        clusterBits,
        version: 3,
        extended: false,
        size: 60,
        old: 50,
        next: 140,
        nextQcow2: false,
        holes: 2,
        seed: 9,
      })
      copyFileSync(join(folder, 'old.raw'), join(folder, 'base'))
      await runOk('qemu-img', ['rebase', '-u', '-b', 'base', '-F', 'raw', path])
      const files = {
        't.qcow2': new Uint8Array(readFileSync(path)),
        base: new Uint8Array(readFileSync(join(folder, 'old.raw'))),
      }
      const content = async (image: Qcow2Image): Promise<string> => {
        // The content is looked at through the backing file that the header names.
        const sha = await sha256Of(image)
        return JSON.stringify([sha, image.header.backingFile, image.header.backingFormat])
      }
      const operations = await everyPowerLoss(
        files,
        async medium => {
          const image = await openOn(medium, true)
          await copyDifferences(image, undefined, {}, (a, b) => a === b)
          await stageBackingName(image, undefined)
          await image.commit()
          await image.close()
        },
        content,
      )
      expect(operations).toBeGreaterThan(4)
      await everyFullDisk(files, operations)
    }
  })
})

/** With no space left at any operation of a rebase, the image goes on as it was, or is done. */
async function everyFullDisk(files: Record<string, Uint8Array>, operations: number): Promise<void> {
  const reader = await openOn(new FaultMedium(files), false)
  const before = await sha256Of(reader)
  for (let operation = 0; operation < operations; operation++) {
    const medium = new FaultMedium(files, { failAt: { operation, code: 'ENOSPC' } })
    const image = await openOn(medium, true)
    const error = await (async () => {
      await copyDifferences(image, undefined, {}, (a, b) => a === b)
      await stageBackingName(image, undefined)
      await image.commit()
    })().catch((thrown: unknown) => thrown)
    expect(isDrydiskError(error, 'ENOSPC'), `operation ${operation}`).toBe(true)
    const done = isDrydiskError(error) && error.context.published === true
    await image.close()
    const after = await openOn(medium, true)
    expect(await sha256Of(after)).toBe(before)
    expect(after.header.backingFile).toBe(done ? undefined : 'base')
    expect(await after.check()).toMatchObject({ corruptions: 0, leaks: 0 })
    await after.close()
  }
}

describe.skipIf(!haveTool('qemu-img'))('the header that names another backing file', () => {
  it('is read as the old one until its first sector is written, and as the new one then', async () => {
    const folder = temporaryFolder()
    const name = fc.oneof(
      fc.constant(undefined),
      fc.string({ minLength: 1, maxLength: 40 }),
      fc.string({ minLength: 300, maxLength: 340 }),
      fc.string({ minLength: 900, maxLength: 1000 }),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(9, 10, 12, 16),
        fc.constantFrom('0.10', '1.1'),
        fc.boolean(),
        fc.array(fc.tuple(name, fc.constantFrom('raw', 'qcow2', 'host_device')), {
          minLength: 1,
          maxLength: 6,
        }),
        async (bits, compat, backed, list) => {
          const path = join(folder, 'image.qcow2')
          await runOk('qemu-img', [
            'create',
            '-q',
            '-u',
            '-f',
            'qcow2',
            '-o',
            `cluster_size=${1 << bits},compat=${compat}`,
            ...(backed ? ['-b', 'some/backing.raw', '-F', 'raw'] : []),
            path,
            '1M',
          ])
          const cluster = new Uint8Array(readFileSync(path)).slice(0, 1 << bits)
          for (const [text, format] of list) {
            const old = parseHeader('image', cluster)
            const backing = text === undefined ? undefined : { name: text, format }
            let plan: ReturnType<typeof planBackingName>
            try {
              plan = planBackingName('image', cluster, old, backing)
            } catch (error) {
              if (!isDrydiskError(error, 'ERR_UNSUPPORTED')) throw error
              continue
            }
            if (plan.ahead !== undefined) {
              expect(plan.ahead.offset).toBeGreaterThanOrEqual(512)
              cluster.set(plan.ahead.bytes, plan.ahead.offset)
            }
            const between = parseHeader('image', cluster)
            expect([between.backingFile, between.backingFormat]).toEqual([old.backingFile, old.backingFormat])
            expect(between.extensions).toEqual(old.extensions)
            plan.edit(cluster.subarray(0, 512))
            const next = parseHeader('image', cluster)
            expect([next.backingFile, next.backingFormat]).toEqual(
              backing === undefined ? [undefined, undefined] : [text, format],
            )
            // Nothing but the table of feature names may have become shorter.
            const others = (header: typeof old) =>
              header.extensions
                .filter(({ type }) => type !== 0xe279_2aca && type !== 0x6803_f857)
                .map(({ type, data }) => [type, [...data]])
            expect(others(next)).toEqual(others(old))
          }
          const bytes = readFileSync(path)
          bytes.set(cluster)
          writeFileSync(path, bytes)
          const seen = parseHeader('image', cluster)
          const info = JSON.parse(await runOk('qemu-img', ['info', '--output=json', path])) as {
            'backing-filename'?: string
          }
          if (/^[\x20-\x7e]*$/.test(seen.backingFile ?? '') && !seen.backingFile?.includes(':'))
            expect(info['backing-filename']).toBe(seen.backingFile)
        },
      ),
      propertySettings(10),
    )
  })
})
