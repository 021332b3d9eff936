import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { type CompactResult, compactQcow2 } from '../../src/image/qcow2/compact.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'
import { fileOf, openOn } from '../support/power-loss.ts'
import { qemuRaw } from '../support/qcow2.ts'
import { allFacts, build, type Flavour, type Step } from '../support/qcow2-life.ts'

const CLUSTERS = [512, 1024, 4096, 16_384, 65_536] as const

function flavours(): fc.Arbitrary<Flavour> {
  return fc
    .record({
      clusterSize: fc.constantFrom(...CLUSTERS),
      bits: fc.constantFrom(1, 2, 8, 16, 64),
      v2: fc.boolean(),
      extended: fc.boolean(),
      compressed: fc.boolean(),
      zstd: fc.boolean(),
      clusters: fc.integer({ min: 20, max: 400 }),
      snapshots: fc.boolean(),
    })
    .map(({ clusterSize, bits, v2, extended, compressed, zstd, clusters, snapshots }) => {
      const ext = extended && clusterSize >= 16_384 && !v2
      const options = [
        `cluster_size=${clusterSize}`,
        v2 ? 'compat=0.10' : `refcount_bits=${bits}`,
        ...(ext ? ['extended_l2=on'] : []),
        ...(zstd && compressed && !v2 ? ['compression_type=zstd'] : []),
      ].join(',')
      const size = Math.min(clusters * clusterSize, 4 << 20)
      return { options, compressed, size, snapshots: snapshots && (v2 || bits >= 8), bitmaps: !v2 }
    })
}

/** What is in an image by qemu's word: the disk, and each snapshot. */
async function contents(bytes: Uint8Array): Promise<string[]> {
  const folder = temporaryFolder()
  const image = join(folder, 't.qcow2')
  writeFileSync(image, bytes)
  const listed = JSON.parse(await runOk('qemu-img', ['info', '--output=json', image])) as {
    snapshots?: { name: string }[]
  }
  const found: string[] = []
  for (const snapshot of [undefined, ...(listed.snapshots ?? [])]) {
    await qemuRaw(
      image,
      join(folder, 'raw'),
      snapshot === undefined ? undefined : `snapshot.name=${snapshot.name}`,
    )
    found.push((await runOk('sha256sum', [join(folder, 'raw')])).slice(0, 64))
  }
  return found
}

/** Compacts the image and holds the result against qemu-img. */
async function compacted(bytes: Uint8Array): Promise<{ result: CompactResult; after: Uint8Array }> {
  const medium = new FaultMedium({ 't.qcow2': bytes })
  const before = await openOn(medium, false)
  const facts = await allFacts(before)
  await before.close()
  const result = await compactQcow2(await fileOf(medium, 't.qcow2', 'write'))
  const after = medium.content('t.qcow2') ?? new Uint8Array()
  const seen = await openOn(medium, true)
  expect(await allFacts(seen)).toBe(facts)
  await seen.close()
  expect(medium.content('t.qcow2')?.length, 'opening finds nothing to give back').toBe(after.length)
  const folder = temporaryFolder()
  writeFileSync(join(folder, 't.qcow2'), after)
  const { status, stdout, stderr } = await run('qemu-img', ['check', join(folder, 't.qcow2')])
  expect(status, stdout + stderr).toBe(0)
  expect(await contents(after)).toEqual(await contents(bytes))
  expect(result).toMatchObject({ before: bytes.length, after: after.length })
  expect(after.length).toBeLessThanOrEqual(bytes.length)
  return { result, after }
}

const percent = (most: number) => fc.integer({ min: 0, max: most }).map(part => part / 100)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    at: percent(90),
    length: percent(30),
    fill: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({
    kind: fc.constant('erase' as const),
    at: percent(90),
    length: percent(60),
  }),
  fc.constant({ kind: 'snapshot' as const }),
  fc.constant({ kind: 'bitmap' as const }),
)

describe.skipIf(!haveTool('qemu-img'))('compacting a qcow2 image', () => {
  it('keeps every content and leaves nothing free', async () => {
    await fc.assert(
      fc.asyncProperty(flavours(), fc.array(step, { minLength: 1, maxLength: 6 }), async (flavour, steps) => {
        const { result } = await compacted(await build(flavour, steps))
        if (!flavour.compressed) expect(result.slack).toBeLessThan(9)
      }),
      propertySettings(15),
    )
  })

  for (const [what, cluster, entryOfL1] of [
    ['the L1 table', 3, false],
    ['an L2 table', 4, true],
  ] as const)
    it(`refuses an image where ${what} is data of the disk too, and writes nothing`, async () => {
      const bytes = await build({ options: 'cluster_size=4096', size: 100 << 10 }, [])
      const view = new DataView(bytes.buffer)
      // Header, refcount table, refcount block, L1 table, L2 table, data.
      expect([view.getBigUint64(40), view.getBigUint64(3 * 4096) & 0xffff_ffffn]).toEqual([12_288n, 16_384n])
      view.setBigUint64(4 * 4096, BigInt(cluster * 4096))
      if (entryOfL1) view.setBigUint64(3 * 4096, 16_384n)
      view.setUint16(2 * 4096 + cluster * 2, 2)
      view.setUint16(2 * 4096 + 5 * 2, 0)
      const medium = new FaultMedium({ 't.qcow2': bytes })
      const work = compactQcow2(await fileOf(medium, 't.qcow2', 'write'))
      await expect(work).rejects.toMatchObject({ code: 'ERR_CORRUPT', message: expect.stringMatching(/too/) })
      expect(medium.operations).toBe(0)
    })

  it('does nothing to an image that is compact', async () => {
    const medium = new FaultMedium({
      't.qcow2': await build({ options: 'cluster_size=4096', size: 100 << 10 }, []),
    })
    expect(await compactQcow2(await fileOf(medium, 't.qcow2', 'write'))).toMatchObject({ moved: 0, slack: 0 })
    expect(medium.operations).toBe(0)
  })

  it('moves a table of several clusters where there is room for it in one piece', async () => {
    // An L1 table of 4 clusters of 512 bytes, which the commits of three edits have moved about.
    const steps: Step[] = [
      { kind: 'write', at: 0.1, length: 0.01, fill: 1 },
      { kind: 'erase', at: 0.3, length: 0.5 },
      { kind: 'write', at: 0.2, length: 0.02, fill: 2 },
    ]
    const { result } = await compacted(await build({ options: 'cluster_size=512', size: 8 << 20 }, steps))
    expect(result.slack).toBeLessThan(20)
  })
})
