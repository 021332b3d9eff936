import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  haveXfsMounts,
  makeUnfinishedXfs,
  mountedXfs,
  quickFolder,
  setIncompat,
} from '../../native-fixtures/xfs-logs.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { INCOMPAT } from '../../src/filesystem/xfs/features.ts'
import type { XfsFileSystem } from '../../src/filesystem/xfs/filesystem.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { digester, kernelTree, ownTree, type TreeRow } from '../support/tree-rows.ts'
import { type Cut, cutImage, cuts } from '../support/xfs-cut-logs.ts'
import { counters, expectRepaired, logState } from '../support/xfs-oracles.ts'

/** Combinations of intents that are looked at in each filesystem. */
const TRIED = Number(process.env.DRYDISK_RUNS ?? 3)
const SEED = Number(process.env.DRYDISK_SEED ?? 3)

async function withXfs<T>(
  image: string,
  mode: 'read' | 'write',
  use: (fs: XfsFileSystem) => Promise<T>,
): Promise<T> {
  const device = new StorageDevice(await FileStorage.open(image, mode))
  try {
    return await use(await openXfs(device, { writable: mode === 'write' }))
  } finally {
    await device.close()
  }
}

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

const namesOf = ({ open }: Cut) => open.map(({ name }) => name).join(' ')

/** One cut of each combination of intents, and more of each in turn; the same ones for the same log. */
function choose(all: readonly Cut[], count: number): Cut[] {
  const groups = new Map<string, Cut[]>()
  for (const cut of all)
    if (cut.open.length > 0) groups.set(namesOf(cut), [...(groups.get(namesOf(cut)) ?? []), cut])
  const chosen: Cut[] = []
  const order = [...groups.values()].sort((a, b) => b.length - a.length)
  for (let round = 0; chosen.length < count && order.some(group => group.length > round); round++)
    for (const group of order) {
      const cut = group[(round * 7) % group.length]
      if (cut !== undefined && chosen.length < count && round < group.length) chosen.push(cut)
    }
  return chosen
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
  { name: 'reverse mapping alone', mkfs: ['-m', 'rmapbt=1,reflink=0'], needs: ['RUI', 'EFI'] },
  { name: 'neither', mkfs: ['-m', 'rmapbt=0,reflink=0'], needs: ['EFI'] },
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
      const options = { kind, incompat }
      const images = await makeUnfinishedXfs(base, [...mkfs, '-l', 'size=30m'], SEED, options)
      const all = await cuts(images)
      expect([...new Set(all.flatMap(({ open }) => open.map(({ name }) => name)))]).toEqual(
        expect.arrayContaining([...needs]),
      )
      const chosen = choose(all, TRIED)
      for (const cut of chosen) {
        const [image, kernel] = [`${base}.cut`, `${base}.kernel`]
        await cutImage(images, cut, image)
        copyFileSync(image, kernel)
        // Not walked: the kernel would take back what it had allocated ahead for files that are opened.
        await mountedXfs(kernel, async () => {})
        // Older tools do not know the feature, and it is of the log alone.
        await setIncompat(kernel, bits => bits & ~incompat)
        const theirCounters = await counters(kernel)
        const theirs = await mountedTree(kernel)
        const what = `cut at ${cut.block}: ${namesOf(cut)}`
        await withXfs(image, 'read', async fs => {
          expect(fs.warnings).toEqual([])
          expect({ what, rows: await ownTree(fs, digester(fs)) }).toEqual({ what, rows: theirs })
        })
        await withXfs(image, 'write', fs => fs.sync())
        await setIncompat(image, bits => bits & ~incompat)
        expect((await logState(image)).state).toBe('CLEAN')
        await expectRepaired(image)
        expect({ what, ...(await counters(image)) }).toEqual({ what, ...theirCounters })
        expect({ what, rows: await mountedTree(image) }).toEqual({ what, rows: theirs })
        rmSync(kernel)
      }
    },
    60_000 + TRIED * 20_000,
  )

  test('parent pointers are not shown, and not written', async () => {
    const base = join(quickFolder(), 'image')
    const options = { kind: 'attributes', incompat: INCOMPAT.PARENT } as const
    const images = await makeUnfinishedXfs(base, ['-l', 'size=30m'], SEED, options)
    const withAttributes = (await cuts(images)).filter(cut => namesOf(cut).includes('ATTRI'))
    expect(withAttributes.length).toBeGreaterThan(0)
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
})
