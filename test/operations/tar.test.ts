import { execFile, execFileSync } from 'node:child_process'
import { link, mkdir, open, readFile, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { bytesSource } from '../../src/operations/source-tree.ts'
import { readTar } from '../../src/operations/tar/read-tar.ts'
import { tarIn } from '../../src/operations/tar/tar-in.ts'
import { haveTool, propertySettings, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const execute = promisify(execFile)

/** Runs GNU tar; the archive's bytes. */
async function tar(folder: string, ...args: string[]): Promise<Uint8Array> {
  const archive = join(temporaryFolder(), 'archive.tar')
  await execute('tar', ['-C', folder, '-cf', archive, ...args])
  return new Uint8Array(await readFile(archive))
}

const source = (bytes: Uint8Array, pieces = 1000) => ({
  name: 'archive.tar',
  async *chunks() {
    for (let at = 0; at < bytes.length; at += pieces) yield bytes.subarray(at, at + pieces)
  },
})

/** `type mode uid:gid size mtime target` of each path below. */
async function listing(guest: GuestFs, folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  const below = async (path: string): Promise<void> => {
    for (const entry of await guest.readdir(path || '/')) {
      const child = `${path}/${Buffer.from(entry.name).toString('latin1')}`
      const bytes = Buffer.from(child, 'latin1')
      const s = await guest.lstat(bytes)
      const target = s.isSymbolicLink() ? Buffer.from(await guest.readlink(bytes)).toString('latin1') : ''
      const size = s.isFile() ? s.size : 0
      found[child.slice(folder.length)] =
        `${s.type} ${(s.mode & 0o7777).toString(8)} ${s.uid}:${s.gid} ${size} ${s.mtimeNs} ${s.isDirectory() ? '' : s.nlink} ${target}`
      if (s.isDirectory()) await below(child)
    }
  }
  await below(folder)
  return found
}

/** A header by hand. */
function header(
  name: string,
  more: { type?: string; size?: number; link?: string; mode?: string } = {},
): Uint8Array {
  const block = Buffer.alloc(512)
  block.write(name, 0, 'latin1')
  block.write(more.mode ?? '0000644', 100)
  block.write('0000000', 108)
  block.write('0000000', 116)
  block.write((more.size ?? 0).toString(8).padStart(11, '0'), 124)
  block.write('00000000000', 136)
  block.write(more.type ?? '0', 156)
  block.write(more.link ?? '', 157, 'latin1')
  block.write('ustar\x0000', 257)
  block.write('        ', 148)
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  )
  return block
}

const archive = (...blocks: Uint8Array[]) => source(Buffer.concat([...blocks, Buffer.alloc(1024)]))

describe.skipIf(!haveTool('tar'))('tar-in, archives of GNU tar', () => {
  async function tree(): Promise<string> {
    const root = join(temporaryFolder(), 'tree')
    await mkdir(join(root, 'dir/empty'), { recursive: true })
    await writeFile(join(root, 'dir/file'), 'content\n', { mode: 0o640 })
    await writeFile(join(root, 'dir/setuid'), 'x')
    await execute('chmod', ['4755', join(root, 'dir/setuid')])
    await link(join(root, 'dir/file'), join(root, 'other name'))
    await symlink('/etc/passwd', join(root, 'dir/link'))
    await symlink('x'.repeat(150), join(root, 'long link'))
    await writeFile(join(root, `${'n'.repeat(130)}`), 'long')
    await mkdir(join(root, `${'d'.repeat(90)}/${'e'.repeat(90)}`), { recursive: true })
    await writeFile(join(root, `${'d'.repeat(90)}/${'e'.repeat(90)}/f`), 'deep')
    await execute('mkfifo', [join(root, 'fifo')])
    const sparse = await open(join(root, 'sparse'), 'w')
    for (let i = 0; i < 30; i++)
      await sparse.write(Buffer.from(`piece ${i}`), 0, undefined, i * 100_000 + 5000)
    await sparse.truncate(4_000_000)
    await sparse.close()
    await utimes(join(root, 'dir/file'), 1_000_000_000, 1_000_000_000)
    await utimes(join(root, 'dir'), 1_100_000_000, 1_100_000_000)
    return root
  }

  it.each([
    ['pax', ['--format=posix']],
    ['gnu', ['--format=gnu']],
    ['pax, sparse 1.0', ['--format=posix', '--sparse', '--sparse-version=1.0']],
    ['pax, sparse 0.1', ['--format=posix', '--sparse', '--sparse-version=0.1']],
    ['pax, sparse 0.0', ['--format=posix', '--sparse', '--sparse-version=0.0']],
    ['gnu, sparse', ['--format=gnu', '--sparse']],
    ['oldgnu, sparse', ['--format=oldgnu', '--sparse']],
    ['numbers too large for octal', ['--format=gnu', '--owner=3000000', '--group=3000001', '--mtime=@-5']],
  ])('%s', async (_, args) => {
    const root = await tree()
    const bytes = await tar(root, ...args, '--numeric-owner', '.')
    const guest = await memoryGuest({})
    await guest.mkdir('/srv')
    await runTwice(guest, tarIn, { source: source(bytes), folder: '/srv' })
    // tar itself says what it is to look like, numeric owners and all.
    const out = temporaryFolder()
    const file = join(temporaryFolder(), 'a.tar')
    await writeFile(file, bytes)
    await execute('tar', ['-C', out, '-xpf', file, '--numeric-owner', '--same-owner'])
    const { HostFolderGuest } = await import('../../src/guest/host-folder-guest.ts')
    expect(await listing(guest, '/srv')).toEqual(await listing(new HostFolderGuest(out), ''))
    for (const name of ['sparse', 'dir/file', `${'n'.repeat(130)}`])
      expect(Buffer.from(await guest.readFile(`/srv/${name}`)).equals(await readFile(join(out, name)))).toBe(
        true,
      )
    if (args.includes('--sparse'))
      expect((await guest.stat('/srv/sparse')).blocks).toBeLessThan(4_000_000 / 512)
  })

  it('packed by gzip, also in two members, by zstd and by xz', async () => {
    const root = await tree()
    const bytes = await tar(root, 'dir')
    const half = 1024
    const packed = [
      gzipSync(bytes),
      Buffer.concat([gzipSync(bytes.subarray(0, half)), gzipSync(bytes.subarray(half))]),
    ]
    if (haveTool('zstd')) {
      const file = join(temporaryFolder(), 'a.tar')
      await writeFile(file, bytes)
      await execute('zstd', ['-q', file])
      await execute('sh', ['-c', `cat ${file} | zstd -q > ${file}.piped`])
      packed.push(await readFile(`${file}.zst`), await readFile(`${file}.piped`))
    }
    if (haveTool('xz')) packed.push(execFileSync('xz', ['-c'], { input: bytes }))
    for (const one of packed) {
      const guest = await memoryGuest({})
      await tarIn.run(guest, { source: source(one, 77), folder: '/' })
      expect(await text(guest, '/dir/file')).toBe('content\n')
    }
    const cut = gzipSync(bytes).subarray(0, 200)
    await expect(
      tarIn.run(await memoryGuest({}), { source: source(cut), folder: '/' }),
    ).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
    })
    const bzip2 = new Uint8Array([0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0])
    await expect(
      tarIn.run(await memoryGuest({}), { source: source(bzip2), folder: '/' }),
    ).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
  })

  it.skipIf(!haveTool('setfattr'))('extended attributes, and names that are not UTF-8', async () => {
    const root = await tree()
    await execute('setfattr', ['-n', 'user.a=b', '-v', '0x00ff3d', join(root, 'dir/file')])
    await writeFile(Buffer.concat([Buffer.from(`${root}/dir/`), Buffer.from([0xff, 0xfe])]), 'bytes')
    const bytes = await tar(root, '--xattrs', '--xattrs-include=user.*', 'dir')
    const guest = await memoryGuest({})
    await runTwice(guest, tarIn, { source: source(bytes), folder: '/' })
    expect(await guest.getxattr('/dir/file', 'user.a=b')).toEqual(new Uint8Array([0, 0xff, 0x3d]))
    expect(await guest.readFile(Buffer.from([0x2f, 0x64, 0x69, 0x72, 0x2f, 0xff, 0xfe]))).toEqual(
      new Uint8Array(Buffer.from('bytes')),
    )
  })
})

