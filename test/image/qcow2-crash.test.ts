import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FaultMedium, type PowerLoss } from '../../src/device/fault-medium.ts'
import type { Storage } from '../../src/device/storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openQcow2 } from '../../src/image/qcow2/open.ts'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'
import { readAll } from '../support/qcow2.ts'

/** Each power loss goes through our own check; every so many also through qemu's, which takes a process. */
const QEMU_EVERY = process.env.DRYDISK_RUNS === undefined ? 40 : 1

const LOSSES: readonly PowerLoss[] = [
  { unflushed: 'keep' },
  { unflushed: 'lose' },
  { unflushed: 'some', seed: 1 },
  { unflushed: 'some', seed: 2, torn: true },
  { unflushed: 'some', seed: 3, torn: true },
]

interface Scene {
  readonly name: string
  /** Shell commands of qemu that make `t.qcow2` in the working folder from `content.raw` . */
  readonly make: readonly (readonly string[])[]
  /** What to do to the bytes of the image afterwards. */
  readonly damage?: (bytes: Uint8Array) => void
  readonly dataFile?: boolean
  readonly large?: boolean
}

const SCENES: readonly Scene[] = [
  { name: 'clusters of 512 bytes', make: [convert('cluster_size=512')], large: true },
  { name: 'clusters of 512 bytes, compressed', make: [convert('cluster_size=512', '-c')] },
  { name: 'clusters of 4 KiB, refcounts of 1 bit', make: [convert('cluster_size=4096,refcount_bits=1')] },
  { name: 'clusters of 64 KiB, zstd', make: [convert('compression_type=zstd', '-c')] },
  { name: 'version 2', make: [convert('compat=0.10,cluster_size=1024')] },
  { name: 'extended L2 entries', make: [convert('extended_l2=on,cluster_size=16k')] },
  {
    name: 'a snapshot',
    make: [
      convert('cluster_size=4096'),
      ['qemu-img', 'snapshot', '-c', 'one', 't.qcow2'],
      ['qemu-io', '-c', 'write -P 5 20k 30k', 't.qcow2'],
    ],
  },
  {
    name: 'a bitmap',
    make: [convert('cluster_size=1024'), ['qemu-img', 'bitmap', '--add', 't.qcow2', 'b0']],
  },
  {
    name: 'the dirty bit',
    make: [convert('cluster_size=1024,lazy_refcounts=on')],
    damage: bytes => {
      bytes[79] = 1
    },
  },
  {
    name: 'leaks of an earlier crash',
    make: [convert('cluster_size=4096')],
    // The third cluster is the refcount block; everything in use comes before the 60th.
    damage: bytes => {
      for (let cluster = 60; cluster < 130; cluster++) bytes[2 * 4096 + cluster * 2 + 1] = 1
    },
  },
  { name: 'an external data file', make: [convert('data_file=t.data,cluster_size=4096')], dataFile: true },
]

function convert(options: string, ...flags: string[]): string[] {
  return [
    'qemu-img',
    'convert',
    ...flags,
    '-f',
    'raw',
    '-O',
    'qcow2',
    '-o',
    options,
    'content.raw',
    't.qcow2',
  ]
}

/** Bytes of the disk; long writes, past the cluster cache, come up in the large one only. */
const SMALL = 120 << 10
const LARGE = 600 << 10

async function build(scene: Scene): Promise<Record<string, Uint8Array>> {
  const folder = temporaryFolder()
  const content = new Uint8Array(scene.large ? LARGE : SMALL)
  for (let at = 0; at < content.length; at++) content[at] = at % 16_384 < 12_000 ? (at >>> 9) * 7 + 1 : 0
  writeFileSync(join(folder, 'content.raw'), content)
  for (const [command = '', ...args] of scene.make)
    await runOk('sh', ['-c', 'cd "$0" && exec "$@"', folder, command, ...args])
  const bytes = new Uint8Array(readFileSync(join(folder, 't.qcow2')))
  scene.damage?.(bytes)
  return {
    't.qcow2': bytes,
    ...(scene.dataFile && { 't.data': new Uint8Array(readFileSync(join(folder, 't.data'))) }),
  }
}

async function openOn(medium: FaultMedium, writable: boolean): Promise<Qcow2Image> {
  const mode = writable ? 'write' : 'read'
  const open = async (name: string): Promise<Storage> => {
    const storage = await medium.open(name, mode)
    if (storage === undefined) throw new Error(`${name} is gone`)
    return storage
  }
  return openQcow2(await open('t.qcow2'), {
    writable,
    openBacking: async () => new StorageDevice(await open('base')),
    openDataFile: () => open('t.data'),
    redo: { folder: medium, imageName: 't.qcow2' },
  })
}

/** Two transactions with something of everything: small and long writes, erasures, growth, clusters written twice. */
const TRANSACTIONS: readonly ((image: Qcow2Image, model: Uint8Array) => Promise<void>)[] = [
  async (image, model) => {
    await put(image, model, 1000, 3000, 0x21)
    await put(image, model, 1500, 200, 0x22)
    await put(image, model, 16_384, image.size === LARGE ? 300_000 : 50_000, 0x23)
    await wipe(image, model, 80_000, 20_000)
    await put(image, model, 84_000, 1000, 0x24)
  },
  async (image, model) => {
    await wipe(image, model, 0, 20_000)
    await put(image, model, image.size - 10_000, 10_000, 0x31)
    await put(image, model, 30_000, 1, 0x32)
  },
]

async function put(
  image: Qcow2Image,
  model: Uint8Array,
  at: number,
  length: number,
  fill: number,
): Promise<void> {
  await image.write(at, new Uint8Array(length).fill(fill))
  model.fill(fill, at, at + length)
}

