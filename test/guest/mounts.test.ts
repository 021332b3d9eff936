import { expect, test } from 'vitest'
import { byteKey, toBytes } from '../../src/bytes/names.ts'
import { MemoryFileSystem } from '../../src/filesystem/memory/memory-filesystem.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { walk } from '../../src/guest/walk.ts'

async function guestWithBoot() {
  const table = new MountTable({ fs: new MemoryFileSystem(), source: '/dev/sda2' })
  const guest = new MountedGuest(table)
  for (const path of ['/boot/under', '/etc', '/srv']) await guest.mkdir(path, { recursive: true })
  await guest.writeFile('/boot/hidden', 'covered')
  const mount = async (path: string, fs: MemoryFileSystem | undefined, type: string) => {
    const { place } = await walk(table, path, true)
    if (!place) throw new Error(`no ${path}`)
    const reason = fs ? undefined : 'it holds vfat, which drydisk does not read or write'
    table.add({ path, source: `/dev/${type}`, type, fs, reason, covers: place })
  }
  await mount('/boot', new MemoryFileSystem(), 'memory')
  await guest.mkdir('/boot/efi')
  await mount('/boot/efi', undefined, 'vfat')
  return { guest, table, mount }
}

test('a mounted filesystem covers the directory, and .. leads out of it', async () => {
  const { guest } = await guestWithBoot()
  expect(await guest.exists('/boot/hidden')).toBe(false)
  await guest.mkdir('/boot/grub')
  await guest.writeFile('/boot/grub/grub.cfg', 'x')
  expect(await guest.readText('/boot/grub/../../boot/./grub/grub.cfg')).toBe('x')
  expect((await guest.stat('/boot/..')).ino).toBe((await guest.stat('/')).ino)
  expect((await guest.stat('/boot/..')).dev).toBe((await guest.stat('/')).dev)
  expect((await guest.stat('/boot')).dev).not.toBe((await guest.stat('/')).dev)
  await guest.symlink('../boot/grub/grub.cfg', '/etc/grub2.cfg')
  expect(byteKey(await guest.realpath('/etc/grub2.cfg'))).toBe('/boot/grub/grub.cfg')
  await guest.symlink('/etc', '/boot/back')
  expect(byteKey(await guest.realpath('/boot/back/grub2.cfg'))).toBe('/boot/grub/grub.cfg')
})

test('what cannot be read is an error by its name, never the directory underneath', async () => {
  const { guest } = await guestWithBoot()
  for (const step of [
    guest.readdir('/boot/efi'),
    guest.stat('/boot/efi'),
    guest.exists('/boot/efi/EFI'),
    guest.writeFile('/boot/efi/x', 'x'),
    guest.mkdir('/boot/efi/EFI/BOOT', { recursive: true }),
  ])
    await expect(step).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('vfat'),
    })
  expect((await guest.readdir('/boot')).map(entry => byteKey(entry.name))).toContain('efi')
  expect((await guest.stat('/boot/efi/..')).ino).toBe((await guest.stat('/boot')).ino)
})

test('moving and linking across mounts is EXDEV; mount points stay', async () => {
  const { guest } = await guestWithBoot()
  await guest.writeFile('/etc/f', 'x')
  await expect(guest.rename('/etc/f', '/boot/f')).rejects.toMatchObject({ code: 'EXDEV' })
  await expect(guest.link('/etc/f', '/boot/f')).rejects.toMatchObject({ code: 'EXDEV' })
  for (const path of ['/boot', '/boot/efi']) {
    await expect(guest.rm(path, { recursive: true })).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(guest.rmdir(path)).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(guest.rename(path, '/srv/b')).rejects.toMatchObject({ code: 'EBUSY' })
  }
})

test('rm of a tree with a mount in it removes nothing', async () => {
  const { guest, mount } = await guestWithBoot()
  await guest.mkdir('/srv/a/b', { recursive: true })
  await guest.writeFile('/srv/a/f', 'x')
  await mount('/srv/a/b', new MemoryFileSystem(), 'memory')
  await guest.writeFile('/srv/a/b/precious', 'x')
  await expect(guest.rm('/srv', { recursive: true })).rejects.toMatchObject({ code: 'EBUSY' })
  expect(await guest.readText('/srv/a/f')).toBe('x')
  expect(await guest.readText('/srv/a/b/precious')).toBe('x')
})

test('a second mount on a mount point covers the first', async () => {
  const { guest, mount } = await guestWithBoot()
  const upper = new MemoryFileSystem()
  await upper.create(upper.root, toBytes('upper'), { mode: 0o644, uid: 0, gid: 0 })
  await mount('/boot', upper, 'memory')
  expect((await guest.readdir('/boot')).map(entry => byteKey(entry.name))).toEqual(['upper'])
  expect((await guest.stat('/boot/..')).ino).toBe((await guest.stat('/')).ino)
})

test('a path leads elsewhere once a link or a folder on its way is another one, and not for a file that went', async () => {
  const { guest, table } = await guestWithBoot()
  const key = '/var/log/app'
  for (const folder of [key, '/srv/a', '/srv/b']) await guest.mkdir(folder, { recursive: true })
  for (const folder of ['a', 'b']) await guest.writeFile(`/srv/${folder}/name`, folder)
  await guest.symlink('a', '/srv/link')
  expect(await guest.readText('/srv/link/name')).toBe('a')
  for (const name of ['one', 'two']) await guest.writeFile(`${key}/${name}`, name)
  await guest.unlink(`${key}/one`)
  expect(table.folder(key)).toBeDefined()
  await guest.unlink('/srv/link')
  expect(table.folder(key)).toBeUndefined()
  await guest.symlink('b', '/srv/link')
  expect(await guest.readText('/srv/link/name')).toBe('b')
  await guest.rm('/srv/b', { recursive: true })
  await expect(guest.readText('/srv/link/name')).rejects.toMatchObject({ code: 'ENOENT' })
  await guest.symlink('a', '/srv/b')
  expect(await guest.readText('/srv/link/name')).toBe('a')
  await guest.writeFile('/etc/plain', '')
  await expect(guest.stat('/etc/plain/below/it')).rejects.toMatchObject({ code: 'ENOTDIR' })
  await expect(guest.stat('/etc/none/below/it')).rejects.toMatchObject({ code: 'ENOENT' })
})
