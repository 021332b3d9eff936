import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  type Ext4Variant,
  makeExt4Image,
  withExt4,
  withKernelMount,
} from '../../native-fixtures/ext4-images.ts'
import { toBytes } from '../../src/bytes/names.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import { readXattrBlock } from '../../src/filesystem/ext4/xattr-block.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { checkWrittenImages, haveLoopMounts, haveTool, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const rw = { mode: 0o640, uid: 0, gid: 0 }
const VARIANTS: readonly Ext4Variant[] = [
  { name: 'inodes of 256 bytes', arguments: ['-t', 'ext4', '-b', '4096'], megabytes: 16 },
  { name: 'inodes of 128 bytes', arguments: ['-t', 'ext4', '-b', '1024', '-I', '128'], megabytes: 16 },
  { name: 'inodes of 1024 bytes', arguments: ['-t', 'ext4', '-b', '2048', '-I', '1024'], megabytes: 16 },
  { name: 'values in inodes', arguments: ['-t', 'ext4', '-b', '1024', '-O', 'ea_inode'], megabytes: 16 },
  { name: 'no checksums', arguments: ['-t', 'ext3', '-b', '1024', '-O', '^ext_attr'], megabytes: 16 },
]

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** All attributes of a path by the kernel's word. */
async function kernelXattrs(path: string): Promise<Map<string, string>> {
  const dump = await runOk('getfattr', ['-d', '-h', '-m', '-', '-e', 'hex', '--absolute-names', path])
  const found = new Map<string, string>()
  for (const line of dump.split('\n')) {
    const [, name, value] = /^([^#=]+)(?:=0x([0-9a-f]*))?$/.exec(line) ?? []
    if (name !== undefined) found.set(name, value ?? '')
  }
  return found
}

async function ourXattrs(fs: Ext4FileSystem, ino: InodeNumber): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const name of await fs.listxattr(ino))
    found.set(name, hex((await fs.getxattr(ino, name)) ?? new Uint8Array()))
  return found
}

function sorted(map: ReadonlyMap<string, string>): [string, string][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1))
}

const kernel = haveLoopMounts() && haveTool('setfattr') && haveTool('setfacl')

