import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { byteKey, toBytes } from '../../src/bytes/names.ts'
import type { ErrorCode } from '../../src/errors.ts'
import type { DeviceNumber, FileExtent, FileSystem, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { snapshot } from './filesystem-snapshot.ts'

/** A fresh, empty, writable filesystem for one test. */
export interface FileSystemUnderTest {
  readonly fs: FileSystem
  /** Closes the filesystem and opens it again from what is on its volume. Left out: there is no volume. */
  reopen?(): Promise<FileSystem>
  /** Ends the test: closes, and lets the oracle speak. `fs` is the one in use then. */
  finish?(fs: FileSystem): Promise<void>
}

export interface ContractOptions {
  /** Nanoseconds that times are rounded down to: 1 or, for inodes without extra fields, 10^9. */
  readonly timeResolution?: bigint
  /** The last second that an inode's times have room for; the year 2096 when left out. */
  readonly lastSecond?: bigint
  /** The highest device number that an inode has room for; 4095:1048575 when left out. */
  readonly lastDevice?: DeviceNumber
  /** Names below the root that a fresh filesystem has: `lost+found`. */
  readonly presentAtFirst?: readonly string[]
  /** Largest value of one extended attribute that must be storable. Default 1000 bytes. */
  readonly xattrSize?: number
  /** What the filesystem has not: it is then held to the errors and values that Linux gives instead. */
  readonly lacks?: readonly Lack[]
}

/**
 * `links`, `symlinks`, `special files`: EPERM. `xattrs`: ENOTSUP. `owners`: other owners and bits beyond 0777 are EPERM, and new
 * files have mode 0755 of 0:0. `byte names`: names are UTF-8 and found whatever their case. `holes`: gaps are zeros.
 * `change time`: it is mtime. `access time`: a day. `inode count`: 0.
 */
export type Lack =
  | 'links'
  | 'symlinks'
  | 'special files'
  | 'xattrs'
  | 'owners'
  | 'byte names'
  | 'holes'
  | 'change time'
  | 'access time'
  | 'inode count'

const b = toBytes
const rw = { mode: 0o644, uid: 0, gid: 0 }
const dir = { mode: 0o755, uid: 0, gid: 0 }

async function rejects(promise: Promise<unknown>, ...codes: ErrorCode[]): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (e: unknown) => e,
  )
  expect(error, `expected ${codes.join(' or ')}`).toMatchObject({ name: 'DrydiskError' })
  expect(codes).toContain((error as { code: string }).code)
}

async function names(fs: FileSystem, ino: InodeNumber): Promise<string[]> {
  const out: string[] = []
  for await (const entry of fs.readdir(ino)) out.push(byteKey(entry.name))
  return out.sort()
}

async function extents(fs: FileSystem, ino: InodeNumber): Promise<FileExtent[]> {
  const out: FileExtent[] = []
  for await (const extent of fs.fileExtents(ino)) out.push(extent)
  return out
}

async function content(fs: FileSystem, ino: InodeNumber): Promise<Uint8Array> {
  const { size } = await fs.stat(ino)
  const into = new Uint8Array(size)
  let at = 0
  while (at < size) {
    const count = await fs.read(ino, at, into.subarray(at))
    if (count === 0) throw new Error(`short read at ${at}`)
    at += count
  }
  return into
}

/** Bytes that differ everywhere and are not zero. */
export function pattern(length: number, seed = 1): Uint8Array {
  const out = new Uint8Array(length)
  let state = seed * 2_654_435_761
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    out[i] = ((state >>> 16) & 0xff) | 1
  }
  return out
}

