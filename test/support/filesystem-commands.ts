import fc from 'fast-check'
import { expect } from 'vitest'
import { bytesOfKey, toBytes } from '../../src/bytes/names.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { FileSystem, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { pattern } from './filesystem-contract.ts'

/** One random thing to do to a tree, in terms of paths so that it means the same on two filesystems. */
export type FileSystemCommand =
  | { do: 'create' | 'mkdir' | 'unlink' | 'rmdir'; path: string[]; mode: number }
  | { do: 'symlink'; path: string[]; length: number }
  | { do: 'mknod'; path: string[]; type: 'character-device' | 'fifo' }
  | { do: 'link' | 'rename'; path: string[]; to: string[] }
  | { do: 'write'; path: string[]; offset: number; length: number; seed: number }
  | { do: 'truncate'; path: string[]; size: number }
  | { do: 'attributes'; path: string[]; mode: number; uid: number; mtime: bigint }
  | { do: 'setxattr'; path: string[]; name: string; length: number; seed: number }
  | { do: 'removexattr'; path: string[]; name: string }
  | { do: 'sync' }

const NAMES = ['a', 'b', 'c', 'd', '\xff\xfe', 'n'.repeat(255), 'm'.repeat(200), 'x'.repeat(60)]

const path = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 })
const mode = fc.integer({ min: 0, max: 0o7777 })
const offset = fc.oneof(fc.nat(9000), fc.nat(300_000), fc.nat(5_000_000))
const attribute = fc.constantFrom('user.a', 'user.b', 'trusted.c', 'security.selinux')

export interface CommandOptions {
  /** Longest attribute value; keep the sum of a file's attributes below what the filesystem can hold. */
  readonly xattrSize?: number
  /** Longest single write. */
  readonly writeSize?: number
}

export function fileSystemCommands(
  maxLength: number,
  options: CommandOptions = {},
): fc.Arbitrary<FileSystemCommand[]> {
  const length = fc.integer({ min: 1, max: options.writeSize ?? 70_000 })
  const seed = fc.nat(1000)
  return fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('create' as const), path, mode }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('mkdir' as const), path, mode }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('unlink' as const), path, mode }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('rmdir' as const), path, mode }) },
      fc.record({ do: fc.constant('symlink' as const), path, length: fc.integer({ min: 1, max: 1000 }) }),
      fc.record({
        do: fc.constant('mknod' as const),
        path,
        type: fc.constantFrom('character-device' as const, 'fifo' as const),
      }),
      { weight: 2, arbitrary: fc.record({ do: fc.constant('link' as const), path, to: path }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('rename' as const), path, to: path }) },
      { weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), path, offset, length, seed }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('truncate' as const), path, size: offset }) },
      fc.record({
        do: fc.constant('attributes' as const),
        path,
        mode,
        uid: fc.nat(0xffff_fffe),
        mtime: fc.bigInt(-(2n ** 31n), 2n ** 31n - 1n).map(seconds => seconds * 1_000_000_000n),
      }),
      {
        weight: 2,
        arbitrary: fc.record({
          do: fc.constant('setxattr' as const),
          path,
          name: attribute,
          length: fc.nat(options.xattrSize ?? 200),
          seed,
        }),
      },
      fc.record({ do: fc.constant('removexattr' as const), path, name: attribute }),
      fc.record({ do: fc.constant('sync' as const) }),
    ),
    { maxLength },
  )
}

async function resolve(fs: FileSystem, names: readonly string[]): Promise<InodeNumber> {
  let ino = fs.root
  for (const name of names) ino = await fs.lookup(ino, bytesOfKey(name))
  return ino
}

async function apply(fs: FileSystem, command: FileSystemCommand): Promise<void> {
  if (command.do === 'sync') return fs.sync()
  const at = (names: readonly string[]) => resolve(fs, names)
  const parent = async (names: readonly string[]) => ({
    directory: await at(names.slice(0, -1)),
    name: bytesOfKey(names.at(-1) ?? ''),
  })
  switch (command.do) {
    case 'create':
    case 'mkdir': {
      const { directory, name } = await parent(command.path)
      await fs[command.do](directory, name, { mode: command.mode, uid: 1, gid: 2 })
      return
    }
    case 'unlink':
    case 'rmdir': {
      const { directory, name } = await parent(command.path)
      return fs[command.do](directory, name)
    }
    case 'symlink': {
      const { directory, name } = await parent(command.path)
      await fs.symlink(directory, name, toBytes('t'.repeat(command.length)), { mode: 0o777, uid: 0, gid: 0 })
      return
    }
    case 'mknod': {
      const { directory, name } = await parent(command.path)
      const device = { major: 5, minor: 1 }
      await fs.mknod(directory, name, command.type, device, { mode: 0o600, uid: 0, gid: 0 })
      return
    }
    case 'link': {
      const { directory, name } = await parent(command.to)
      return fs.link(await at(command.path), directory, name)
    }
    case 'rename': {
      const from = await parent(command.path)
      const to = await parent(command.to)
      return fs.rename(from.directory, from.name, to.directory, to.name)
    }
    case 'write':
      return fs.write(await at(command.path), command.offset, pattern(command.length, command.seed))
    case 'truncate':
      return fs.truncate(await at(command.path), command.size)
    case 'attributes':
      return fs.setAttributes(await at(command.path), {
        mode: command.mode,
        uid: command.uid,
        mtime: command.mtime,
      })
    case 'setxattr':
      return fs.setxattr(await at(command.path), command.name, pattern(command.length, command.seed))
    case 'removexattr':
      return fs.removexattr(await at(command.path), command.name)
  }
}

async function outcome(fs: FileSystem, command: FileSystemCommand): Promise<string> {
  try {
    await apply(fs, command)
    return 'done'
  } catch (error) {
    if (isDrydiskError(error)) return error.code
    throw error
  }
}

/**
 * Does a command on a filesystem and on its model: both do it, or both refuse it with the same code. Symlinks have
 * one mode here, as on Linux, and cannot carry `user.` attributes there, so such commands are left out.
 */
export async function applyToBoth(
  fs: FileSystem,
  model: FileSystem,
  command: FileSystemCommand,
): Promise<void> {
  if (command.do === 'setxattr' || command.do === 'attributes') {
    const ino = await resolve(model, command.path).catch(() => undefined)
    if (ino !== undefined) {
      const { type } = await model.stat(ino)
      if (type !== 'file' && type !== 'directory') return
    }
  }
  const expected = await outcome(model, command)
  const actual = await outcome(fs, command)
  expect({ command, outcome: actual }).toEqual({ command, outcome: expected })
}
