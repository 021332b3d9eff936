import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { kernelTree, ownTree } from '../../native-fixtures/btrfs-images.ts'
import { withXfs } from '../../native-fixtures/xfs-images.ts'
import { runOk, temporaryFolder } from '../support/native.ts'
import { haveScripts, main, out, scripts, withPartition } from './real-images.ts'

const ROOT = 2

/** Linux shows ACLs to the root in their stored form as well. */
function withoutStoredAcls(row: unknown): unknown {
  const { xattrs, ...rest } = row as { xattrs: Record<string, string> }
  const shown = Object.entries(xattrs).filter(([name]) => !name.startsWith('trusted.SGI_ACL_'))
  return { ...rest, xattrs: Object.fromEntries(shown) }
}

async function mounted<T>(loop: string, use: (top: string) => Promise<T>): Promise<T> {
  const top = temporaryFolder()
  await runOk('mount', ['-t', 'xfs', '-o', 'ro,norecovery,nouuid,noatime', loop, top])
  try {
    return await use(top)
  } finally {
    await runOk('umount', [top])
  }
}

describe.runIf(haveScripts).each([
  ['debian-xfs', 'xfs'],
  ['rhel-xfs', 'rhel'],
])('%s: a root on XFS beside /boot on ext4', (name, kind) => {
  const raw = join(out, `${name}.raw`)
  beforeAll(async () => {
    if (!existsSync(raw)) await runOk('bash', [join(scripts, 'build-debian.sh'), out, kind])
  })

  it('is what the kernel mounts', async () => {
    await withPartition(raw, ROOT, async loop => {
      const tree = await mounted(loop, kernelTree)
      await withXfs(loop, async fs => {
        const own = await ownTree(fs)
        for (const [path, row] of tree) expect(own.get(path), path).toEqual(withoutStoredAcls(row))
        expect(own.size).toBe(tree.size)
      })
    })
  })

  it('is listed, read and copied out by the command line', async () => {
    const drydisk = (...args: string[]) => runOk(process.execPath, [main, ...args])
    expect(await drydisk('info', raw)).toMatch(/xfs/)
    expect(await drydisk('cat', raw, '/etc/fstab')).toContain('/boot')
    expect(await drydisk('ls', raw, '/boot')).toContain('vmlinuz')
    const folder = temporaryFolder()
    await drydisk('cp', `${raw}:/etc`, folder)
    await withPartition(raw, ROOT, loop =>
      mounted(loop, top => runOk('diff', ['-r', '--no-dereference', join(top, 'etc'), join(folder, 'etc')])),
    )
  })
})
