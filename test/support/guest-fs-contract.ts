import { beforeEach, describe, expect, test } from 'vitest'
import { byteKey, toBytes } from '../../src/bytes/names.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'

const b = toBytes

/** What every GuestFs must do. `make` gives an empty tree. */
export function guestFsContract(
  name: string,
  make: () => Promise<GuestFs>,
  options: { xattrs: boolean; devices: boolean; owners: boolean },
): void {
  describe(`GuestFs contract: ${name}`, () => {
    let guest: GuestFs
    const fails = (promise: Promise<unknown>, code: string, path?: string) =>
      expect(promise).rejects.toMatchObject({
        name: 'DrydiskError',
        code,
        ...(path === undefined ? {} : { context: { path } }),
      })

    beforeEach(async () => {
      guest = await make()
    })

    test('files are made with 0644, directories with 0755, both root', async () => {
      await guest.mkdir('/etc')
      await guest.writeFile('/etc/motd', 'hello\n')
      expect(await guest.readText('/etc/motd')).toBe('hello\n')
      expect(await guest.stat('/etc/motd')).toMatchObject({
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 6,
      })
      expect((await guest.stat('/etc')).mode).toBe(0o040_755)
      await guest.writeFile('/etc/secret', 'x', { mode: 0o600 })
      expect((await guest.stat('/etc/secret')).mode).toBe(0o100_600)
      await guest.mkdir('/a/b/c', { recursive: true, mode: 0o700 })
      expect((await guest.stat('a/b')).mode).toBe(0o040_700)
      await guest.mkdir('/a/b/c', { recursive: true })
      await fails(guest.mkdir('/a/b/c'), 'EEXIST', '/a/b/c')
      await fails(guest.mkdir('/'), 'EEXIST')
      await fails(guest.mkdir('/etc/motd/x', { recursive: true }), 'ENOTDIR')
      await fails(guest.mkdir('/etc/motd', { recursive: true }), 'EEXIST')
      await fails(guest.mkdir('/no/such'), 'ENOENT', '/no/such')
    })

    test('a rewrite keeps inode, owner and mode, whether longer, shorter or empty', async () => {
      await guest.writeFile('/f', 'first content', { mode: 0o4640 })
      if (options.owners) {
        await guest.chown('/f', 7, 8)
        await guest.chmod('/f', 0o640)
      }
      const before = await guest.stat('/f')
      for (const text of ['short', 'a much longer content than before', '', 'x']) {
        await guest.writeFile('/f', text, { mode: 0o777 })
        expect(await guest.readText('/f')).toBe(text)
        const { ino, mode, uid, gid } = await guest.stat('/f')
        expect({ ino, mode, uid, gid }).toEqual({
          ino: before.ino,
          mode: before.mode,
          uid: before.uid,
          gid: before.gid,
        })
      }
      await guest.appendFile('/f', 'yz')
      expect(await guest.readText('/f')).toBe('xyz')
      await guest.appendFile('/new', 'made')
      expect(await guest.readText('/new')).toBe('made')
    })

    test('text that is not UTF-8 survives an edit byte by byte', async () => {
      const raw = new Uint8Array([0x63, 0x61, 0x66, 0xe9, 0x0a, 0x80, 0x9f, 0xff])
      await guest.writeFile('/latin', raw)
      const text = await guest.readText('/latin')
      await guest.writeText('/latin', `${text}!`)
      expect([...(await guest.readFile('/latin'))]).toEqual([...raw, 0x21])
      await guest.writeFile('/utf8', 'naïve …\ufeff')
      await guest.writeText('/utf8', `${await guest.readText('/utf8')}é`)
      expect(await guest.readText('/utf8')).toBe('naïve …\ufeffé')
    })

    test('a path is walked as a chroot: absolute links and .. stay inside', async () => {
      await guest.mkdir('/srv/data', { recursive: true })
      await guest.writeFile('/srv/data/f', 'inside')
      await guest.symlink('/srv/data', '/abs')
      await guest.symlink('../../../../../srv/data', '/rel')
      await guest.symlink('/abs/f', '/srv/two')
      await guest.symlink('/', '/slash')
      for (const path of [
        '/abs/f',
        'rel/f',
        '/srv/two',
        '/../../srv/./data/../data//f',
        '/slash/slash/srv/two',
      ])
        expect(await guest.readText(path)).toBe('inside')
      expect(byteKey(await guest.realpath('/slash/srv/../abs/f'))).toBe('/srv/data/f')
      expect(byteKey(await guest.realpath('/..'))).toBe('/')
      expect((await guest.lstat('/abs')).isSymbolicLink()).toBe(true)
      expect((await guest.lstat('/abs/')).isDirectory()).toBe(true)
      expect((await guest.stat('/abs')).isDirectory()).toBe(true)
      expect(byteKey(await guest.readlink('/rel'))).toBe('../../../../../srv/data')
      expect((await guest.stat('/srv/data/..')).ino).toBe((await guest.stat('/srv')).ino)
      await fails(guest.readlink('/srv'), 'EINVAL', '/srv')
    })

    test('symlinks: 40 are followed, 41 and loops are ELOOP; one to nothing is written through', async () => {
      await guest.writeFile('/end', 'end')
      await guest.symlink('end', '/l1')
      for (let i = 2; i <= 41; i++) await guest.symlink(`l${i - 1}`, `/l${i}`)
      expect(await guest.readText('/l40')).toBe('end')
      await fails(guest.readText('/l41'), 'ELOOP', '/l41')
      await guest.symlink('loop', '/loop')
      await fails(guest.stat('/loop/x'), 'ELOOP')
      expect(await guest.exists('/loop')).toBe(false)
      await guest.symlink('/made/here', '/dangling')
      await guest.mkdir('/made')
      expect(await guest.exists('/dangling')).toBe(false)
      await fails(guest.mkdir('/dangling'), 'EEXIST')
      await guest.writeFile('/dangling', 'through')
      expect(await guest.readText('/made/here')).toBe('through')
      await guest.rm('/dangling')
      expect(await guest.exists('/made/here')).toBe(true)
    })

    test('errors carry the POSIX code and the path', async () => {
      await guest.writeFile('/f', 'x')
      await guest.mkdir('/d')
      await fails(guest.readFile('/nothing'), 'ENOENT', '/nothing')
      await fails(guest.readFile('/d'), 'EISDIR', '/d')
      await fails(guest.writeFile('/d', 'x'), 'EISDIR', '/d')
      await fails(guest.stat('/f/x'), 'ENOTDIR', '/f/x')
      await fails(guest.stat('/f/'), 'ENOTDIR', '/f/')
      await fails(guest.readdir('/f'), 'ENOTDIR')
      await fails(guest.stat(''), 'ENOENT')
      await fails(guest.stat('/a\0b'), 'EINVAL')
      await fails(guest.unlink('/d'), 'EISDIR', '/d')
      await fails(guest.rmdir('/f'), 'ENOTDIR', '/f')
      await fails(guest.writeFile('/no/f', 'x'), 'ENOENT', '/no/f')
      await fails(guest.stat('/ÿ\u001b'), 'ENOENT', '/ÿ\u001b')
      await fails(guest.stat(new Uint8Array([0x2f, 0xff])), 'ENOENT', '/\\xff')
      await fails(guest.stat(`/${'n'.repeat(256)}`), 'ENAMETOOLONG')
      expect(await guest.exists('/f/x')).toBe(false)
    })

    test('byte names live side by side with text', async () => {
      const odd = new Uint8Array([0x2f, 0xff, 0xfe, 0x0a])
      await guest.writeFile(odd, 'odd')
      await guest.writeFile('/ÿþ', 'text')
      expect(byteKey(await guest.readFile(odd))).toBe('odd')
      const names = (await guest.readdir('/')).map(entry => byteKey(entry.name)).sort()
      expect(names).toEqual(['\xff\xfe\n', byteKey(b('ÿþ'))].sort())
      await guest.rename(odd, '/plain')
      expect(await guest.readText('/plain')).toBe('odd')
    })

    test('pieces: readAt, writeAt, truncate', async () => {
      await guest.writeFile('/f', 'abcdef')
      await guest.writeAt('/f', 2, b('XY'))
      await guest.writeAt('/f', 8, b('!'))
      expect(await guest.readText('/f')).toBe('abXYef\0\0!')
      const into = new Uint8Array(4)
      expect(await guest.readAt('/f', 7, into)).toBe(2)
      expect(await guest.readAt('/f', 100, into)).toBe(0)
      await guest.truncate('/f', 3)
      expect(await guest.readText('/f')).toBe('abX')
      await fails(guest.writeAt('/new', 0, b('x')), 'ENOENT')
    })

    test('rm: recursive, force, never through a symlink', async () => {
      await guest.mkdir('/keep')
      await guest.writeFile('/keep/f', 'x')
      await guest.mkdir('/d/e', { recursive: true })
      await guest.writeFile('/d/e/f', 'x')
      await guest.symlink('/keep', '/d/link')
      await fails(guest.rm('/d'), 'EISDIR', '/d')
      await fails(guest.rmdir('/d'), 'ENOTEMPTY', '/d')
      await guest.rm('/d', { recursive: true })
      expect(await guest.exists('/d')).toBe(false)
      expect(await guest.readText('/keep/f')).toBe('x')
      await guest.symlink('/keep', '/link')
      await guest.rm('/link', { recursive: true })
      expect(await guest.exists('/keep')).toBe(true)
      await fails(guest.rm('/d'), 'ENOENT', '/d')
      await guest.rm('/d', { force: true })
      await guest.rm('/d/e/f', { force: true })
      await fails(guest.rm('/', { recursive: true }), 'EBUSY')
    })

    test('rename and link as the system calls', async () => {
      await guest.writeFile('/a', 'a')
      await guest.writeFile('/b', 'b')
      await guest.mkdir('/d')
      await guest.rename('/a', '/b')
      expect(await guest.readText('/b')).toBe('a')
      await guest.rename('/b', '/d/b')
      await fails(guest.rename('/d', '/d/x'), 'EINVAL')
      await fails(guest.rename('/gone', '/x'), 'ENOENT', '/gone')
      await guest.link('/d/b', '/hard')
      expect((await guest.stat('/hard')).nlink).toBe(2)
      expect((await guest.stat('/hard')).ino).toBe((await guest.stat('/d/b')).ino)
      await fails(guest.link('/hard', '/d/b'), 'EEXIST', '/d/b')
      await guest.symlink('hard', '/soft')
      await guest.link('/soft', '/soft2')
      expect((await guest.lstat('/soft2')).isSymbolicLink()).toBe(true)
    })

    test('chmod, utimes and their l-forms', async () => {
      await guest.writeFile('/f', 'x')
      await guest.symlink('f', '/l')
      await guest.chmod('/l', 0o600)
      expect((await guest.stat('/f')).mode).toBe(0o100_600)
      await guest.utimes('/l', 1_000_000_000_000_000_000n, 1_100_000_000_000_000_000n)
      expect(await guest.stat('/f')).toMatchObject({
        atimeNs: 1_000_000_000_000_000_000n,
        mtimeNs: 1_100_000_000_000_000_000n,
      })
      await guest.lutimes('/l', 5_000_000_000n, 6_000_000_000n)
      expect((await guest.lstat('/l')).mtimeNs).toBe(6_000_000_000n)
      expect((await guest.stat('/f')).mtimeNs).toBe(1_100_000_000_000_000_000n)
      await guest.readFile('/f')
      expect((await guest.stat('/f')).mtimeNs).toBe(1_100_000_000_000_000_000n)
    })

    test.runIf(options.owners)(
      'chown takes setuid away as the kernel does; lchown is for the link',
      async () => {
        await guest.writeFile('/f', 'x', { mode: 0o6755 })
        await guest.symlink('f', '/l')
        await guest.lchown('/l', 5, 6)
        expect(await guest.lstat('/l')).toMatchObject({ uid: 5, gid: 6 })
        expect(await guest.stat('/f')).toMatchObject({ uid: 0, gid: 0, mode: 0o106_755 })
        await guest.chown('/l', 7, 8)
        expect(await guest.stat('/f')).toMatchObject({ uid: 7, gid: 8, mode: 0o100_755 })
        await guest.mkdir('/shared', { mode: 0o2775, gid: 50 })
        expect(await guest.stat('/shared')).toMatchObject({ mode: 0o042_775, gid: 50 })
        await guest.writeFile('/shared/f', 'x')
        await guest.mkdir('/shared/d')
        expect(await guest.stat('/shared/f')).toMatchObject({ uid: 0, gid: 50, mode: 0o100_644 })
        expect((await guest.stat('/shared/d')).gid).toBe(50)
      },
    )

    test('device nodes, where they can be made', async () => {
      await guest.mkdir('/dev')
      if (!options.devices) {
        await fails(
          guest.mknod('/dev/null', 'character-device', { major: 1, minor: 3 }),
          'ENOTSUP',
          '/dev/null',
        )
        return
      }
      await guest.mknod('/dev/null', 'character-device', { major: 1, minor: 3 }, { mode: 0o666 })
      const stats = await guest.stat('/dev/null')
      expect(stats).toMatchObject({ mode: 0o020_666, rdev: { major: 1, minor: 3 } })
      expect(stats.isCharacterDevice()).toBe(true)
      await fails(guest.readFile('/dev/null'), 'EINVAL', '/dev/null')
    })

    test('extended attributes, where there are any', async () => {
      await guest.writeFile('/f', 'x')
      if (!options.xattrs) {
        await fails(guest.listxattr('/f'), 'ENOTSUP', '/f')
        return
      }
      const label = b('system_u:object_r:etc_t:s0\0')
      await guest.mkdir('/etc')
      await guest.setxattr('/etc', 'security.selinux', label)
      await guest.writeFile('/etc/new', 'x')
      await guest.mkdir('/etc/d')
      await guest.symlink('new', '/etc/l')
      for (const path of ['/etc/new', '/etc/d', '/etc/l'])
        expect(await guest.getxattr(path, 'security.selinux')).toEqual(label)
      await guest.setxattr('/f', 'user.x', b('y'))
      await guest.writeFile('/f', 'new content')
      expect(await guest.listxattr('/f')).toEqual(['user.x'])
      await guest.removexattr('/f', 'user.x')
      await fails(guest.removexattr('/f', 'user.x'), 'ENODATA', '/f')
    })

    test('a path leads where its directories are now, whatever they were before', async () => {
      for (const folder of ['/one/in', '/two/in']) await guest.mkdir(folder, { recursive: true })
      await guest.writeFile('/one/in/f', '1')
      await guest.writeFile('/two/in/f', '2')
      await guest.symlink('one', '/way')
      expect(await guest.readText('/way/in/f')).toBe('1')
      await guest.unlink('/way')
      await fails(guest.readText('/way/in/f'), 'ENOENT')
      await guest.symlink('two', '/way')
      expect(await guest.readText('/way/in/f')).toBe('2')
      await guest.rename('/two', '/three')
      await fails(guest.readText('/way/in/f'), 'ENOENT')
      await guest.rename('/one', '/two')
      expect(await guest.readText('/way/in/f')).toBe('1')
      await guest.rm('/two', { recursive: true })
      await guest.writeFile('/two', 'a file')
      await fails(guest.readText('/way/in/f'), 'ENOTDIR')
      await guest.mkdir('/e')
      await guest.symlink('e', '/link')
      await guest.writeFile('/link/f', 'e')
      // The way to the target leads through what is moved.
      await guest.rename('/link', '/link/moved')
      await fails(guest.readText('/link/f'), 'ENOENT')
      expect(await guest.readlink('/e/moved')).toEqual(b('e'))
      await guest.mkdir('/gone/deep', { recursive: true })
      await guest.writeFile('/gone/deep/f', 'x')
      await guest.unlink('/gone/deep/f')
      await guest.rmdir('/gone/deep')
      await fails(guest.writeFile('/gone/deep/f', 'x'), 'ENOENT')
    })
  })
}
