import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { compactQcow2 } from '../../src/image/qcow2/compact.ts'
import { haveTool } from '../support/native.ts'
import { everyPowerLoss, fileOf, openOn } from '../support/power-loss.ts'
import { allFacts, build, type Flavour, type Step } from '../support/qcow2-life.ts'

/** An error at every so many operations, all of them where runs are asked for. */
const EVERY = process.env.DRYDISK_RUNS === undefined ? 4 : 1

const erase: Step = { kind: 'erase', at: 0.1, length: 0.45 }
const write: Step = { kind: 'write', at: 0.05, length: 0.1, fill: 7 }
const snapshot: Step = { kind: 'snapshot' }
const bitmap: Step = { kind: 'bitmap' }

const SCENES: readonly [
  name: string,
  flavour: Omit<Flavour, 'size'>,
  steps: readonly Step[],
  size?: number,
][] = [
  ['clusters of 512 bytes, compressed', { options: 'cluster_size=512', compressed: true }, [erase], 30 << 10],
  [
    'refcounts of 1 bit, compressed',
    { options: 'cluster_size=4096,refcount_bits=1', compressed: true },
    [erase, write],
    60 << 10,
  ],
  ['extended L2 entries', { options: 'cluster_size=16k,extended_l2=on' }, [erase, write], 200 << 10],
  [
    'snapshots, refcounts of 64 bits',
    { options: 'cluster_size=1024,refcount_bits=64', snapshots: true },
    [snapshot, erase, write, snapshot, { ...erase, at: 0.3 }, write],
    50 << 10,
  ],
  [
    'version 2, snapshots, compressed',
    { options: 'cluster_size=4096,compat=0.10', snapshots: true, compressed: true },
    [erase, snapshot, { ...erase, at: 0.3 }, write],
  ],
  [
    'clusters of 512 bytes, bitmaps',
    { options: 'cluster_size=512', bitmaps: true },
    [bitmap, bitmap, erase, write],
    40 << 10,
  ],
  [
    'bitmaps, snapshots',
    { options: 'cluster_size=4096', bitmaps: true, snapshots: true },
    [erase, snapshot, bitmap, erase],
    60 << 10,
  ],
]

describe.skipIf(!haveTool('qemu-img'))('power failures while a qcow2 image is compacted', () => {
  for (const [name, flavour, steps, size = 100 << 10] of SCENES) {
    it(`${name}: the same content at every operation, leaks at most, and none after the next open`, async () => {
      const files = { 't.qcow2': await build({ ...flavour, size }, steps) }
      let length = 0
      const operations = await everyPowerLoss(
        files,
        async medium => {
          const { moved, after } = await compactQcow2(await fileOf(medium, 't.qcow2', 'write'))
          expect(moved).toBeGreaterThan(0)
          length = after
        },
        allFacts,
      )
      expect(operations).toBeGreaterThan(6)
      expect(length).toBeLessThan(files['t.qcow2'].length)
    })

    it(`${name}: an error at any operation leaves the same content, and the next try succeeds`, async () => {
      const files = { 't.qcow2': await build({ ...flavour, size }, steps) }
      const count = new FaultMedium(files)
      const image = await openOn(count, false)
      const facts = await allFacts(image)
      const { after } = await compactQcow2(await fileOf(count, 't.qcow2', 'write'))
      for (let operation = 0; operation < count.operations; operation += EVERY) {
        const medium = new FaultMedium(files, { failAt: { operation, code: 'ENOSPC' } })
        const where = `operation ${operation}`
        try {
          await compactQcow2(await fileOf(medium, 't.qcow2', 'write'))
        } catch (error) {
          expect(isDrydiskError(error, 'ENOSPC'), where).toBe(true)
        }
        const left = await openOn(medium, false)
        expect(await left.check(), where).toMatchObject({ corruptions: 0 })
        expect(await allFacts(left), where).toBe(facts)
        await compactQcow2(await fileOf(medium, 't.qcow2', 'write'))
        const done = await openOn(medium, true)
        expect(await done.check(), where).toMatchObject({ corruptions: 0, leaks: 0 })
        expect(await allFacts(done), where).toBe(facts)
        expect(medium.content('t.qcow2')?.length, where).toBeLessThanOrEqual(after + 2 * done.clusterSize)
      }
    })
  }

  it('stops where it is told to, with the content as it was', async () => {
    const files = { 't.qcow2': await build({ options: 'cluster_size=4096', size: 1 << 20 }, [erase]) }
    const medium = new FaultMedium(files)
    const facts = await allFacts(await openOn(medium, false))
    const controller = new AbortController()
    const work = compactQcow2(await fileOf(medium, 't.qcow2', 'write'), {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    await expect(work).rejects.toMatchObject({ code: 'ERR_ABORTED' })
    const left = await openOn(medium, true)
    expect(await left.check()).toMatchObject({ corruptions: 0, leaks: 0 })
    expect(await allFacts(left)).toBe(facts)
  })
})
