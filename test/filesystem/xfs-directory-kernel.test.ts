import { linkSync, mkdirSync, readdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeXfs, withXfsMount } from '../../native-fixtures/xfs-images.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { DirectoryLab } from '../support/xfs-directory.ts'
import { withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

const able = haveLoopMounts() && haveTool('mkfs.xfs') && haveTool('xfs_repair')

function nameAt(n: number): string {
  return n % 50 === 25 ? `${n} ${'wide'.repeat(50)}` : `entry ${n}`
}

/** Names of the directory and where they lead, as the kernel sees them. */
function kernelSees(top: string): Map<string, number> {
  const folder = join(top, 'd')
  return new Map(readdirSync(folder).map(name => [name, statSync(join(folder, name)).ino]))
}

describe.skipIf(!able)('directories of XFS that the kernel and drydisk write in turn', () => {
  for (const [form, count, args] of [
    ['short', 6, []],
    ['block', 60, ['-m', 'reflink=0']],
    ['leaf', 260, ['-b', 'size=1024', '-n', 'size=4096', '-m', 'rmapbt=1']],
    ['node', 1800, ['-n', 'size=8192', '-m', 'finobt=0']],
  ] as const)
    test(`${form}, ${count} entries`, async () => {
      const image = writes(join(temporaryFolder(), 'image'), 'xfs')
      await makeXfs(image, 320, args)
      await withXfsMount(image, 'noatime', async top => {
        mkdirSync(join(top, 'd'))
        for (const file of ['f0', 'f1']) writeFileSync(join(top, file), file)
        for (let n = 0; n < count; n++) linkSync(join(top, `f${n % 2}`), join(top, 'd', nameAt(n)))
        // What was removed leaves stale hashes and free space behind.
        for (let n = 1; n < count; n += 3) unlinkSync(join(top, 'd', nameAt(n)))
      })
      const expected = new Map<string, number>()
      await withXfsWriter(image, async writer => {
        const lab = await DirectoryLab.open(writer)
        expect(await lab.form()).toBe(form)
        await lab.check()
        for (let n = 0; n < count; n += 4) {
          if (lab.entries.has(nameAt(n))) await lab.remove(nameAt(n))
          await lab.add(`mine ${n}`, 1)
          if (lab.entries.has(nameAt(n + 2))) await lab.replace(nameAt(n + 2), n % 8 === 0 ? 0 : 1)
        }
        await lab.check()
        for (const [name, ino] of lab.entries) expected.set(name, ino)
      })
      await runOk('xfs_repair', ['-n', '-f', image])
      await withXfsMount(image, 'noatime', async top => {
        expect(kernelSees(top)).toEqual(expected)
        for (let n = 0; n < count; n += 8) {
          unlinkSync(join(top, 'd', `mine ${n}`))
          linkSync(join(top, 'f0'), join(top, 'd', `theirs ${n}`))
        }
      })
      await withXfsWriter(image, async writer => {
        const lab = await DirectoryLab.open(writer)
        await lab.check()
        for (const name of [...lab.entries.keys()].slice(3)) await lab.remove(name)
        expect(await lab.form()).toBe('short')
        await lab.check()
      })
      await runOk('xfs_repair', ['-n', '-f', image])
      await withXfsMount(image, 'noatime', async top => {
        expect(kernelSees(top).size).toBe(3)
        rmSync(join(top, 'd'), { recursive: true })
      })
    })
})
