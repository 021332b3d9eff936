import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  haveXfsMounts,
  makeUnfinishedXfs,
  mountedXfs,
  quickFolder,
  setIncompat,
} from '../../native-fixtures/xfs-logs.ts'
import { littleEndian } from '../../src/bytes/byte-view.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { INCOMPAT } from '../../src/filesystem/xfs/features.ts'
import { findActiveLog } from '../../src/filesystem/xfs/log/find-tail.ts'
import { finishOver } from '../../src/filesystem/xfs/log/finish-over.ts'
import type { OpenIntent } from '../../src/filesystem/xfs/log/intents.ts'
import { LogArea } from '../../src/filesystem/xfs/log/log-area.ts'
import { replayTransactions } from '../../src/filesystem/xfs/log/recover.ts'
import { readSuperblock } from '../../src/filesystem/xfs/open.ts'
import { propertySettings } from '../support/native.ts'
import { digester, kernelTree, ownTree, type TreeRow } from '../support/tree-rows.ts'
import { type Cut, type CutImages, cutImage, cuts } from '../support/xfs-cut-logs.ts'
import { withXfs } from '../support/xfs-image.ts'
import { counters, expectRepaired, logState } from '../support/xfs-oracles.ts'

/** Combinations of intents that are looked at in each filesystem. */
const TRIED = Number(process.env.DRYDISK_RUNS ?? 1)
const SEED = Number(process.env.DRYDISK_SEED ?? 3)

async function mountedTree(image: string): Promise<Record<string, TreeRow>> {
  let rows: Record<string, TreeRow> = {}
  await mountedXfs(image, async folder => {
    rows = await kernelTree(folder)
  })
  return rows
}

/** The kernel takes its own time for what it changes. */
function withoutChange(rows: Record<string, TreeRow>): Record<string, TreeRow> {
  return Object.fromEntries(Object.entries(rows).map(([path, row]) => [path, { ...row, ctime: '' }]))
}

/**
 * Sizes that files get when they have exchanged all their blocks, by inode. Linux up to 6.18 gives them those that they had when it
 * crashed, after some of the steps.
 */
function intendedSizes({ open }: Cut): Map<number, number> {
  const sizes = new Map<number, number>()
  for (const { name, regions } of open) {
    const view = name === 'XMI' && regions[0] !== undefined ? littleEndian(regions[0], 'XMI') : undefined
    if (view === undefined || (view.u32(64) & 2) === 0) continue
    sizes.set(view.u64(16), view.u64(72))
    sizes.set(view.u64(24), view.u64(80))
  }
  return sizes
}

function without(
  rows: Record<string, TreeRow>,
  inodes: ReadonlyMap<number, number>,
): Record<string, TreeRow> {
  return Object.fromEntries(Object.entries(rows).filter(([, { ino }]) => !inodes.has(ino)))
}

const namesOf = ({ open }: Cut) => open.map(({ name }) => name).join(' ')

/** One cut of each combination of intents, the richest first, and more of each in turn. */
function choose(all: readonly Cut[], count: number): Cut[] {
  const groups = new Map<string, Cut[]>()
  for (const cut of all)
    if (cut.open.length > 0) groups.set(namesOf(cut), [...(groups.get(namesOf(cut)) ?? []), cut])
  const chosen: Cut[] = []
  const kinds = ([cut]: readonly Cut[]) => new Set(cut?.open.map(({ name }) => name)).size
  const order = [...groups.values()].sort((a, b) => kinds(b) - kinds(a) || b.length - a.length)
  for (let round = 0; chosen.length < count && order.some(group => group.length > round); round++)
    for (const group of order) {
      const cut = group[(round * 7) % group.length]
      if (cut !== undefined && chosen.length < count && round < group.length) chosen.push(cut)
    }
  return chosen
}

/** A log with such intents left open at some places: which ones there are depends on how its writers take turns. */
async function unfinished(
  base: string,
  mkfs: readonly string[],
  options: Parameters<typeof makeUnfinishedXfs>[3],
  needs: readonly string[],
): Promise<{ images: CutImages; all: readonly Cut[] }> {
  for (let attempt = 0; ; attempt++) {
    const images = await makeUnfinishedXfs(base, [...mkfs, '-l', 'size=20m'], SEED + attempt, options)
    const all = await cuts(images)
    const names = new Set(all.flatMap(({ open }) => open.map(({ name }) => String(name))))
    if (needs.every(name => names.has(name))) return { images, all }
    if (attempt === 4) throw new Error(`no log has the intents ${needs.join(', ')}`)
  }
}

interface Variant {
  readonly name: string
  readonly mkfs: readonly string[]
  readonly kind?: 'all' | 'exchange' | 'attributes'
  readonly incompat?: number
  readonly needs: readonly string[]
}

const VARIANTS: readonly Variant[] = [
  { name: 'reverse mapping and reflink', mkfs: ['-m', 'rmapbt=1'], needs: ['BUI', 'CUI', 'RUI', 'EFI'] },
  { name: 'reflink, blocks of 1 KiB', mkfs: ['-b', 'size=1024'], needs: ['BUI', 'CUI', 'EFI'] },
  { name: 'neither', mkfs: ['-m', 'rmapbt=0,reflink=0'], needs: ['EFI'] },
  {
    name: 'names and attributes, written at once, inodes of 1 KiB',
    mkfs: ['-m', 'rmapbt=1,reflink=0', '-i', 'size=1024', '-b', 'size=2048'],
    kind: 'attributes',
    needs: ['RUI'],
  },
  {
    name: 'files exchange their blocks',
    mkfs: ['-m', 'rmapbt=1'],
    kind: 'exchange',
    incompat: INCOMPAT.EXCHRANGE,
    needs: ['XMI', 'BUI'],
  },
]

