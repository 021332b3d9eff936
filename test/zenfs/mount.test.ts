import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { BlobStorage } from '../../src/device/blob-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { PatchedStorage } from '../../src/device/patched-storage.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { createImage, demoGuest, makeFs, openImage } from '../../src/index.ts'
import { mountFileSystem, mountGuest, mountTree } from '../../src/zenfs/mount.ts'
import { checkWrittenImages, temporaryFolder, writes } from '../support/native.ts'
import { webServer } from '../support/web-server.ts'

checkWrittenImages()

const UUID = '6f1c3b1e-5a3f-4a57-9d0e-7a4b8d1c2e3f'

async function demo(name: string): Promise<string> {
  const path = writes(join(temporaryFolder(), name), 'disk')
  await createImage(path, { format: 'qcow2', size: 64 << 20 })
  await using image = await openImage(path, { writable: true })
  await makeFs(image.disk, demoGuest(UUID), { uuid: UUID })
  await image.commit()
  return path
}

async function volume(): Promise<Awaited<ReturnType<typeof openExt4>>> {
  const device = new MemoryDevice(16 << 20)
  await makeExt4(device)
  return openExt4(device, { writable: true })
}

/** A guest with a second filesystem at /boot, and links that lead there and back. */
async function mountedGuest() {
  const [root, boot] = [await volume(), await volume()]
  const table = new MountTable({ fs: root, source: '/dev/sda1' })
  const fs = new MountedGuest(table)
  await fs.mkdir('/boot')
  await fs.mkdir('/usr/lib', { recursive: true })
  await fs.symlink('usr/lib', '/lib')
  await fs.symlink('/boot', '/old-boot')
  await fs.writeFile('/usr/lib/os-release', 'ID=demo\n')
  const covers = { mount: table.root, ino: (await fs.stat('/boot')).ino }
  table.add({ path: '/old-boot', source: '/dev/sda2', type: 'ext4', fs: boot, reason: undefined, covers })
  const guest = {
    fs,
    mounts: table.mounts,
    sync: async () => {
      await root.sync()
      await boot.sync()
    },
  }
  return { guest, root, boot }
}