/** What every FileSystem must do, whatever it is made of. Each test ends by opening it again and comparing. */
export function fileSystemContract(
  name: string,
  make: () => Promise<FileSystemUnderTest>,
  options: ContractOptions = {},
): void {
  describe(`FileSystem contract: ${name}`, () => {
    let subject: FileSystemUnderTest
    let fs: FileSystem
    const lacks = (what: Lack) => options.lacks?.includes(what) ?? false
    const round = (time: bigint) => time - (time % (options.timeResolution ?? 1n))
    const roundAccess = (time: bigint) =>
      lacks('access time') ? time - (time % 86_400_000_000_000n) : round(time)
    /** What a file is like that was made with these attributes. */
    const owned = <T extends object>(attributes: T) =>
      lacks('owners') ? { ...attributes, mode: 0o755, uid: 0, gid: 0 } : attributes

    beforeEach(async () => {
      subject = await make()
      fs = subject.fs
    })
    afterEach(async () => {
      if (subject.reopen) {
        const before = await snapshot(fs, { times: true })
        await fs.sync()
        fs = await subject.reopen()
        expect(await snapshot(fs, { times: true })).toEqual(before)
      }
      await subject.finish?.(fs)
    })

    test('a fresh filesystem has a root directory that is its own parent', async () => {
      const stat = await fs.stat(fs.root)
      expect(stat).toMatchObject({ ino: fs.root, type: 'directory' })
      expect(stat.nlink).toBe(2 + (options.presentAtFirst ?? []).length)
      expect(await fs.lookup(fs.root, b('.'))).toBe(fs.root)
      expect(await fs.lookup(fs.root, b('..'))).toBe(fs.root)
      expect(await names(fs, fs.root)).toEqual([...(options.presentAtFirst ?? [])].sort())
      expect(fs.writable).toBe(true)
    })

    test('create gives an empty file with exactly the attributes asked for', async () => {
      const time = 1_700_000_000_123_456_789n
      const ino = await fs.create(fs.root, b('f'), { mode: 0o4751, uid: 70_000, gid: 80_000, time })
      expect(await fs.lookup(fs.root, b('f'))).toBe(ino)
      const stat = await fs.stat(ino)
      const asked = owned({ mode: 0o4751, uid: 70_000, gid: 80_000 })
      expect(stat).toMatchObject({ type: 'file', ...asked, nlink: 1, size: 0 })
      expect([stat.atime, stat.mtime, stat.ctime]).toEqual([roundAccess(time), round(time), round(time)])
      expect(await extents(fs, ino)).toEqual([])
      expect(await fs.read(ino, 0, new Uint8Array(8))).toBe(0)
      await rejects(fs.create(fs.root, b('f'), rw), 'EEXIST')
      await rejects(fs.mkdir(fs.root, b('f'), dir), 'EEXIST')
      await rejects(fs.lookup(fs.root, b('g')), 'ENOENT')
      await rejects(fs.lookup(ino, b('g')), 'ENOTDIR')
      await rejects(fs.create(ino, b('g'), rw), 'ENOTDIR')
      await rejects(fs.readdir(ino)[Symbol.asyncIterator]().next(), 'ENOTDIR')
    })

    test('names are bytes: not UTF-8, 255 long, case apart; longer or with a slash are refused', async () => {
      const long = new Uint8Array(255).fill(0x61)
      const odd = new Uint8Array([0xff, 0xfe, 0x0a, 0x1b, 0x20])
      const bytesOnly = [odd, b('A'), b('...')]
      const every = [long, b('a'), b('…'), b('-rf'), ...(lacks('byte names') ? [] : bytesOnly)]
      for (const one of every) await fs.create(fs.root, one, rw)
      const found = await names(fs, fs.root)
      for (const one of every) expect(found).toContain(byteKey(one))
      if (lacks('byte names')) {
        const ino = await fs.lookup(fs.root, b('a'))
        for (const same of ['A', 'a.', 'A...']) expect(await fs.lookup(fs.root, b(same))).toBe(ino)
        for (const same of ['A', 'a.']) await rejects(fs.create(fs.root, b(same), rw), 'EEXIST')
        await rejects(fs.lookup(fs.root, odd), 'ENOENT')
        await rejects(fs.create(fs.root, odd, rw), 'EINVAL')
        for (const bad of ['x ', 'a:b', 'a?', 'a*', '<', '>', '|', '"', 'a\\b', '\t', ' ', '. '])
          await rejects(fs.create(fs.root, b(bad), rw), 'EINVAL')
        await rejects(fs.create(fs.root, b('...'), rw), 'ENOENT')
      }
      await rejects(fs.create(fs.root, new Uint8Array(256).fill(0x61), rw), 'ENAMETOOLONG')
      await rejects(fs.lookup(fs.root, new Uint8Array(256).fill(0x61)), 'ENAMETOOLONG')
      for (const bad of ['', 'a/b', 'a\0b']) await rejects(fs.create(fs.root, b(bad), rw), 'EINVAL', 'ENOENT')
      for (const special of ['.', '..']) {
        await rejects(fs.create(fs.root, b(special), rw), 'EEXIST')
        await rejects(fs.unlink(fs.root, b(special)), 'EISDIR', 'EINVAL', 'EBUSY')
        await rejects(fs.rmdir(fs.root, b(special)), 'EINVAL', 'ENOTEMPTY', 'EBUSY')
        await rejects(fs.rename(fs.root, b(special), fs.root, b('x')), 'EBUSY', 'EINVAL')
      }
    })

    test('write anywhere, read anywhere; a gap is a hole that reads as zeros', async () => {
      const ino = await fs.create(fs.root, b('f'), rw)
      const data = pattern(10_000)
      await fs.write(ino, 300_000, data)
      expect((await fs.stat(ino)).size).toBe(310_000)
      const expected = new Uint8Array(310_000)
      expected.set(data, 300_000)
      expect(Buffer.compare(await content(fs, ino), expected)).toBe(0)
      if (lacks('holes')) expect((await fs.stat(ino)).blocks * 512).toBeGreaterThanOrEqual(310_000)
      else expect((await fs.stat(ino)).blocks * 512).toBeLessThan(200_000)
      await fs.write(ino, 5, pattern(20, 2))
      expected.set(pattern(20, 2), 5)
      await fs.write(ino, 299_990, pattern(30, 3))
      expected.set(pattern(30, 3), 299_990)
      expect(Buffer.compare(await content(fs, ino), expected)).toBe(0)
      const into = new Uint8Array(100).fill(7)
      expect(await fs.read(ino, 309_950, into)).toBe(50)
      expect(await fs.read(ino, 310_000, into)).toBe(0)
      expect(await fs.read(ino, 999_999, into)).toBe(0)
      const runs = await extents(fs, ino)
      let at = 0
      for (const run of runs) {
        expect(run.offset).toBe(at)
        expect(run.length).toBeGreaterThan(0)
        at += run.length
      }
      expect(at).toBe(310_000)
      expect(runs.some(run => run.kind === 'hole')).toBe(!lacks('holes'))
      await fs.write(ino, 400_000, new Uint8Array())
      expect((await fs.stat(ino)).size).toBe(310_000)
    })

    test('truncate cuts and grows; what was cut reads as zeros when the file grows again', async () => {
      const ino = await fs.create(fs.root, b('f'), rw)
      await fs.write(ino, 0, pattern(20_000))
      await fs.truncate(ino, 5_001)
      expect(Buffer.compare(await content(fs, ino), pattern(20_000).subarray(0, 5_001))).toBe(0)
      await fs.truncate(ino, 30_000)
      const expected = new Uint8Array(30_000)
      expected.set(pattern(20_000).subarray(0, 5_001))
      expect(Buffer.compare(await content(fs, ino), expected)).toBe(0)
      await fs.truncate(ino, 0)
      expect(await fs.stat(ino)).toMatchObject({ size: 0, blocks: 0 })
      if (lacks('holes')) {
        const free = (await fs.statfs()).freeBlocks
        await rejects(fs.truncate(ino, 1 << 30), 'ENOSPC')
        expect(await fs.stat(ino)).toMatchObject({ size: 0, blocks: 0 })
        expect((await fs.statfs()).freeBlocks).toBe(free)
      } else {
        await fs.truncate(ino, 1 << 30)
        expect((await fs.stat(ino)).size).toBe(1 << 30)
      }
      await rejects(fs.truncate(ino, -1), 'EINVAL')
      // The closing comparison reads every byte.
      await fs.truncate(ino, 1 << 22)
    })

    test('appending by small steps gives one file', async () => {
      const ino = await fs.create(fs.root, b('log'), rw)
      const whole = pattern(40_000, 9)
      for (let at = 0; at < whole.length; at += 777) await fs.write(ino, at, whole.subarray(at, at + 777))
      expect(Buffer.compare(await content(fs, ino), whole)).toBe(0)
    })

    test('alternating blocks make many extents, filled in later', async () => {
      const ino = await fs.create(fs.root, b('f'), rw)
      const whole = pattern(4096 * 40, 4)
      for (const start of [0, 1])
        for (let block = start; block < 40; block += 2)
          await fs.write(ino, block * 4096, whole.subarray(block * 4096, block * 4096 + 4096))
      expect(Buffer.compare(await content(fs, ino), whole)).toBe(0)
      for (let block = 30; block > 0; block -= 7) await fs.truncate(ino, block * 4096 - 100)
      expect(Buffer.compare(await content(fs, ino), whole.subarray(0, 2 * 4096 - 100))).toBe(0)
    })

    test('directories count their children as links and know their parent', async () => {
      const before = (await fs.stat(fs.root)).nlink
      const d = await fs.mkdir(fs.root, b('d'), { mode: 0o2750, uid: 5, gid: 6 })
      const e = await fs.mkdir(d, b('e'), dir)
      const asked = owned({ mode: 0o2750, uid: 5, gid: 6 })
      expect(await fs.stat(d)).toMatchObject({ type: 'directory', ...asked, nlink: 3 })
      expect((await fs.stat(fs.root)).nlink).toBe(before + 1)
      expect(await fs.lookup(e, b('..'))).toBe(d)
      expect(await fs.lookup(d, b('..'))).toBe(fs.root)
      expect(await fs.lookup(e, b('.'))).toBe(e)
      await rejects(fs.rmdir(fs.root, b('d')), 'ENOTEMPTY')
      await rejects(fs.unlink(fs.root, b('d')), 'EISDIR')
      await rejects(fs.link(d, fs.root, b('again')), 'EPERM')
      await rejects(fs.read(d, 0, new Uint8Array(1)), 'EISDIR')
      await rejects(fs.write(d, 0, new Uint8Array(1)), 'EISDIR')
      await rejects(fs.truncate(d, 0), 'EISDIR')
      await fs.rmdir(d, b('e'))
      await rejects(fs.lookup(d, b('e')), 'ENOENT')
      expect((await fs.stat(d)).nlink).toBe(2)
      await fs.rmdir(fs.root, b('d'))
      expect((await fs.stat(fs.root)).nlink).toBe(before)
      await rejects(fs.rmdir(fs.root, b('d')), 'ENOENT')
      await fs.create(fs.root, b('f'), rw)
      await rejects(fs.rmdir(fs.root, b('f')), 'ENOTDIR')
    })

    test('symlinks keep their bytes at every length around the inline limit', async () => {
      if (lacks('symlinks')) {
        await rejects(fs.symlink(fs.root, b('l'), b('target'), rw), 'EPERM')
        const file = await fs.create(fs.root, b('f'), rw)
        await rejects(fs.symlink(fs.root, b('f'), b('target'), rw), 'EEXIST')
        await rejects(fs.symlink(file, b('l'), b('target'), rw), 'ENOTDIR')
        await rejects(fs.readlink(file), 'EINVAL')
        await rejects(fs.readlink(fs.root), 'EINVAL')
        return
      }
      for (const length of [1, 58, 59, 60, 61, 100, 255, 1000]) {
        const target = new Uint8Array(length).fill(0x74)
        target[length - 1] = 0xff
        const ino = await fs.symlink(fs.root, b(`l${length}`), target, { mode: 0o777, uid: 1, gid: 2 })
        expect(await fs.stat(ino)).toMatchObject({ type: 'symlink', size: length, nlink: 1, uid: 1, gid: 2 })
        expect(byteKey(await fs.readlink(ino))).toBe(byteKey(target))
      }
      const ino = await fs.lookup(fs.root, b('l60'))
      await rejects(fs.write(ino, 0, new Uint8Array(1)), 'EINVAL')
      await rejects(fs.readlink(fs.root), 'EINVAL')
      await rejects(fs.symlink(fs.root, b('empty'), b(''), rw), 'ENOENT', 'EINVAL')
      await rejects(fs.symlink(fs.root, b('long'), new Uint8Array(4096).fill(97), rw), 'ENAMETOOLONG')
      for (const length of [58, 60, 1000]) await fs.unlink(fs.root, b(`l${length}`))
    })

    test('device nodes, fifos and sockets', async () => {
      if (lacks('special files')) {
        const none = { major: 1, minor: 3 }
        for (const type of ['character-device', 'block-device', 'fifo', 'socket'] as const)
          await rejects(fs.mknod(fs.root, b(type), type, none, rw), 'EPERM')
        expect(await names(fs, fs.root)).toEqual([...(options.presentAtFirst ?? [])].sort())
        return
      }
      const lastDevice = options.lastDevice ?? { major: 4095, minor: 1_048_575 }
      const nodes = [
        ['character-device', 1, 3],
        ['block-device', 259, 70_000],
        ['character-device', lastDevice.major, lastDevice.minor],
      ] as const
      for (const [type, major, minor] of nodes) {
        const attributes = { mode: 0o660, uid: 0, gid: 6 }
        const ino = await fs.mknod(fs.root, b(`${major}`), type, { major, minor }, attributes)
        expect(await fs.stat(ino)).toMatchObject({ type, rdev: { major, minor }, mode: 0o660, size: 0 })
      }
      for (const type of ['fifo', 'socket'] as const) {
        const ino = await fs.mknod(fs.root, b(type), type, { major: 0, minor: 0 }, rw)
        expect((await fs.stat(ino)).type).toBe(type)
        await rejects(fs.write(ino, 0, new Uint8Array(1)), 'EINVAL')
        await fs.unlink(fs.root, b(type))
      }
    })

    test('hard links share one inode until the last is gone', async () => {
      const ino = await fs.create(fs.root, b('a'), rw)
      const d = await fs.mkdir(fs.root, b('d'), dir)
      if (lacks('links')) {
        await rejects(fs.link(ino, d, b('b')), 'EPERM')
        await rejects(fs.link(ino, fs.root, b('a')), 'EEXIST')
        expect(await names(fs, d)).toEqual([])
        return
      }
      await fs.link(ino, d, b('b'))
      expect((await fs.stat(ino)).nlink).toBe(2)
      await fs.write(ino, 0, pattern(9000))
      expect(Buffer.compare(await content(fs, await fs.lookup(d, b('b'))), pattern(9000))).toBe(0)
      await rejects(fs.link(ino, d, b('b')), 'EEXIST')
      await fs.unlink(fs.root, b('a'))
      await rejects(fs.lookup(fs.root, b('a')), 'ENOENT')
      await rejects(fs.unlink(fs.root, b('a')), 'ENOENT')
      expect((await fs.stat(ino)).nlink).toBe(1)
      const usage = await fs.statfs()
      await fs.unlink(d, b('b'))
      const after = await fs.statfs()
      expect(after.freeInodes).toBe(usage.freeInodes + 1)
      expect(after.freeBlocks).toBeGreaterThan(usage.freeBlocks)
    })

    test('rename within and across directories, over what is there', async () => {
      const d = await fs.mkdir(fs.root, b('d'), dir)
      const e = await fs.mkdir(fs.root, b('e'), dir)
      const f = await fs.create(d, b('f'), rw)
      const g = await fs.create(e, b('g'), rw)
      await fs.write(g, 0, pattern(5000))
      await fs.rename(d, b('f'), d, b('f2'))
      await fs.rename(d, b('f2'), e, b('g'))
      expect(await names(fs, d)).toEqual([])
      expect(await names(fs, e)).toEqual(['g'])
      expect(await fs.lookup(e, b('g'))).toBe(f)
      const links = (await fs.stat(fs.root)).nlink
      await fs.rename(fs.root, b('d'), e, b('moved'))
      expect((await fs.stat(fs.root)).nlink).toBe(links - 1)
      expect((await fs.stat(e)).nlink).toBe(3)
      expect(await fs.lookup(d, b('..'))).toBe(e)
      await fs.mkdir(fs.root, b('empty'), dir)
      await fs.rename(e, b('moved'), fs.root, b('empty'))
      expect(await fs.lookup(fs.root, b('empty'))).toBe(d)
      expect((await fs.stat(e)).nlink).toBe(2)
      expect((await fs.stat(fs.root)).nlink).toBe(links)
      expect(await fs.lookup(d, b('..'))).toBe(fs.root)
    })

    test('rename refuses what rename(2) refuses and changes nothing then', async () => {
      const d = await fs.mkdir(fs.root, b('d'), dir)
      const e = await fs.mkdir(d, b('e'), dir)
      const f = await fs.create(fs.root, b('f'), rw)
      await fs.create(e, b('x'), rw)
      await rejects(fs.rename(fs.root, b('nothing'), fs.root, b('f')), 'ENOENT')
      await rejects(fs.rename(fs.root, b('d'), d, b('inside')), 'EINVAL')
      await rejects(fs.rename(fs.root, b('d'), e, b('inside')), 'EINVAL')
      await rejects(fs.rename(fs.root, b('d'), fs.root, b('f')), 'ENOTDIR')
      await rejects(fs.rename(fs.root, b('f'), d, b('e')), 'EISDIR')
      await fs.mkdir(fs.root, b('other'), dir)
      await rejects(fs.rename(fs.root, b('other'), d, b('e')), 'ENOTEMPTY')
      await rejects(fs.rename(d, b('e'), fs.root, b('d')), 'ENOTEMPTY')
      if (!lacks('links')) {
        await fs.link(f, d, b('same'))
        await fs.rename(fs.root, b('f'), d, b('same'))
        expect(await fs.lookup(fs.root, b('f'))).toBe(f)
        expect((await fs.stat(f)).nlink).toBe(2)
      }
      await fs.rename(fs.root, b('d'), fs.root, b('d'))
      expect((await names(fs, d)).sort()).toEqual(lacks('links') ? ['e'] : ['e', 'same'])
    })

    test('attributes change one by one; times before 1970 and after 2038 survive', async () => {
      const ino = await fs.create(fs.root, b('f'), { ...rw, time: 1_000_000_000_000_000_000n })
      if (lacks('owners')) {
        for (const change of [{ mode: 0o7777 }, { uid: 1 }, { gid: 1 }, { uid: 0, gid: 5 }])
          await rejects(fs.setAttributes(ino, change), 'EPERM')
        await fs.setAttributes(ino, { uid: 0, gid: 0, mode: 0o555 })
        expect((await fs.stat(ino)).mode).toBe(0o555)
        // What cannot be kept is passed over in silence, as chmod(2) has it on vfat.
        await fs.setAttributes(ino, { mode: 0o644 })
        expect(await fs.stat(ino)).toMatchObject({ mode: 0o555, mtime: 1_000_000_000_000_000_000n })
        await fs.setAttributes(ino, { mode: 0o777 })
        expect((await fs.stat(ino)).mode).toBe(0o755)
        const late = 4_000_000_000_000_000_000n
        await fs.setAttributes(ino, { atime: late, mtime: late, ctime: 5n })
        expect(await fs.stat(ino)).toMatchObject({ atime: roundAccess(late), mtime: late, ctime: late })
        const first = 315_532_800_000_000_000n
        await fs.setAttributes(ino, { atime: -5n, mtime: -5n })
        expect(await fs.stat(ino)).toMatchObject({ atime: first, mtime: first, ctime: first })
        return
      }
      await fs.setAttributes(ino, { mode: 0o7777 })
      await fs.setAttributes(ino, { uid: 4_294_967_294 })
      await fs.setAttributes(ino, { gid: 65_536 })
      expect(await fs.stat(ino)).toMatchObject({
        mode: 0o7777,
        uid: 4_294_967_294,
        gid: 65_536,
        mtime: 1_000_000_000_000_000_000n,
      })
      expect((await fs.stat(ino)).ctime).toBeGreaterThan(1_000_000_000_000_000_000n)
      const early = -1_000_000_000n
      const late =
        options.timeResolution === undefined
          ? (options.lastSecond ?? 4_000_000_000n) * 1_000_000_000n + 1n
          : 2_000_000_000_000_000_000n
      await fs.setAttributes(ino, { atime: early, mtime: late, ctime: 5_000_000_000n })
      expect(await fs.stat(ino)).toMatchObject({ atime: early, mtime: late, ctime: 5_000_000_000n })
    })

    test('writing updates mtime and ctime, of directories too; reading updates nothing', async () => {
      const old = 1_000_000_000_000_000_000n
      const d = await fs.mkdir(fs.root, b('d'), { ...dir, time: old })
      const f = await fs.create(d, b('f'), { ...rw, time: old })
      expect((await fs.stat(d)).mtime).toBeGreaterThan(old)
      const reset = async (...inos: InodeNumber[]) => {
        for (const ino of inos) await fs.setAttributes(ino, { atime: old, mtime: old, ctime: old })
      }
      const times = async (ino: InodeNumber) => {
        const { atime, mtime, ctime } = await fs.stat(ino)
        if (lacks('change time')) expect(ctime).toBe(mtime)
        return [atime > old, mtime > old, ctime > old]
      }
      /** What changes ctime alone changes nothing where that is mtime. */
      const onlyChanged = [false, false, !lacks('change time')]
      await reset(d, f)
      await fs.write(f, 0, b('x'))
      expect([await times(f), await times(d)]).toEqual([
        [false, true, true],
        [false, false, false],
      ])
      await reset(d, f)
      await content(fs, f)
      await names(fs, d)
      expect([await times(f), await times(d)]).toEqual([
        [false, false, false],
        [false, false, false],
      ])
      if (!lacks('xattrs')) {
        await fs.setxattr(f, 'user.x', b('y'))
        expect(await times(f)).toEqual([false, false, true])
        await reset(d, f)
      }
      if (lacks('links')) await fs.create(d, b('g'), rw)
      else await fs.link(f, d, b('g'))
      expect([await times(f), await times(d)]).toEqual([
        [false, false, !lacks('links')],
        [false, true, true],
      ])
      await reset(d, f)
      await fs.unlink(d, b('g'))
      expect([await times(f), await times(d)]).toEqual([
        [false, false, !lacks('links')],
        [false, true, true],
      ])
      await reset(d, f)
      await fs.rename(d, b('f'), fs.root, b('f'))
      expect([await times(f), await times(d)]).toEqual([onlyChanged, [false, true, true]])
      await reset(f)
      await fs.truncate(f, 100)
      expect(await times(f)).toEqual([false, true, true])
    })

    test('extended attributes in every namespace, replaced, grown, removed, many at once', async () => {
      const ino = await fs.create(fs.root, b('f'), rw)
      expect(await fs.listxattr(ino)).toEqual([])
      expect(await fs.getxattr(ino, 'user.none')).toBeUndefined()
      if (lacks('xattrs')) {
        for (const key of ['user.a', 'security.selinux', 'system.posix_acl_access'])
          await rejects(fs.setxattr(ino, key, b('1')), 'ENOTSUP')
        await rejects(fs.removexattr(ino, 'user.none'), 'ENOTSUP')
        return
      }
      await rejects(fs.removexattr(ino, 'user.none'), 'ENODATA')
      const values = new Map<string, Uint8Array>([
        ['user.a', b('1')],
        ['user.empty', new Uint8Array()],
        ['trusted.overlay.opaque', b('y')],
        ['security.selinux', b('system_u:object_r:etc_t:s0\0')],
        ['security.capability', new Uint8Array([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
      ])
      for (const [key, value] of values) await fs.setxattr(ino, key, value)
      values.set('user.a', pattern(options.xattrSize ?? 1000))
      for (const [key, value] of values) await fs.setxattr(ino, key, value)
      expect((await fs.listxattr(ino)).sort()).toEqual([...values.keys()].sort())
      for (const [key, value] of values) expect(await fs.getxattr(ino, key)).toEqual(value)
      await fs.removexattr(ino, 'user.a')
      values.delete('user.a')
      expect((await fs.listxattr(ino)).sort()).toEqual([...values.keys()].sort())
      await rejects(fs.setxattr(ino, 'unknown.x', b('1')), 'ENOTSUP', 'EINVAL')
      const d = await fs.mkdir(fs.root, b('d'), dir)
      await fs.setxattr(d, 'user.d', b('dir'))
      const link = await fs.symlink(fs.root, b('l'), b('f'), rw)
      await fs.setxattr(link, 'security.selinux', b('system_u:object_r:etc_t:s0\0'))
      expect(await fs.getxattr(link, 'security.selinux')).toEqual(b('system_u:object_r:etc_t:s0\0'))
    })

    test('POSIX ACLs are stored and given in the form of getxattr(2)', async () => {
      // struct posix_acl_xattr_header and entries (linux/posix_acl_xattr.h): version 2; user::rw-, user:1000:r--,
      // group::r--, mask::r--, other::---.
      const entry = (tag: number, perm: number, id: number) => {
        const view = new DataView(new ArrayBuffer(8))
        view.setUint16(0, tag, true)
        view.setUint16(2, perm, true)
        view.setUint32(4, id, true)
        return [...new Uint8Array(view.buffer)]
      }
      const none = 0xffff_ffff
      const acl = new Uint8Array([
        ...[2, 0, 0, 0],
        ...entry(1, 6, none),
        ...entry(2, 4, 1000),
        ...entry(4, 4, none),
        ...entry(0x10, 4, none),
        ...entry(0x20, 0, none),
      ])
      const ino = await fs.create(fs.root, b('f'), { ...rw, mode: 0o640 })
      if (lacks('xattrs')) return rejects(fs.setxattr(ino, 'system.posix_acl_access', acl), 'ENOTSUP')
      await fs.setxattr(ino, 'system.posix_acl_access', acl)
      expect(await fs.getxattr(ino, 'system.posix_acl_access')).toEqual(acl)
      expect(await fs.listxattr(ino)).toEqual(['system.posix_acl_access'])
      const d = await fs.mkdir(fs.root, b('d'), dir)
      await fs.setxattr(d, 'system.posix_acl_default', acl)
      expect(await fs.getxattr(d, 'system.posix_acl_default')).toEqual(acl)
    })

    test('a directory of a thousand names loses and finds every one', async () => {
      const d = await fs.mkdir(fs.root, b('many'), dir)
      const inos = new Map<string, InodeNumber>()
      for (let i = 0; i < 1000; i++) {
        const one = `name-${i}-${'x'.repeat(i % 40)}`
        inos.set(one, await fs.create(d, b(one), rw))
      }
      expect(await names(fs, d)).toEqual([...inos.keys()].sort())
      for (const [one, ino] of inos) expect(await fs.lookup(d, b(one))).toBe(ino)
      let i = 0
      for (const one of [...inos.keys()])
        if (i++ % 3 !== 0) {
          await fs.unlink(d, b(one))
          inos.delete(one)
        }
      expect(await names(fs, d)).toEqual([...inos.keys()].sort())
      for (const one of [...inos.keys()].slice(0, 50)) {
        await fs.rename(d, b(one), d, b(`renamed ${one}`))
        const ino = inos.get(one)
        inos.delete(one)
        if (ino !== undefined) inos.set(`renamed ${one}`, ino)
      }
      expect(await names(fs, d)).toEqual([...inos.keys()].sort())
    })

    test('space and inodes are given back', async () => {
      const before = await fs.statfs()
      const d = await fs.mkdir(fs.root, b('d'), dir)
      const f = await fs.create(d, b('f'), rw)
      await fs.write(f, 0, pattern(200_000))
      const during = await fs.statfs()
      expect(before.freeInodes - during.freeInodes).toBe(lacks('inode count') ? 0 : 2)
      expect((before.freeBlocks - during.freeBlocks) * before.blockSize).toBeGreaterThanOrEqual(200_000)
      await fs.unlink(d, b('f'))
      await fs.rmdir(fs.root, b('d'))
      const after = await fs.statfs()
      expect(after.freeInodes).toBe(before.freeInodes)
      expect(after.freeBlocks).toBe(before.freeBlocks)
      expect(after.maxNameLength).toBe(lacks('byte names') ? 255 * 3 : 255)
    })
  })
}
