import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeXfs } from '../../native-fixtures/xfs-images.ts'
import { nameHash } from '../../src/filesystem/xfs/dir-name.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { bytesOf, DirectoryLab } from '../support/xfs-directory.ts'
import { stingy, withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

const tools = haveTool('mkfs.xfs') && haveTool('xfs_repair')

async function makeImage(args: readonly string[], megabytes = 320): Promise<string> {
  const image = join(temporaryFolder(), 'image')
  await makeXfs(image, megabytes, args)
  return writes(image, 'xfs')
}

/**
 * Names with one hash. The lowest bit of a byte and the highest of the next meet in it (xfs_da_hashname turns by 7 bits), so
 * both may be the other way round together.
 */
function collidingNames(pairs: number, tail: string): string[] {
  return Array.from({ length: 2 ** pairs }, (_, bits) => {
    let name = ''
    for (let pair = 0; pair < pairs; pair++)
      name += (bits >> pair) & 1 ? String.fromCharCode(0x61, 0xe2) : String.fromCharCode(0x60, 0x62)
    return name + tail
  })
}

/** Runs of additions and removals; places are taken modulo what there is. */
interface Step {
  readonly op: 'add' | 'remove' | 'replace'
  readonly from: number
  readonly count: number
  /** How far the next name is: what is removed lies anywhere. */
  readonly stride: number
}

const steps = fc.array(
  fc.record({
    op: fc.constantFrom<Step['op'][]>('add', 'add', 'remove', 'replace'),
    from: fc.nat({ max: 999 }),
    count: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 160 })),
    stride: fc.constantFrom(1, 7, 39, 331),
  }),
  { minLength: 5, maxLength: 12, size: 'max' },
)

/** Short and long names, plain ones and such with one hash. */
const NAMES = [
  ...collidingNames(9, '').slice(0, 400),
  ...Array.from({ length: 400 }, (_, n) => `n${n}`),
  ...Array.from({ length: 100 }, (_, n) => `${'long'.repeat(n % 60)} name ${n}`),
  ...Array.from({ length: 100 }, (_, n) => `${n} ${'x'.repeat(255 - String(n).length - 1)}`),
]

async function run(lab: DirectoryLab, { op, from, count, stride }: Step): Promise<void> {
  for (let n = from; n < from + count; n++) {
    const name = NAMES[(n * stride) % NAMES.length] ?? ''
    if (op === 'add' && !lab.entries.has(name)) await lab.add(name, n % 2 === 0 ? 0 : 1)
    if (op === 'remove' && lab.entries.has(name)) await lab.remove(name)
    if (op === 'replace' && lab.entries.has(name)) await lab.replace(name, n % 3 === 0 ? 0 : 1)
  }
}

describe.skipIf(!tools)('directories of XFS against a model', () => {
  for (const [name, args] of [
    ['version 5', ['-m', 'rmapbt=1']],
    ['version 4', ['-m', 'crc=0', '-b', 'size=512', '-n', 'ftype=0', '-i', 'size=256,attr=1']],
    ['directories of 8 KiB in blocks of 1 KiB', ['-b', 'size=1024', '-n', 'size=8192']],
  ] as const)
    test(name, async () => {
      const image = await makeImage(args)
      let first = true
      let piece = 0
      await fc.assert(
        fc.asyncProperty(steps, async list => {
          await withXfsWriter(
            image,
            async writer => {
              const lab = first ? await DirectoryLab.make(writer) : await DirectoryLab.open(writer)
              first = false
              for (const step of list) await run(lab, step)
              await lab.check()
            },
            stingy(() => 1 + (piece++ % 5)),
          )
          await runOk('xfs_repair', ['-n', '-f', image])
        }),
        propertySettings(3),
      )
    })

  test('more names with one hash than a leaf holds', async () => {
    const names = collidingNames(10, '!').slice(0, 560)
    expect(new Set(names.map(each => nameHash(bytesOf(each)))).size).toBe(1)
    const image = await makeImage([])
    await withXfsWriter(image, async writer => {
      const lab = await DirectoryLab.make(writer)
      for (const each of ['before', ...names, 'behind']) await lab.add(each)
      expect(await lab.form()).toBe('node')
      await lab.check()
    })
    await runOk('xfs_repair', ['-n', '-f', image])
    await withXfsWriter(image, async writer => {
      const lab = await DirectoryLab.open(writer)
      for (const [index, each] of names.entries()) if (index % 8 !== 3) await lab.remove(each)
      await lab.check()
      for (const each of [...names.filter((_, index) => index % 8 === 3), 'behind']) await lab.remove(each)
      await lab.check()
      expect(await lab.form()).toBe('short')
    })
  })

  test('names that differ in the case of their letters alone', async () => {
    const image = await makeImage(['-n', 'version=ci', '-m', 'crc=0'])
    await withXfsWriter(image, async writer => {
      const lab = await DirectoryLab.make(writer)
      for (let n = 0; n < 1500; n++) await lab.add(`Name ${n} Z`)
      expect(await lab.form()).toBe('node')
      await lab.check()
      lab.entries.delete('Name 7 Z')
      lab.entries.set('nAME 7 z', lab.files[0])
      await lab.replace('nAME 7 z', 1)
      await lab.remove('nAME 7 z')
      await lab.check()
    })
  })
})