describe('extended attributes', () => {
  for (const variant of VARIANTS)
    test.skipIf(!kernel)(`${variant.name}: the kernel reads ours and we read the kernel's`, async () => {
      const image = writes(await makeExt4Image(variant), 'ext4')
      const large = variant.name === 'values in inodes'
      const values = new Map<string, Uint8Array>([
        ['user.a', toBytes('1')],
        ['user.empty', new Uint8Array(0)],
        ['user.ä', toBytes('not ASCII')],
        ['security.selinux', toBytes('system_u:object_r:etc_t:s0\0')],
        ['security.capability', Uint8Array.of(1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
        ['trusted.t', pattern(77)],
        ['user.long', pattern(large ? 9_000 : 400)],
      ])
      const expected = new Map([...values].map(([name, value]) => [name, hex(value)]))
      await withExt4(image, true, async fs => {
        const file = await fs.create(fs.root, toBytes('ours'), rw)
        for (const [name, value] of values) await fs.setxattr(file, name, value)
        await fs.create(fs.root, toBytes('theirs'), rw)
        expect(sorted(await ourXattrs(fs, file))).toEqual(sorted(expected))
        await fs.close()
      })
      await runOk('e2fsck', ['-fn', image])
      await withKernelMount(image, async folder => {
        expect(sorted(await kernelXattrs(join(folder, 'ours')))).toEqual(sorted(expected))
        for (const [name, value] of values)
          await runOk('setfattr', ['-n', name, '-v', `0x${hex(value)}`, join(folder, 'theirs')])
        await runOk('cp', ['-a', join(folder, 'theirs'), join(folder, 'copy')])
      })
      await withExt4(image, true, async fs => {
        for (const name of ['theirs', 'copy']) {
          const ino = await fs.lookup(fs.root, toBytes(name))
          expect(sorted(await ourXattrs(fs, ino))).toEqual(sorted(expected))
          await fs.setxattr(ino, 'user.a', pattern(60))
          await fs.setxattr(ino, 'user.long', pattern(30))
          await fs.removexattr(ino, 'user.empty')
          await fs.setxattr(ino, 'user.long', pattern(large ? 3_000 : 300))
        }
        await fs.unlink(fs.root, toBytes('ours'))
        await fs.close()
      })
      await runOk('e2fsck', ['-fn', image])
      expected.delete('user.empty')
      expected.set('user.a', hex(pattern(60)))
      expected.set('user.long', hex(pattern(large ? 3_000 : 300)))
      await withKernelMount(image, async folder => {
        for (const name of ['theirs', 'copy'])
          expect(sorted(await kernelXattrs(join(folder, name)))).toEqual(sorted(expected))
      })
      await withExt4(image, true, async fs => {
        for (const name of ['theirs', 'copy']) await fs.unlink(fs.root, toBytes(name))
        await fs.close()
      })
    })

  test.skipIf(!kernel)(
    'an inode whose extra fields were never used gets them before attributes',
    async () => {
      const image = writes(
        await makeExt4Image({ name: '', arguments: ['-t', 'ext4'], megabytes: 16 }),
        'ext4',
      )
      await withExt4(image, true, async fs => {
        await fs.create(fs.root, toBytes('old'), rw)
        await fs.close()
      })
      await runOk('debugfs', ['-w', '-R', 'sif old extra_isize 0', image])
      await withExt4(image, true, async fs => {
        const ino = await fs.lookup(fs.root, toBytes('old'))
        expect(await fs.listxattr(ino)).toEqual([])
        await fs.setxattr(ino, 'user.x', toBytes('1'))
        expect((await fs.context.inodes.read(ino)).extraIsize).toBe(32)
        await fs.close()
      })
      await withKernelMount(image, async folder => {
        expect(sorted(await kernelXattrs(join(folder, 'old')))).toEqual([['user.x', '31']])
      })
    },
  )

  test.skipIf(!kernel)('a block that many inodes share is copied for the one that changes', async () => {
    const image = writes(
      await makeExt4Image({ name: '', arguments: ['-b', '1024', '-I', '128'], megabytes: 16 }),
      'ext4',
    )
    const names = Array.from({ length: 8 }, (_, i) => `f${i}`)
    await withKernelMount(image, async folder => {
      for (const name of names) {
        writeFileSync(join(folder, name), '')
        await runOk('setfattr', ['-n', 'user.same', '-v', 'x'.repeat(500), join(folder, name)])
      }
    })
    await withExt4(image, true, async fs => {
      const inos = await Promise.all(names.map(name => fs.lookup(fs.root, toBytes(name))))
      const refcount = async () => {
        const inode = await fs.context.inodes.read(inos[7] ?? 0)
        return (await readXattrBlock(fs.context, inode))?.refcount
      }
      expect(await refcount()).toBe(8)
      const free = (await fs.statfs()).freeBlocks
      await fs.setxattr(inos[0] ?? 0, 'user.more', toBytes('y'))
      expect(await refcount()).toBe(7)
      expect((await fs.statfs()).freeBlocks).toBe(free - 1)
      await fs.removexattr(inos[1] ?? 0, 'user.same')
      await fs.unlink(fs.root, toBytes('f2'))
      expect(await refcount()).toBe(5)
      expect((await fs.statfs()).freeBlocks).toBe(free - 1)
      for (const name of names.slice(3)) await fs.unlink(fs.root, toBytes(name))
      expect((await fs.statfs()).freeBlocks).toBe(free)
      await fs.close()
    })
  })

  test.skipIf(!kernel)('ACLs go both ways, follow chmod, and are inherited as in the kernel', async () => {
    const image = writes(await makeExt4Image({ name: '', arguments: ['-t', 'ext4'], megabytes: 16 }), 'ext4')
    const facl = async (path: string) =>
      (await runOk('getfacl', ['-cpn', path]))
        .split('\n')
        .filter(line => line !== '')
        .join(',')
    await withKernelMount(image, async folder => {
      const directory = join(folder, 'd')
      mkdirSync(directory)
      await runOk('setfacl', ['-m', 'u:1000:rwx,g:50:r-x', directory])
      await runOk('setfacl', ['-d', '-m', 'u:1001:rwx,g:51:rw-,o::---', directory])
      // A default ACL takes the place of the umask.
      writeFileSync(join(directory, 'theirs'), '', { mode: 0o644 })
      mkdirSync(join(directory, 'theirs.d'), { mode: 0o755 })
    })
    let acl = new Uint8Array(0)
    await withExt4(image, true, async fs => {
      const directory = await fs.lookup(fs.root, toBytes('d'))
      acl = Uint8Array.from((await fs.getxattr(directory, 'system.posix_acl_access')) ?? [])
      expect(acl.length).toBe(4 + 6 * 8)
      await fs.create(directory, toBytes('ours'), { mode: 0o644, uid: 0, gid: 0 })
      await fs.mkdir(directory, toBytes('ours.d'), { mode: 0o755, uid: 0, gid: 0 })
      const changed = await fs.create(directory, toBytes('changed'), { mode: 0o777, uid: 0, gid: 0 })
      await fs.setAttributes(changed, { mode: 0o640 })
      const plain = await fs.create(fs.root, toBytes('plain'), { mode: 0o600, uid: 0, gid: 0 })
      await fs.setxattr(plain, 'system.posix_acl_access', acl)
      expect((await fs.stat(plain)).mode).toBe(0o775)
      const target = await fs.symlink(directory, toBytes('link'), toBytes('x'), rw)
      expect(await fs.listxattr(target)).toEqual([])
      await fs.close()
    })
    await withKernelMount(image, async folder => {
      const directory = join(folder, 'd')
      expect(await facl(join(directory, 'ours.d'))).toBe(await facl(join(directory, 'theirs.d')))
      expect(await facl(join(directory, 'ours'))).toBe(await facl(join(directory, 'theirs')))
      expect(await facl(join(folder, 'plain'))).toBe(
        await facl(directory).then(all => all.split(',default')[0]),
      )
      expect(await facl(join(directory, 'changed'))).toContain('mask::r--')
    })
  })
})
