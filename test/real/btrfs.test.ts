import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { kernelTree, ownTree, withBtrfs, withMount } from '../../native-fixtures/btrfs-images.ts'
import { runOk, temporaryFolder } from '../support/native.ts'
import { haveScripts, main, out, scripts, withPartition } from './real-images.ts'

const raw = join(out, 'debian-btrfs.raw')
const PARTITION = 3

describe.runIf(haveScripts)('a real Debian on btrfs, with subvolumes root and home', () => {
  beforeAll(async () => {
    if (!existsSync(raw)) await runOk('bash', [join(scripts, 'build-debian.sh'), out, 'btrfs'])
  })

  it.each(['/root', '/home', '/'])('%s is what the kernel mounts', async subvolume => {
    await withPartition(raw, PARTITION, async loop => {
      const tree = await withMount(loop, `ro,noatime,subvol=${subvolume}`, kernelTree)
      await withBtrfs(loop, [`subvol=${subvolume}`], async fs => {
        const own = await ownTree(fs)
        for (const [path, row] of tree) expect(own.get(path), path).toEqual(row)
        expect(own.size).toBe(tree.size)
      })
    })
  })

  it('is listed, read and copied out by the command line, and not written', async () => {
    const drydisk = (...args: string[]) => runOk(process.execPath, [main, ...args])
    expect(await drydisk('info', raw)).toContain('Debian GNU/Linux')
    expect(await drydisk('cat', raw, '/etc/fstab')).toContain('subvol=root')
    expect(await drydisk('ls', raw, '/home')).toContain('admin')
    const folder = temporaryFolder()
    await drydisk('cp', `${raw}:/etc`, folder)
    await withPartition(raw, PARTITION, loop =>
      withMount(loop, 'ro,noatime,subvol=root', top =>
        runOk('diff', ['-r', '--no-dereference', join(top, 'etc'), join(folder, 'etc')]),
      ),
    )
    const sum = await runOk('sha256sum', [raw])
    await expect(drydisk('customize', raw, '--hostname', 'x')).rejects.toThrow(/btrfs/)
    expect(await runOk('sha256sum', [raw])).toBe(sum)
  })
})
