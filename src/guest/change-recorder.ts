import { byteKey, bytesOfKey, toBytes } from '../bytes/names.ts'
import { isDrydiskError } from '../errors.ts'
import type { DeviceNumber } from '../filesystem/filesystem.ts'
import { type Captured, capture, type GuestChange, listChanges } from './guest-changes.ts'
import type { GuestDirent, GuestFs, GuestPath, GuestStats, NewFileOptions } from './guest-fs.ts'
import { childPath, joinNames, splitPath } from './guest-path.ts'

/** Symlinks that lead to where a file will be made. */
const MAX_SYMLINKS = 40

/**
 * A GuestFs that passes everything on and remembers, before the first change to each path, what was there: so that
 * afterwards every difference can be listed, and shown as text. Memory holds the originals of changed files up to a limit
 * each.
 */
export class ChangeRecorder implements GuestFs {
  readonly #inner: GuestFs
  /** Keyed by `byteKey` of the real path; `undefined`: there was nothing. */
  readonly #originals = new Map<string, Captured | undefined>()
  readonly #renames = new Map<string, string>()

  constructor(inner: GuestFs) {
    this.#inner = inner
  }

  get writable(): boolean {
    return this.#inner.writable
  }

  /** What differs now from what was there at first, by path. */
  changes(): Promise<GuestChange[]> {
    return listChanges(this.#inner, this.#originals, this.#renames)
  }

  /** The path with every symlink but (unless `follow`) the last resolved, whether or not the last name is there. */
  async #key(path: GuestPath, follow: boolean): Promise<string> {
    let at = toBytes(path)
    for (let links = 0; links <= MAX_SYMLINKS; links++) {
      const { names, mustBeDirectory } = splitPath(at)
      const last = names.at(-1)
      if (!last || mustBeDirectory || byteKey(last) === '..' || byteKey(last) === '.')
        return byteKey(await this.#inner.realpath(at))
      const parent = await this.#inner.realpath(joinNames(names.slice(0, -1)))
      const real = childPath(parent, last)
      if (!follow) return byteKey(real)
      const target = await this.#inner.readlink(real).catch(() => undefined)
      if (!target) return byteKey(real)
      at = target[0] === 0x2f ? target : joinNames([...splitPath(parent).names, ...splitPath(target).names])
    }
    return byteKey(toBytes(path))
  }

  /** Remembers what is at a path. Where the way to it is missing, the change itself will fail and say so. */
  async #remember(path: GuestPath, follow: boolean, content = true): Promise<string | undefined> {
    let key: string
    try {
      key = await this.#key(path, follow)
    } catch (error) {
      if (isDrydiskError(error)) return undefined
      throw error
    }
    if (!this.#originals.has(key))
      this.#originals.set(key, await capture(this.#inner, bytesOfKey(key), content))
    return key
  }

  /** Remembers what lies below a directory that goes away. */
  async #rememberTree(path: GuestPath): Promise<void> {
    const key = await this.#remember(path, false, false)
    if (key === undefined || this.#originals.get(key)?.stats.type !== 'directory') return
    for (const entry of await this.#inner.readdir(bytesOfKey(key)))
      await this.#rememberTree(childPath(bytesOfKey(key), entry.name))
  }

  readFile(path: GuestPath): Promise<Uint8Array> {
    return this.#inner.readFile(path)
  }
  readText(path: GuestPath): Promise<string> {
    return this.#inner.readText(path)
  }
  readAt(path: GuestPath, offset: number, into: Uint8Array): Promise<number> {
    return this.#inner.readAt(path, offset, into)
  }
  readdir(path: GuestPath): Promise<GuestDirent[]> {
    return this.#inner.readdir(path)
  }
  stat(path: GuestPath): Promise<GuestStats> {
    return this.#inner.stat(path)
  }
  lstat(path: GuestPath): Promise<GuestStats> {
    return this.#inner.lstat(path)
  }
  exists(path: GuestPath): Promise<boolean> {
    return this.#inner.exists(path)
  }
  readlink(path: GuestPath): Promise<Uint8Array> {
    return this.#inner.readlink(path)
  }
  realpath(path: GuestPath): Promise<Uint8Array> {
    return this.#inner.realpath(path)
  }
  listxattr(path: GuestPath): Promise<string[]> {
    return this.#inner.listxattr(path)
  }
  getxattr(path: GuestPath, name: string): Promise<Uint8Array | undefined> {
    return this.#inner.getxattr(path, name)
  }

  async writeFile(path: GuestPath, data: Uint8Array | string, options?: NewFileOptions): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.writeFile(path, data, options)
  }
  async writeText(path: GuestPath, text: string, options?: NewFileOptions): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.writeText(path, text, options)
  }
  async appendFile(path: GuestPath, data: Uint8Array | string, options?: NewFileOptions): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.appendFile(path, data, options)
  }
  async writeAt(path: GuestPath, offset: number, from: Uint8Array): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.writeAt(path, offset, from)
  }
  async truncate(path: GuestPath, size: number): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.truncate(path, size)
  }

  async mkdir(path: GuestPath, options?: NewFileOptions & { recursive?: boolean }): Promise<void> {
    if (options?.recursive) {
      const { names } = splitPath(path)
      for (let i = 1; i < names.length; i++) {
        const prefix = joinNames(names.slice(0, i))
        if (await this.#inner.exists(prefix)) continue
        // One at a time, so that the next name has a parent whose real path is known.
        await this.#remember(prefix, false)
        await this.#inner.mkdir(prefix, options)
      }
    }
    await this.#remember(path, false)
    await this.#inner.mkdir(path, options)
  }
  async symlink(target: GuestPath, path: GuestPath): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.symlink(target, path)
  }
  async link(existing: GuestPath, path: GuestPath): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.link(existing, path)
  }
  async mknod(
    path: GuestPath,
    type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    device: DeviceNumber,
    options?: NewFileOptions,
  ): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.mknod(path, type, device, options)
  }
  async unlink(path: GuestPath): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.unlink(path)
  }
  async rmdir(path: GuestPath): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.rmdir(path)
  }
  async rm(path: GuestPath, options?: { recursive?: boolean; force?: boolean }): Promise<void> {
    if (options?.recursive) await this.#rememberTree(path)
    else await this.#remember(path, false)
    await this.#inner.rm(path, options)
  }
  async rename(from: GuestPath, to: GuestPath): Promise<void> {
    const source = await this.#remember(from, false)
    const target = await this.#remember(to, false)
    await this.#inner.rename(from, to)
    if (source !== undefined && target !== undefined && source !== target) this.#renames.set(target, source)
  }
  async chmod(path: GuestPath, mode: number): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.chmod(path, mode)
  }
  async chown(path: GuestPath, uid: number, gid: number): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.chown(path, uid, gid)
  }
  async lchown(path: GuestPath, uid: number, gid: number): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.lchown(path, uid, gid)
  }
  async utimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void> {
    await this.#remember(path, true)
    await this.#inner.utimes(path, atimeNs, mtimeNs)
  }
  async lutimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.lutimes(path, atimeNs, mtimeNs)
  }
  async setxattr(path: GuestPath, name: string, value: Uint8Array): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.setxattr(path, name, value)
  }
  async removexattr(path: GuestPath, name: string): Promise<void> {
    await this.#remember(path, false)
    await this.#inner.removexattr(path, name)
  }
}
