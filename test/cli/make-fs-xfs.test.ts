import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { cli, cliOk } from '../support/cli.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

function tree(): string {
  const folder = join(temporaryFolder(), 'tree')
  mkdirSync(join(folder, 'etc/empty'), { recursive: true })
  mkdirSync(join(folder, 'many'))
  writeFileSync(join(folder, 'etc/name'), 'value\n')
  writeFileSync(join(folder, 'large'), new Uint8Array(3 << 20).fill(7))
  for (let index = 0; index < 120; index++) writeFileSync(join(folder, `many/file-${index}`), `${index}`)
  symlinkSync('etc/name', join(folder, 'link'))
  return folder
}

describe.skipIf(!haveTool('xfs_repair'))('make-fs --type xfs', () => {
  test.skipIf(!haveLoopMounts())('makes a filesystem of a folder, which the kernel mounts', async () => {
    const image = join(temporaryFolder(), 'disk.raw')
    const folder = tree()
    const options = ['--type', 'xfs', '--format', 'raw', '--partition', 'none', '--label', 'data']
    await cliOk('make-fs', ...options, '--features', 'rmapbt,^bigtime', folder, image)
    writes(image, 'xfs')
    await withXfsMount(image, 'ro', async mounted => {
      await runOk('diff', ['-r', '--no-dereference', folder, mounted])
    })
    const shown = await runOk('xfs_db', ['-r', '-c', 'version', '-c', 'label', image])
    expect(shown).toContain('RMAPBT')
    expect(shown).not.toContain('BIGTIME')
    expect(shown).toContain('label = "data"')
  })

  test('the demo of it can be edited', async () => {
    const image = join(temporaryFolder(), 'demo.qcow2')
    await cliOk('make-fs', '--type', 'xfs', '--demo', image)
    expect(await cliOk('cat', `${image}:/etc/fstab`)).toContain(' / xfs ')
    await cliOk('customize', image, '--hostname', 'web1')
    expect(await cliOk('cat', `${image}:/etc/hostname`)).toBe('web1\n')
    const raw = join(temporaryFolder(), 'part')
    await runOk('qemu-img', ['convert', '-O', 'raw', image, `${raw}.disk`])
    const size = readFileSync(`${raw}.disk`).length
    await runOk('dd', [
      `if=${raw}.disk`,
      `of=${raw}`,
      'bs=1M',
      'skip=1',
      `count=${size / 2 ** 20 - 2}`,
      'status=none',
    ])
    await runOk('xfs_repair', ['-n', '-f', raw])
  })

  test('refuses what no XFS can be', async () => {
    const image = join(temporaryFolder(), 'disk.raw')
    const small = await cli('make-fs', '--type', 'xfs', '--size', '100M', tree(), image)
    expect([small.status, small.stderr]).toEqual([1, expect.stringContaining('300 MiB')])
    const type = await cli('make-fs', '--type', 'btrfs', tree(), image)
    expect([type.status, type.stderr]).toEqual([2, expect.stringContaining('expected ext4 or xfs')])
  })
})