describe('a guest in ZenFS', () => {
  test('is edited by the calls of node:fs, and two are mounted at once', async () => {
    const paths = [await demo('one.qcow2'), await demo('two.qcow2')] as const
    await using one = await openImage(paths[0], { writable: true })
    await using two = await openImage(paths[1])
    using first = await mountGuest(await one.guest())
    using second = await mountGuest(await two.guest())
    const { promises } = first.fs
    await promises.writeFile('/etc/motd', 'edited\n')
    await promises.mkdir('/srv/a/b', { recursive: true })
    await promises.appendFile('/srv/a/b/log', 'one\n')
    await promises.appendFile('/srv/a/b/log', 'two\n')
    await promises.symlink('b/log', '/srv/a/link')
    await promises.rename('/srv/a/b/log', '/srv/a/b/renamed')
    await promises.rm('/etc/cloud', { recursive: true })
    expect(await promises.readlink('/srv/a/link')).toBe('b/log')
    expect(await second.fs.promises.readFile('/etc/motd', 'utf8')).toContain('demo of drydisk')
    await expect(second.fs.promises.writeFile('/etc/motd', 'x')).rejects.toMatchObject({ code: 'EROFS' })
    await expect(second.fs.promises.writeFile('/etc/new', 'x')).rejects.toMatchObject({ code: 'EROFS' })
    await expect(second.fs.promises.chmod('/etc/motd', 0o600)).rejects.toMatchObject({ code: 'EROFS' })
    await one.commit()
    await using again = await openImage(paths[0])
    const { fs } = await again.guest()
    expect(await fs.readText('/srv/a/b/renamed')).toBe('one\ntwo\n')
    expect(await fs.exists('/etc/cloud')).toBe(false)
    expect((await fs.lstat('/srv/a/link')).isSymbolicLink()).toBe(true)
  })

  test('reads by streams, and tells of a directory as it is', async () => {
    await using image = await openImage(await demo('streams.qcow2'))
    using disk = await mountGuest(await image.guest())
    let text = ''
    for await (const piece of disk.fs.createReadStream('/etc/fstab', { encoding: 'utf8' })) text += piece
    expect(text).toContain(`UUID=${UUID}`)
    const { fs } = await image.guest()
    const names = (await fs.readdir('/etc')).map(({ name }) => new TextDecoder().decode(name)).sort()
    expect((await disk.fs.promises.readdir('/etc')).sort()).toEqual(names)
    expect(await disk.fs.promises.statfs('/')).toMatchObject({ bsize: 1024 })
  })

  test('comes from a web server or a Blob as well', async () => {
    const path = await demo('far.qcow2')
    const { url } = await webServer(join(path, '..'))
    await using far = await openImage(`${url}/far.qcow2`)
    using disk = await mountGuest(await far.guest())
    expect(await disk.fs.promises.readFile('/etc/hostname', 'utf8')).toBe('demo\n')
    await using near = await openImage(new PatchedStorage(new BlobStorage(new Blob([readFileSync(path)]))))
    using patched = await mountGuest(await near.guest())
    await patched.fs.promises.writeFile('/etc/hostname', 'patched\n')
    expect(await (await near.guest()).fs.readText('/etc/hostname')).toBe('patched\n')
  })

  test('has its mounts as mounts of the context', async () => {
    const { guest, boot } = await mountedGuest()
    const { fs } = await mountGuest(guest)
    await fs.promises.writeFile('/boot/vmlinuz', 'kernel')
    await fs.promises.writeFile('/vmlinuz', 'another')
    const found: string[] = []
    for await (const { name } of boot.readdir(boot.root)) found.push(new TextDecoder().decode(name))
    expect(found).toContain('vmlinuz')
    expect(await fs.promises.readFile('/old-boot/vmlinuz', 'utf8')).toBe('kernel')
    expect((await fs.promises.readdir('/')).sort()).toEqual([
      ...['boot', 'lib', 'lost+found', 'old-boot', 'usr', 'vmlinuz'],
    ])
    const entries = await fs.promises.readdir('/', { withFileTypes: true })
    expect(entries.find(({ name }) => name === 'boot')?.isDirectory()).toBe(true)
    await expect(fs.promises.rename('/vmlinuz', '/boot/other')).rejects.toMatchObject({ code: 'EXDEV' })
    expect(await fs.promises.realpath('/lib/os-release')).toBe('/usr/lib/os-release')
    expect(await fs.promises.realpath('/old-boot')).toBe('/boot')
    await fs.promises.unlink('/lib/os-release')
    expect(await guest.fs.exists('/usr/lib/os-release')).toBe(false)
  })

  test('keeps nanoseconds that nobody set', async () => {
    const fs = await volume()
    const guest = new MountedGuest(new MountTable({ fs, source: 'volume' }))
    await guest.writeFile('/file', 'text')
    const [atime, mtime] = [1_700_000_000_123_456_789n, 1_600_000_000_987_654_321n]
    await guest.utimes('/file', atime, mtime)
    const context = await mountFileSystem(fs)
    const { promises } = context.fs
    await promises.chmod('/file', 0o600)
    expect(await promises.readFile('/file', 'utf8')).toBe('text')
    await promises.chown('/file', 5, 6)
    const handle = await promises.open('/file', 'r')
    await guest.appendFile('/other', 'meanwhile')
    await handle.close()
    expect(await guest.stat('/file')).toMatchObject({ atimeNs: atime, mtimeNs: mtime, uid: 5, gid: 6 })
    expect(((await guest.stat('/file')).mode & 0o7777).toString(8)).toBe('600')
    await promises.utimes('/file', new Date(1000), new Date(2500))
    expect(await guest.stat('/file')).toMatchObject({ atimeNs: 10n ** 9n, mtimeNs: 25n * 10n ** 8n })
  })

  test('does not undo what was changed beside it', async () => {
    const guest = await memoryGuest({ '/file': 'short' })
    const { fs } = await mountTree(guest)
    const handle = await fs.promises.open('/file', 'r+')
    await guest.writeFile('/file', 'much longer than before')
    await guest.chmod('/file', 0o640)
    await handle.chown(3, 4)
    await handle.close()
    expect(await guest.readText('/file')).toBe('much longer than before')
    expect(await guest.stat('/file')).toMatchObject({ uid: 3, gid: 4, mode: 0o100_640 })
  })

  test('has extended attributes of user., and leaves others alone', async () => {
    const guest = await memoryGuest({ '/file': 'text' })
    await guest.setxattr('/file', 'security.selinux', Buffer.from('system_u:object_r:etc_t:s0\0'))
    const large = Buffer.alloc(3000, 'x')
    await guest.setxattr('/file', 'user.large', large)
    await guest.setxattr('/file', 'user.gone', Buffer.from('x'))
    // More than ZenFS holds: not shown, and not lost either.
    await guest.setxattr('/file', 'user.huge', Buffer.alloc(10_000, 'y'))
    const { fs } = await mountTree(guest)
    await fs.xattr.set('/file', 'user.note', 'hello')
    await fs.xattr.remove('/file', 'user.gone')
    expect(
      Buffer.compare(Buffer.from((await fs.xattr.get('/file', 'user.large')) as Uint8Array), large),
    ).toBe(0)
    await expect(fs.xattr.set('/file', 'security.selinux', 'x')).rejects.toMatchObject({ code: 'ENOTSUP' })
    expect((await guest.listxattr('/file')).sort()).toEqual([
      ...['security.selinux', 'user.huge', 'user.large', 'user.note'],
    ])
    expect((await guest.getxattr('/file', 'user.huge'))?.length).toBe(10_000)
    expect((await fs.xattr.list('/file')).sort()).toEqual(['user.large', 'user.note'])
    expect(await guest.getxattr('/file', 'user.note')).toEqual(new Uint8Array(Buffer.from('hello')))
  })

  test('keeps names that are not UTF-8', async () => {
    const guest = await memoryGuest()
    const name = Uint8Array.from([0x2f, 0x66, 0xe9, 0x74, 0xe9])
    await guest.writeFile(name, 'summer')
    await guest.mkdir('/größe')
    const { fs } = await mountTree(guest)
    const [first = ''] = (await fs.promises.readdir('/')).filter(one => one !== 'größe')
    expect(await fs.promises.readFile(`/${first}`, 'utf8')).toBe('summer')
    await fs.promises.rename(`/${first}`, `/größe/${first}`)
    const [moved] = await guest.readdir('/größe')
    expect(moved?.name).toEqual(name.subarray(1))
  })

  test('refuses synchronous calls by name', async () => {
    const { fs } = await mountTree(await memoryGuest({ '/file': 'text' }))
    expect(() => fs.readFileSync('/file')).toThrow(expect.objectContaining({ code: 'ENOSYS' }))
    expect(() => fs.existsSync('/file')).toThrow('existsSync: a disk image has no synchronous calls')
  })

  test('gives errors as node:fs does', async () => {
    const { fs } = await mountTree(await memoryGuest({ '/file': 'text', '/folder/file': '' }))
    const { promises } = fs
    await expect(promises.readFile('/none')).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(promises.rmdir('/folder')).rejects.toMatchObject({ code: 'ENOTEMPTY' })
    await expect(promises.mkdir('/folder')).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(promises.readdir('/file')).rejects.toMatchObject({ code: 'ENOTDIR' })
  })
})
