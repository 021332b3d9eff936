import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { type AmendImageOptions, amendImage } from '../../src/image/amend.ts'
import { openImage } from '../../src/image/open.ts'
import { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import { snapshotDevice } from '../../src/image/qcow2/snapshot-device.ts'
import { resizeImage } from '../../src/image/resize.ts'
import { applySnapshot, createSnapshot, deleteSnapshot } from '../../src/image/snapshots.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'
import { qemuCheck, qemuRaw, readAll } from '../support/qcow2.ts'

const SECTOR = 512
const settings = propertySettings(12)

interface Saved {
  readonly id: string
  readonly content: Uint8Array
}

/** What the image should hold. */
interface Model {
  disk: Uint8Array
  snapshots: Saved[]
}

const ourselves = fc.boolean()
const operation = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    at: fc.nat(700),
    count: fc.integer({ min: 1, max: 90 }),
    ourselves,
  }),
  fc.record({
    kind: fc.constant('zero' as const),
    at: fc.nat(700),
    count: fc.integer({ min: 1, max: 90 }),
    ourselves,
  }),
  fc.record({ kind: fc.constant('create' as const), ourselves }),
  fc.record({ kind: fc.constant('apply' as const), which: fc.nat(5), ourselves }),
  fc.record({ kind: fc.constant('delete' as const), which: fc.nat(5), ourselves }),
  fc.record({
    kind: fc.constant('amend' as const),
    options: fc.constantFrom<AmendImageOptions>(
      { version: 2, refcountBits: 16 },
      { version: 3 },
      { version: 3, refcountBits: 8 },
      { version: 3, refcountBits: 64, lazyRefcounts: true },
      { lazyRefcounts: false },
    ),
    ourselves,
  }),
  fc.record({ kind: fc.constant('resize' as const), sectors: fc.integer({ min: 1, max: 1500 }), ourselves }),
)
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

const image = fc.record({
  clusterBits: fc.constantFrom(9, 9, 10, 12, 14, 16),
  options: fc.constantFrom(
    'refcount_bits=16',
    'refcount_bits=16',
    'refcount_bits=8',
    'refcount_bits=64',
    'compat=0.10',
    'extended_l2=on',
    'lazy_refcounts=on',
  ),
  compressed: fc.boolean(),
  /** Sectors of the backing file, 0 for none. */
  backing: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1600 })),
  sectors: fc.integer({ min: 1, max: 900 }),
})

function pattern(sectors: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(sectors * SECTOR)
  for (let sector = 0; sector < sectors; sector++)
    // Some sectors of zeros among them.
    bytes.fill(
      (sector >>> 4) % 3 === 2 ? 0 : ((sector * 7 + seed) % 255) + 1,
      sector * SECTOR,
      (sector + 1) * SECTOR,
    )
  return bytes
}

function sized(bytes: Uint8Array, size: number): Uint8Array {
  const result = new Uint8Array(size)
  result.set(bytes.subarray(0, size))
  return result
}

function listOf({ version, refcountBits, lazyRefcounts }: AmendImageOptions): string {
  return [
    ...(version === undefined ? [] : [`compat=v${version}`]),
    ...(refcountBits === undefined ? [] : [`refcount_bits=${refcountBits}`]),
    ...(lazyRefcounts === undefined ? [] : [`lazy_refcounts=${lazyRefcounts ? 'on' : 'off'}`]),
  ].join(',')
}