async function wipe(image: Qcow2Image, model: Uint8Array, at: number, length: number): Promise<void> {
  await image.erase(at, length)
  model.fill(0, at, at + length)
}

/** Runs the transactions until the medium fails. @returns the content committed for certain and the one under way. */
async function drive(
  medium: FaultMedium,
  initial: Uint8Array,
): Promise<{ old: Uint8Array; next: Uint8Array }> {
  let old = initial
  let next = initial
  try {
    const image = await openOn(medium, true)
    for (const transaction of TRANSACTIONS) {
      next = old.slice()
      await transaction(image, next)
      await image.commit()
      old = next
    }
    await image.close()
  } catch (error) {
    if (!isDrydiskError(error, 'EIO')) throw error
  }
  return { old, next }
}

async function qemuSays(medium: FaultMedium, folder: string): Promise<{ status: number; text: string }> {
  for (const name of medium.names) writeFileSync(join(folder, name), medium.content(name) ?? new Uint8Array())
  const { status, stdout, stderr } = await run('sh', [
    '-c',
    'cd "$0" && exec qemu-img check -f qcow2 t.qcow2',
    folder,
  ])
  return { status, text: stdout + stderr }
}

describe.skipIf(!haveTool('qemu-img'))('power failures during qcow2 commits', () => {
  for (const scene of SCENES)
    it(`${scene.name}: old or new content at every operation, leaks at most, and none after the next open`, async () => {
      const files = await build(scene)
      const folder = temporaryFolder()
      const whole = new FaultMedium(files)
      const reader = await openOn(whole, false)
      const initial = await readAll(reader)
      await reader.close()
      const { old: final } = await drive(whole, initial)
      const { operations } = whole
      expect(operations).toBeGreaterThan(10)
      const done = await openOn(whole, false)
      expect(Buffer.compare(await readAll(done), final)).toBe(0)
      expect(await qemuSays(whole, folder)).toMatchObject({ status: 0 })

      let cases = 0
      for (let stopAt = 0; stopAt < operations; stopAt++) {
        const medium = new FaultMedium(files, { stopAt })
        const { old, next } = await drive(medium, initial)
        for (const loss of LOSSES) {
          const after = medium.afterPowerLoss(loss)
          const where = `operation ${stopAt}, ${JSON.stringify(loss)}`
          const qemu = cases++ % QEMU_EVERY === 0
          const log = after.names.some(name => name.endsWith('redo'))
          if (qemu && !log) {
            // 0: clean, 3: leaks and nothing else.
            const { status, text } = await qemuSays(after, folder)
            expect([0, 3], `${where}: ${text}`).toContain(status)
          }
          const seen = await openOn(after, false)
          const content = await readAll(seen)
          const isOld = Buffer.compare(content, old) === 0
          expect(isOld || Buffer.compare(content, next) === 0, where).toBe(true)
          if (scene.name !== 'the dirty bit')
            expect(await seen.check(), where).toMatchObject({ corruptions: 0 })
          await seen.close()

          const reopened = await openOn(after, true)
          expect(Buffer.compare(await readAll(reopened), content), where).toBe(0)
          if (scene.name !== 'the dirty bit' && scene.dataFile !== true)
            expect(await reopened.check(), where).toMatchObject({ corruptions: 0, leaks: 0 })
          // The next commit works, whatever was left.
          await reopened.write(77_777, Uint8Array.of(1, 2, 3))
          await reopened.commit()
          content.set([1, 2, 3], 77_777)
          expect(Buffer.compare(await readAll(reopened), content), where).toBe(0)
          expect(await reopened.check(), where).toMatchObject({ corruptions: 0, leaks: 0 })
          await reopened.close()
          if (qemu) expect(await qemuSays(after, folder), where).toMatchObject({ status: 0 })
        }
      }
    })

  for (const scene of SCENES)
    it(`${scene.name}: an error at any operation leaves an image that can go on or go back`, async () => {
      const files = await build(scene)
      const count = new FaultMedium(files)
      const reader = await openOn(count, false)
      const initial = await readAll(reader)
      const { old: final } = await drive(count, initial)
      for (let operation = 0; operation < count.operations; operation++)
        for (const back of [false, true]) {
          const medium = new FaultMedium(files, { failAt: { operation, code: 'ENOSPC' } })
          const where = `operation ${operation}, ${back ? 'rolled back' : 'tried again'}`
          let image: Qcow2Image
          try {
            image = await openOn(medium, true)
          } catch (error) {
            expect(isDrydiskError(error, 'ENOSPC'), where).toBe(true)
            continue
          }
          let old = initial
          let usable = true
          for (const transaction of TRANSACTIONS) {
            const next = old.slice()
            try {
              await transaction(image, next)
              await image.commit()
              old = next
            } catch (error) {
              if (!isDrydiskError(error, 'ENOSPC')) throw error
              if (error.context.published === true || scene.dataFile) {
                usable = false
                break
              }
              if (back) {
                await image.rollback()
                expect(Buffer.compare(await readAll(image), old), where).toBe(0)
                expect(await image.check(), where).toMatchObject(
                  scene.damage === undefined ? { corruptions: 0, leaks: 0 } : {},
                )
              }
              const again = old.slice()
              await transaction(image, again)
              await image.commit()
              old = again
            }
          }
          if (usable) {
            expect(Buffer.compare(await readAll(image), final), where).toBe(0)
            expect(await image.check(), where).toMatchObject({ corruptions: 0, leaks: 0 })
          }
          await image.close()
        }
    })
})