describe('tar-in', () => {
  it('makes devices, replaces what differs, and keeps other names of a file as they are', async () => {
    const guest = await memoryGuest({ '/srv/a': 'old', '/srv/s': 'file', '/etc/x': 'keep' })
    await guest.link('/srv/a', '/srv/b')
    const device = Buffer.from(header('dev', { type: '3' }))
    device.write('0000001', 329)
    device.write('0000003', 337)
    const sum = device.fill(' ', 148, 156).reduce((total, byte) => total + byte, 0)
    device.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    const body = Buffer.alloc(512)
    body.write('new')
    const input = archive(device, header('a', { size: 3 }), body, header('s', { type: '2', link: '/etc/x' }))
    await runTwice(guest, tarIn, { source: input, folder: '/srv' })
    expect((await guest.stat('/srv/dev')).rdev).toEqual({ major: 1, minor: 3 })
    expect(await text(guest, '/srv/a')).toBe('new')
    expect(await text(guest, '/srv/b')).toBe('old')
    expect(await text(guest, '/srv/s')).toBe('keep')
  })

  it('never leads out of the folder', async () => {
    const out = [
      archive(header('../etc/x')),
      archive(header('a/../../etc/x')),
      archive(header('l', { type: '2', link: '/etc' }), header('l/x')),
      archive(header('l', { type: '2', link: '..' }), header('l/etc/x')),
      archive(header('d', { type: '5' }), header('d/l', { type: '2', link: '../../etc' }), header('d/l/n/x')),
      archive(header('h', { type: '1', link: '../etc/x' })),
      archive(header('l', { type: '2', link: '/etc' }), header('h', { type: '1', link: 'l/x' })),
    ]
    for (const one of out) {
      const guest = await memoryGuest({ '/etc/x': 'secret' })
      await guest.mkdir('/srv')
      await expect(tarIn.run(guest, { source: one, folder: '/srv' })).rejects.toMatchObject({
        code: 'ERR_NOT_ALLOWED',
      })
      expect(await text(guest, '/etc/x')).toBe('secret')
    }
    const guest = await memoryGuest({ '/etc/x': 'secret' })
    await guest.mkdir('/srv')
    // A link in place of which a file goes is replaced, not followed; an absolute path counts from the folder.
    await tarIn.run(guest, {
      source: archive(header('l', { type: '2', link: '/etc/x' }), header('l'), header('/etc/x')),
      folder: '/srv',
    })
    expect((await guest.lstat('/srv/l')).isFile()).toBe(true)
    expect(await text(guest, '/srv/etc/x')).toBe('')
    expect(await text(guest, '/etc/x')).toBe('secret')
    // A link that was there before is the guest's own: /lib on a merged /usr.
    const merged = await memoryGuest({ '/usr/lib/a': '' })
    await merged.symlink('usr/lib', '/lib')
    await runTwice(merged, tarIn, {
      source: archive(header('lib/', { type: '5', mode: '0000755' }), header('lib/b')),
      folder: '/',
    })
    expect(await merged.exists('/usr/lib/b')).toBe(true)
  })

  it('a damaged archive is ERR_CORRUPT in bounded time', async () => {
    const pax = (records: string) => {
      const body = Buffer.alloc(Math.ceil(records.length / 512) * 512)
      body.write(records)
      return Buffer.concat([header('x', { type: 'x', size: records.length }), body])
    }
    const bad = [
      source(Buffer.from('no archive')),
      source(Buffer.alloc(0)),
      source(Buffer.alloc(512, 'x')),
      source(Buffer.concat([header('a', { size: 5000 }), Buffer.alloc(512)])),
      archive(header('x', { type: 'L', size: 2 ** 32 })),
      archive(pax('99 path=x\n'), header('a')),
      archive(pax('11 size=x9\n'), header('a')),
      archive(
        pax('30 GNU.sparse.size=1000000000\n'.replace('30', '30')),
        header('a', { size: 512 }),
        Buffer.alloc(512),
      ),
      archive(
        pax('22 GNU.sparse.major=1\n30 GNU.sparse.realsize=999999\n'),
        header('a', { size: 512 }),
        Buffer.alloc(512, '9'),
      ),
    ]
    for (const one of bad)
      await expect(tarIn.run(await memoryGuest({}), { source: one, folder: '/' })).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
      })
  })

  it('any damage gives a typed error or an archive, whatever the pieces', async () => {
    const body = Buffer.alloc(512, 'b')
    const good = Buffer.concat([
      header('dir/', { type: '5', mode: '0000755' }),
      header('dir/a', { size: 512 }),
      body,
      header('dir/l', { type: '2', link: 'a' }),
      header('x', { type: 'x', size: 12 }),
      Buffer.concat([Buffer.from('12 path=abc\n'), Buffer.alloc(500)]),
      header('b', { size: 512 }),
      body,
      Buffer.alloc(1024),
    ])
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 3 }),
        fc.integer({ min: 1, max: 2000 }),
        fc.nat(good.length),
        async (changes, pieces, cut) => {
          const bytes = Uint8Array.from(good)
          for (const [at, value] of changes) bytes[at] = value
          const input = source(changes.length === 0 ? bytes.subarray(0, cut) : bytes, pieces)
          try {
            for await (const entry of readTar(input.chunks()))
              for await (const piece of entry.content()) expect(piece.offset).toBeLessThan(2 ** 53)
          } catch (error) {
            expect(error).toMatchObject({ name: 'DrydiskError' })
          }
        },
      ),
      propertySettings(300),
    )
  })

  it('reads nothing whole', async () => {
    const size = 300 * 2 ** 20
    const piece = Buffer.alloc(1 << 20, 1)
    const input = {
      name: 'large',
      async *chunks() {
        yield header('large', { size })
        for (let at = 0; at < size; at += piece.length) yield piece
        yield Buffer.alloc(1024)
      },
    }
    let seen = 0
    for await (const entry of readTar(input.chunks()))
      for await (const { bytes } of entry.content()) seen += bytes.length
    expect(seen).toBe(size)
    expect(bytesSource('', piece).name).toBe('')
  })
})