describe.skipIf(!haveXfsMounts())('steps that a log leaves to be done', () => {
  test.each(VARIANTS)(
    '$name: as the kernel does them',
    async ({ mkfs, needs, kind = 'all', incompat = 0 }) => {
      const base = join(quickFolder(), 'image')
      const { images, all } = await unfinished(base, mkfs, { kind, incompat }, needs)
      for (const [index, cut] of choose(all, TRIED).entries()) {
        const [image, kernel] = [`${base}.cut`, `${base}.kernel`]
        // The next record may have begun.
        const torn = cut === all.at(-1) ? 0 : index % 3
        await cutImage(images, { ...cut, block: cut.block + torn }, image)
        copyFileSync(image, kernel)
        const theirs = await mountedTree(kernel)
        const what = `cut at ${cut.block}: ${namesOf(cut)}`
        const sizes = intendedSizes(cut)
        await withXfs(image, 'read', async fs => {
          expect(fs.warnings.filter(warning => !warning.includes('were being written'))).toEqual([])
          const rows = await ownTree(fs, digester(fs))
          for (const [ino, size] of sizes) expect((await fs.stat(ino)).size).toBe(size)
          expect({ what, rows: without(rows, sizes) }).toEqual({ what, rows: without(theirs, sizes) })
        })
        await withXfs(image, 'write', fs => fs.sync())
        // Older tools do not know the feature, and it is of the log alone.
        for (const each of [image, kernel]) await setIncompat(each, bits => bits & ~incompat)
        expect((await logState(image)).state).toBe('CLEAN')
        await expectRepaired(image)
        expect({ what, rows: without(await mountedTree(image), sizes) }).toEqual({
          what,
          rows: without(theirs, sizes),
        })
        // When files were looked at: the kernel has then taken back what it had allocated ahead for them.
        if (sizes.size === 0)
          expect({ what, ...(await counters(image)) }).toEqual({ what, ...(await counters(kernel)) })
        rmSync(kernel)
      }
    },
    60_000 + TRIED * 20_000,
  )

  test('parent pointers are not shown, and not written', async () => {
    const base = join(quickFolder(), 'image')
    const options = { kind: 'attributes', incompat: INCOMPAT.PARENT } as const
    const { images, all } = await unfinished(base, [], options, ['ATTRI'])
    const withAttributes = all.filter(cut => namesOf(cut).includes('ATTRI'))
    for (const cut of choose(withAttributes, TRIED)) {
      const [image, kernel] = [`${base}.cut`, `${base}.kernel`]
      await cutImage(images, cut, image)
      copyFileSync(image, kernel)
      const theirs = await mountedTree(kernel)
      await withXfs(image, 'read', async fs => {
        expect(fs.warnings).toEqual([])
        expect(withoutChange(await ownTree(fs, digester(fs)))).toEqual(withoutChange(theirs))
      })
      await expect(withXfs(image, 'write', async () => {})).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining('parent pointers'),
      })
      rmSync(kernel)
    }
  }, 120_000)

  test('a changed intent is refused with its transaction, or carried out', async () => {
    const base = join(quickFolder(), 'image')
    const options = { kind: 'exchange', incompat: INCOMPAT.EXCHRANGE } as const
    const { images, all } = await unfinished(base, ['-m', 'rmapbt=1'], options, ['XMI', 'BUI'])
    const chosen = choose(all, 3)
    const image = `${base}.cut`
    const replays: { volume: OverlayDevice; open: readonly OpenIntent[] }[] = []
    for (const [index, cut] of chosen.entries()) {
      await cutImage(images, cut, `${image}${index}`)
      const device = new StorageDevice(await FileStorage.open(`${image}${index}`, 'read'))
      const log = new LogArea(device, await readSuperblock(device))
      const { overlay, open } = await replayTransactions(device, log, await findActiveLog(log), {})
      replays.push({ volume: overlay, open })
    }
    const seen = new Set<string>()
    const change = fc.record({
      intent: fc.nat(),
      place: fc.oneof(fc.integer({ min: 4, max: 47 }), fc.nat(90)),
      value: fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 0x7f, 0x80, 0xff), fc.nat(255)),
    })
    const property = fc.asyncProperty(
      fc.nat(replays.length - 1),
      fc.array(change, { minLength: 1, maxLength: 2 }),
      async (which, changes) => {
        const { volume, open } = replays[which] ?? expect.fail('no such replay')
        const intents = open.map(intent => ({ ...intent, regions: intent.regions.map(each => each.slice()) }))
        for (const { intent, place, value } of changes) {
          const [region = new Uint8Array()] = intents[intent % intents.length]?.regions ?? []
          if (place < region.length) region[place] = value
        }
        const overlay = new OverlayDevice(volume)
        const begun = performance.now()
        try {
          await finishOver(overlay, intents)
          seen.add('done')
        } catch (error) {
          if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED', 'ENOSPC', 'EFBIG')) throw error
          expect(error.message).toMatch(/transaction 0x/)
          expect(overlay.dirty).toBe(false)
          seen.add(error.code)
        }
        expect(performance.now() - begun).toBeLessThan(5000)
        await overlay.rollback()
      },
    )
    await fc.assert(property, propertySettings(30))
    expect(seen.size).toBeGreaterThan(0)
    for (const { volume } of replays) await volume.close()
  }, 120_000)
})
