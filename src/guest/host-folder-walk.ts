import type { BigIntStats } from 'node:fs'
import { lstat, readlink } from 'node:fs/promises'
import { printable } from '../bytes/names.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestPath } from './guest-fs.ts'
import { isDot, isDotDot, joinNames, splitPath } from './guest-path.ts'

const MAX_SYMLINKS = 40

export interface Resolved {
  /** The path on the host. No part of it but the last is a symlink. */
  readonly host: Buffer
  /** The names from the folder on. */
  readonly names: readonly Uint8Array[]
  /** `undefined` when only the last name is missing. */
  readonly stats: BigIntStats | undefined
}

/** A path on the host; `root` is without its final slash. */
export function hostPath(root: Buffer, names: readonly Uint8Array[]): Buffer {
  if (names.length === 0) return root.length === 0 ? Buffer.from('/') : root
  return Buffer.concat([root, joinNames(names)])
}

export async function lstatOrNothing(host: Buffer): Promise<BigIntStats | undefined> {
  try {
    return await lstat(host, { bigint: true })
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined
    throw error
  }
}

/** Walks a path in a folder of the host as a process in a chroot would, and never out of it. */
export async function resolveInFolder(root: Buffer, path: GuestPath, follow: boolean): Promise<Resolved> {
  const split = splitPath(path)
  const pending = [...split.names].reverse()
  const top = await lstatOrNothing(hostPath(root, []))
  if (!top?.isDirectory()) throw new DrydiskError('ENOTDIR', `${printable(root)} is not a directory`)
  /** The directories on the way with what lstat said of each. */
  let names: Uint8Array[] = []
  let seen: BigIntStats[] = [top]
  let stats: BigIntStats | undefined = top
  let symlinks = 0
  let mustBeDirectory = split.mustBeDirectory
  for (let name = pending.pop(); name; name = pending.pop()) {
    if (!stats) throw new DrydiskError('ENOENT', 'no such file or directory')
    if (!stats.isDirectory()) throw new DrydiskError('ENOTDIR', 'a part of the path is not a directory')
    if (isDot(name)) continue
    if (isDotDot(name)) {
      if (names.pop()) seen.pop()
      stats = seen.at(-1)
      continue
    }
    const child = [...names, name]
    const found = await lstatOrNothing(hostPath(root, child))
    const isLast = pending.length === 0
    if (found?.isSymbolicLink() && (!isLast || follow || mustBeDirectory)) {
      if (++symlinks > MAX_SYMLINKS) throw new DrydiskError('ELOOP', 'more than 40 symlinks on the way')
      const target = await readlink(hostPath(root, child), { encoding: 'buffer' })
      const inner = splitPath(target)
      if (isLast) mustBeDirectory ||= inner.mustBeDirectory
      for (const one of [...inner.names].reverse()) pending.push(one)
      if (target[0] === 0x2f) {
        names = []
        seen = [top]
        stats = top
      }
      continue
    }
    names = child
    stats = found
    if (found) seen.push(found)
  }
  if (mustBeDirectory && stats && !stats.isDirectory())
    throw new DrydiskError('ENOTDIR', 'a part of the path is not a directory')
  return { host: hostPath(root, names), names, stats }
}
