import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { haveXfsMounts, makeXfs, mountedXfs, quickFolder } from '../../native-fixtures/xfs-logs.ts'
import { toBytes } from '../../src/bytes/names.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import { type Extent, OWN, structureOwner } from '../../src/filesystem/xfs/writer.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { haveTool } from '../support/native.ts'
import { digester, kernelTree, ownTree, type TreeRow } from '../support/tree-rows.ts'
import { withXfs } from '../support/xfs-image.ts'
import { type AttributeIntent, attributeIntent, freeIntent, leaveOpen } from '../support/xfs-open-intents.ts'
import { counters, expectRepaired, logState } from '../support/xfs-oracles.ts'
import { withXfsWriter } from '../support/xfs-writer.ts'

/** The kernel takes its own time for what it changes. */
function withoutChange(rows: Record<string, TreeRow>): Record<string, TreeRow> {
  return Object.fromEntries(Object.entries(rows).map(([path, row]) => [path, { ...row, ctime: '' }]))
}

async function mountedTree(image: string): Promise<Record<string, TreeRow>> {
  let rows: Record<string, TreeRow> = {}
  await mountedXfs(image, async folder => {
    rows = withoutChange(await kernelTree(folder))
  })
  return rows
}

const NAMESPACES = { 'user.': 0, 'trusted.': 2, 'security.': 4 } as const

/** In the inode, in a leaf, and in blocks of its own. */
const SIZES = [5, 700, 7000] as const

interface Step {
  readonly operation: AttributeIntent['operation']
  readonly prefix: keyof typeof NAMESPACES
  /** What the file has before; none where it is left out. */
  readonly had?: number
  readonly gets?: number
}

const STEPS: readonly Step[] = [
  ...SIZES.map(gets => ({ operation: 'set', prefix: 'user.', gets }) as const),
  ...SIZES.map(had => ({ operation: 'remove', prefix: 'trusted.', had }) as const),
  ...SIZES.flatMap(had =>
    SIZES.map(gets => ({ operation: 'replace', prefix: 'security.', had, gets }) as const),
  ),
  // The kernel had begun: what was to be replaced or removed is gone.
  { operation: 'replace', prefix: 'user.', gets: 300 },
  { operation: 'remove', prefix: 'user.' },
]

describe.skipIf(!haveXfsMounts())('attributes that a log leaves to be changed', () => {
  test.each([
    ['as mkfs.xfs makes it', [], false],
    ['blocks of 1 KiB, reverse mapping', ['-b', 'size=1024', '-m', 'rmapbt=1'], true],
  ] as const)(
    '%s: as the kernel changes them',
    async (_, options, small) => {
      const base = join(quickFolder(), 'image')
      await makeXfs(base, 92, options)
      const names = STEPS.map((_step, index) => `file${index}`)
      // Every second has others, too many for the inode.
      await mountedXfs(base, async folder => {
        for (const name of names) writeFileSync(`${folder}/${name}`, name)
      })
      const intents = await withXfs(base, 'write', async fs => {
        const found: AttributeIntent[] = []
        for (const [index, { operation, prefix, had, gets }] of STEPS.entries()) {
          const ino = await fs.lookup(fs.root, toBytes(names[index] ?? ''))
          if (had !== undefined) await fs.setxattr(ino, `${prefix}changed`, pattern(had, index))
          // Every second has others, too many for the inode.
          for (let n = 0; n < (index % 2) * 9; n++) await fs.setxattr(ino, `user.other${n}`, pattern(60, n))
          const value = gets === undefined ? {} : { value: pattern(gets, index + 100) }
          found.push({ ino, operation, namespace: NAMESPACES[prefix], name: 'changed', ...value })
        }
        await fs.close()
        return found
      })
      await expectRepaired(base)
      const isLarge = ({ value }: AttributeIntent) => (value?.length ?? 0) > 1000
      // Linux 6.18 fails to recover one that replaces by a large value where blocks are small.
      const isOurs = (intent: AttributeIntent) => small && intent.operation === 'replace' && isLarge(intent)
      // A record has room for 32 KiB.
      const records = [
        intents.filter(each => !isLarge(each)),
        intents.filter(each => isLarge(each) && !isOurs(each)),
        intents.filter(isOurs),
      ]
      for (const [index, chosen] of records.entries()) {
        if (chosen.length === 0) continue
        const [image, kernel] = [`${base}.${index}`, `${base}.${index}.kernel`]
        copyFileSync(base, image)
        await leaveOpen(
          image,
          chosen.flatMap((intent, n) => attributeIntent(intent, 0x1000 + n)),
        )
        copyFileSync(image, kernel)
        expect((await logState(image)).state).toBe('DIRTY')
        const read = await withXfs(image, 'read', async fs => {
          expect(fs.warnings).toEqual([])
          return withoutChange(await ownTree(fs, digester(fs)))
        })
        await withXfs(image, 'write', fs => fs.close())
        expect((await logState(image)).state).toBe('CLEAN')
        await expectRepaired(image)
        const mounted = await mountedTree(image)
        expect(mounted).toEqual(read)
        for (const { ino, namespace, value } of chosen) {
          const prefix = Object.entries(NAMESPACES).find(([, each]) => each === namespace)?.[0]
          const row = Object.values(mounted).find(each => each.ino === ino)
          const expected = value === undefined ? undefined : Buffer.from(value).toString('hex')
          expect(row?.xattrs[`${prefix}changed`]).toBe(expected)
        }
        if (!chosen.some(isOurs)) expect(await mountedTree(kernel)).toEqual(mounted)
      }
    },
    120_000,
  )
})

describe.skipIf(!haveTool('mkfs.xfs'))('extents that a log of version 4 leaves to be freed', () => {
  test.each([
    ['log of version 2', []],
    ['log of version 1, counters at once', ['-l', 'version=1,lazy-count=0']],
    ['blocks of 512 bytes', ['-b', 'size=512']],
  ] as const)('%s', async (_, options) => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 92, ['-m', 'crc=0', ...options])
    const before = await counters(image)
    // In use by nobody, as between the transaction that takes them from a file and the one that frees them.
    const extents = await withXfsWriter(image, writer =>
      inTransaction(writer, async () => {
        const found: Extent[] = []
        const { geometry } = writer.volume
        for (const [agno, wanted] of [7, 1, 300].entries())
          found.push(
            await writer.space.allocate({
              goal: geometry.fsBlock(agno, 50),
              wanted,
              least: wanted,
              owner: structureOwner(OWN.UNKNOWN),
            }),
          )
        return found
      }),
    )
    expect((await counters(image)).free).toBe(before.free - 308)
    await leaveOpen(image, [
      ...freeIntent(extents.slice(0, 2), 0x1000),
      ...freeIntent(extents.slice(2), 0x1001),
    ])
    await withXfs(image, 'read', async fs => expect(fs.warnings).toEqual([]))
    await withXfs(image, 'write', fs => fs.close())
    expect((await logState(image)).state).toBe('CLEAN')
    await expectRepaired(image)
    expect(await counters(image)).toEqual(before)
  })
})
