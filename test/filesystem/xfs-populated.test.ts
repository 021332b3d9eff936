import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { kernelTree, ownTree } from '../../native-fixtures/btrfs-images.ts'
import { makeFullXfs, withXfsMount, XFS_VARIANTS } from '../../native-fixtures/xfs-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { haveLoopMounts, haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'
import { editOf, namesOf } from '../support/xfs-damage.ts'

const NOW = 1_700_000_000_000_000_000n

async function openImage(path: string) {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  return { device, fs: await openXfs(device, { writable: true, now: () => NOW }) }
}

const steps = fc.array(fc.record({ what: fc.nat(999), target: fc.nat(), salt: fc.nat(200) }), {
  minLength: 10,
  maxLength: 60,
})

describe.skipIf(!haveTool('mkfs.xfs') || !haveLoopMounts() || !haveTool('setfacl'))(
  'filesystems that Linux filled',
  () => {
    test('are edited at random: xfs_repair and the kernel agree', async () => {
      const folder = temporaryFolder()
      let turn = Number(process.env.DRYDISK_SEED ?? 0)
      const originals = new Map<number, string>()
      await fc.assert(
        fc.asyncProperty(steps, async list => {
          const which = turn++ % XFS_VARIANTS.length
          const variant = XFS_VARIANTS[which]
          if (variant === undefined) throw new Error('no variant')
          const original = originals.get(which) ?? (await makeFullXfs({ ...variant, names: 900 }, which))
          originals.set(which, original)
          const path = join(folder, 'image')
          await runOk('cp', ['--sparse=always', original, path])
          const { device, fs } = await openImage(path)
          const log: string[] = []
          try {
            for (const step of list) {
              const edit = editOf(step, await namesOf(fs))
              if (edit === undefined) continue
              try {
                await edit.run(fs)
                log.push(edit.title)
              } catch (error) {
                if (!isDrydiskError(error)) throw error
                log.push(`${edit.title}: ${error.code}`)
                expect(error.code, error.message).not.toMatch(/ERR_CORRUPT|ERR_UNSUPPORTED/)
              }
            }
          } finally {
            await fs.close()
            await device.close()
          }
          const { status, stdout, stderr } = await run('xfs_repair', ['-n', '-f', path])
          expect(`${status}\n${stdout}${stderr}`, log.join('\n')).toMatch(/^0\n/)
          const own = await openImage(path)
          const rows = await ownTree(own.fs)
          await own.fs.close()
          await own.device.close()
          await withXfsMount(path, 'ro,noatime', async top => {
            // Linux shows ACLs under both of their names, drydisk under the one that all filesystems have.
            const tree = new Map<string, unknown>()
            for (const [path, row] of await kernelTree(top)) {
              const { xattrs, ...rest } = row as { xattrs: Record<string, string> }
              const shown = Object.entries(xattrs).filter(([name]) => !name.startsWith('trusted.SGI_ACL_'))
              tree.set(path, { ...rest, xattrs: Object.fromEntries(shown) })
            }
            expect(tree).toEqual(rows)
          })
        }),
        propertySettings(3),
      )
    })
  },
)