/** Does the operation to the image; false when it was refused, by us or by qemu. */
async function act(
  path: string,
  operation: Operation,
  model: Model,
  clusterSize: number,
  step: number,
): Promise<void> {
  const { kind } = operation
  const image = async (change: (disk: Qcow2Image) => Promise<void>): Promise<void> => {
    const disk = await openImage(path, { writable: true })
    if (!(disk instanceof Qcow2Image)) throw new Error('not qcow2')
    try {
      await change(disk)
      await disk.commit()
    } finally {
      await disk.close()
    }
  }
  if (kind === 'write' || kind === 'zero') {
    const sectors = model.disk.length / SECTOR
    const at = (operation.at % sectors) * SECTOR
    const length = Math.min(operation.count * SECTOR, model.disk.length - at)
    const value = kind === 'zero' ? 0 : ((step * 37) % 254) + 1
    if (operation.ourselves)
      await image(disk =>
        kind === 'zero' ? disk.erase(at, length) : disk.write(at, new Uint8Array(length).fill(value)),
      )
    else
      await runOk('qemu-io', [
        '-f',
        'qcow2',
        '-c',
        `write ${kind === 'zero' ? '-z' : `-P ${value}`} ${at} ${length}`,
        path,
      ])
    model.disk.fill(value, at, at + length)
    return
  }
  if (kind === 'create') {
    const id = String(1 + model.snapshots.reduce((highest, { id }) => Math.max(highest, Number(id)), 0))
    if (operation.ourselves) expect(await createSnapshot(path, { name: `s${step}` })).toBe(id)
    else await runOk('qemu-img', ['snapshot', '-c', `s${step}`, path])
    model.snapshots.push({ id, content: model.disk.slice() })
    return
  }
  if (kind === 'apply' || kind === 'delete') {
    const chosen = model.snapshots[operation.which % Math.max(1, model.snapshots.length)]
    if (chosen === undefined) return
    if (kind === 'apply') {
      if (operation.ourselves) await applySnapshot(path, chosen.id)
      // Where the disk's size differs, qemu resizes it, which it cannot always do.
      else if ((await run('qemu-img', ['snapshot', '-a', chosen.id, path])).status !== 0) return
      model.disk = chosen.content.slice()
    } else {
      const listed = JSON.parse(await runOk('qemu-img', ['info', '--output=json', path])) as {
        snapshots: { id: string; name: string }[]
      }
      const name = listed.snapshots.find(({ id }) => id === chosen.id)?.name ?? ''
      if (operation.ourselves) await deleteSnapshot(path, chosen.id)
      else await runOk('qemu-img', ['snapshot', '-d', name, path])
      model.snapshots.splice(model.snapshots.indexOf(chosen), 1)
    }
    return
  }
  if (kind === 'amend') {
    if (operation.ourselves) {
      // What version 2 lacks is refused.
      const refused = await amendImage(path, operation.options).catch((error: unknown) => error)
      if (refused !== undefined && !isDrydiskError(refused, 'ERR_UNSUPPORTED', 'ERR_INVALID_ARGUMENT'))
        throw refused
    } else await run('qemu-img', ['amend', '-o', listOf(operation.options), path])
    return
  }
  const size = operation.sectors * SECTOR
  if (operation.ourselves) {
    try {
      expect(await resizeImage(path, size, { shrink: true })).toEqual({
        format: 'qcow2',
        before: model.disk.length,
        after: size,
      })
    } catch (error) {
      if (!isDrydiskError(error, 'ERR_UNSUPPORTED')) throw error
      return
    }
    model.disk = sized(model.disk, size)
  } else {
    // qemu leaves the rest of the last cluster as it was, and shows it when the disk grows again.
    const whole = size < model.disk.length ? Math.ceil(size / clusterSize) * clusterSize : size
    if (whole < model.disk.length || size >= model.disk.length)
      if (
        (await run('qemu-img', ['resize', '-q', '-f', 'qcow2', '--shrink', path, String(whole)])).status === 0
      )
        model.disk = sized(model.disk, whole)
  }
}

async function compare(path: string, model: Model, what: string): Promise<void> {
  const disk = await openImage(path)
  if (!(disk instanceof Qcow2Image)) throw new Error('not qcow2')
  try {
    expect(await disk.check(), what).toMatchObject({ corruptions: 0, leaks: 0 })
    expect(
      disk.snapshots.map(({ id }) => id),
      what,
    ).toEqual(model.snapshots.map(({ id }) => id))
    expect(disk.size, what).toBe(model.disk.length)
    expect(Buffer.compare(await readAll(disk), model.disk), what).toBe(0)
    for (const { id, content } of model.snapshots)
      expect(
        Buffer.compare(await readAll(await snapshotDevice(disk, { id })), content),
        `${what}, snapshot ${id}`,
      ).toBe(0)
  } finally {
    await disk.close()
  }
}

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))(
  'changes of structure, ours and qemu’s in turn',
  () => {
    it('keep the disk and every snapshot as they should be', {
      timeout: settings.numRuns * 15_000,
    }, async () => {
      await fc.assert(
        fc.asyncProperty(
          image,
          fc.array(operation, { minLength: 3, maxLength: 9 }),
          async (start, operations) => {
            const folder = temporaryFolder()
            const path = join(folder, 't.qcow2')
            const raw = join(folder, 'raw')
            const clusterSize =
              2 ** (start.options === 'extended_l2=on' ? Math.max(14, start.clusterBits) : start.clusterBits)
            const options = ['-o', `cluster_size=${clusterSize},${start.options}`]
            const model: Model = { disk: pattern(start.sectors, 1), snapshots: [] }
            if (start.backing > 0) {
              const base = pattern(start.backing, 3)
              writeFileSync(join(folder, 'base'), base)
              model.disk = sized(base, start.sectors * SECTOR)
              await runOk('qemu-img', [
                'create',
                '-q',
                '-f',
                'qcow2',
                ...options,
                '-b',
                'base',
                '-F',
                'raw',
                path,
                String(model.disk.length),
              ])
            } else {
              writeFileSync(raw, model.disk)
              await runOk('qemu-img', [
                'convert',
                '-f',
                'raw',
                '-O',
                'qcow2',
                ...(start.compressed ? ['-c'] : []),
                ...options,
                raw,
                path,
              ])
            }
            for (const [step, next] of operations.entries()) {
              await act(path, next, model, clusterSize, step)
              await compare(path, model, `step ${step}: ${JSON.stringify(next)}`)
            }
            expect(await qemuCheck(path)).toEqual({ corruptions: 0, leaks: 0, errors: 0 })
            await qemuRaw(path, raw)
            expect(Buffer.compare(readFileSync(raw), model.disk)).toBe(0)
            for (const { id, content } of model.snapshots) {
              await qemuRaw(path, raw, `snapshot.id=${id}`)
              // qemu gives a snapshot the size that the disk has now.
              const both = Math.min(content.length, model.disk.length)
              const found = readFileSync(raw).subarray(0, both)
              expect(Buffer.compare(found, content.subarray(0, both)), id).toBe(0)
            }
          },
        ),
        settings,
      )
    })
  },
)
