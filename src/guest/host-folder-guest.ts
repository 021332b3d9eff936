import type { BigIntStats } from 'node:fs'
import {
  appendFile,
  chmod,
  chown,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  readdir,
  readlink,
  rename,
  rm,
  rmdir,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { printable, toBytes } from '../bytes/names.ts'
import { DrydiskError, type ErrorCode, isDrydiskError } from '../errors.ts'
import type { DeviceNumber } from '../filesystem/filesystem.ts'
import type { GuestDirent, GuestFs, GuestPath, GuestStats, NewFileOptions } from './guest-fs.ts'
import { joinNames, pathText, splitPath } from './guest-path.ts'
import { typeOfMode } from './guest-stats.ts'
import { decodeText, encodeText } from './guest-text.ts'
import { guestStats } from './host-folder-stats.ts'
import { hostPath, lstatOrNothing, type Resolved, resolveInFolder } from './host-folder-walk.ts'

/**
 * A directory tree of the host as a guest: a chroot made by walking, so that an absolute symlink or `..` in the tree
 * never leads out of it. The tree must not be changed by others meanwhile. node:fs has no extended attributes and
 * makes no device nodes: those calls are `ENOTSUP`. Owners are set only when the process runs as root.
 */
export class HostFolderGuest implements GuestFs {
  readonly writable: boolean
  readonly #root: Buffer
  readonly #mayChown = process.getuid?.() === 0

  constructor(root: string, options: { writable?: boolean } = {}) {
    this.#root = Buffer.from(root === '/' ? '' : root.replace(/\/+$/, ''))
    this.writable = options.writable ?? true
  }

  #resolve(path: GuestPath, follow: boolean): Promise<Resolved> {
    return resolveInFolder(this.#root, path, follow)
  }

  async #at<T>(
    path: GuestPath,
    follow: boolean,
    step: (host: Buffer, stats: BigIntStats) => Promise<T>,
  ): Promise<T> {
    return this.#do(path, async () => {
      const { host, stats } = await this.#resolve(path, follow)
      if (!stats) throw new DrydiskError('ENOENT', 'no such file or directory')
      return step(host, stats)
    })
  }

  /** Runs a step; an error of node:fs comes back as a DrydiskError with the guest's path, not the host's. */
  async #do<T>(path: GuestPath, step: () => Promise<T>): Promise<T> {
    try {
      return await step()
    } catch (error) {
      if (isDrydiskError(error) && error.context.path !== undefined) throw error
      const code = (error as { code?: unknown }).code
      if (typeof code !== 'string') throw error
      const words =
        error instanceof Error ? error.message.replace(/^E[A-Z]+: |, \w+ (<Buffer.*|'.*)$/g, '') : code
      throw new DrydiskError(
        code as ErrorCode,
        `${printable(toBytes(path))}: ${words}`,
        { path: pathText(path) },
        error,
      )
    }
  }

  #change<T>(
    path: GuestPath,
    follow: boolean,
    step: (host: Buffer, stats: BigIntStats) => Promise<T>,
  ): Promise<T> {
    this.#checkWritable(path)
    return this.#at(path, follow, step)
  }

  #checkWritable(path: GuestPath): void {
    if (!this.writable)
      throw new DrydiskError('EROFS', `${printable(toBytes(path))}: opened for reading only`, {
        path: pathText(path),
      })
  }

  /** Where something new goes; gives it its owner and mode after `step` made it. */
  #make(
    path: GuestPath,
    options: NewFileOptions,
    mode: number | undefined,
    step: (host: Buffer) => Promise<unknown>,
  ): Promise<void> {
    return this.#do(path, async () => {
      this.#checkWritable(path)
      const { host, stats } = await this.#resolve(path, false)
      if (stats) throw new DrydiskError('EEXIST', 'exists already')
      await step(host)
      await this.#own(host, options, mode)
    })
  }

  async #own(host: Buffer, options: NewFileOptions, mode: number | undefined): Promise<void> {
    if (this.#mayChown) {
      const made = await lstat(host)
      await lchown(host, options.uid ?? 0, options.gid ?? made.gid)
    }
    // The umask of this process is no part of the guest.
    if (mode !== undefined) await chmod(host, mode)
  }

  readFile(path: GuestPath): Promise<Uint8Array> {
    return this.#at(path, true, async (host, stats) => {
      checkFile(stats)
      const handle = await open(host, 'r')
      try {
        return new Uint8Array(await handle.readFile())
      } finally {
        await handle.close()
      }
    })
  }

  async readText(path: GuestPath): Promise<string> {
    return decodeText(await this.readFile(path))
  }

  writeFile(path: GuestPath, data: Uint8Array | string, options: NewFileOptions = {}): Promise<void> {
    return this.#content(path, options, host => writeFile(host, data))
  }

  async writeText(path: GuestPath, text: string, options: NewFileOptions = {}): Promise<void> {
    const present = (await this.exists(path)) ? await this.readFile(path) : undefined
    await this.writeFile(path, encodeText(text, present), options)
  }

  appendFile(path: GuestPath, data: Uint8Array | string, options: NewFileOptions = {}): Promise<void> {
    return this.#content(path, options, host => appendFile(host, data))
  }

  #content(path: GuestPath, options: NewFileOptions, step: (host: Buffer) => Promise<void>): Promise<void> {
    return this.#do(path, async () => {
      this.#checkWritable(path)
      const { host, stats } = await this.#resolve(path, true)
      if (stats) checkFile(stats)
      await step(host)
      if (!stats) await this.#own(host, options, options.mode ?? 0o644)
    })
  }

  readAt(path: GuestPath, offset: number, into: Uint8Array): Promise<number> {
    return this.#at(path, true, async (host, stats) => {
      checkFile(stats)
      const handle = await open(host, 'r')
      try {
        let done = 0
        while (done < into.length) {
          const { bytesRead } = await handle.read(into, done, into.length - done, offset + done)
          if (bytesRead === 0) break
          done += bytesRead
        }
        return done
      } finally {
        await handle.close()
      }
    })
  }

  writeAt(path: GuestPath, offset: number, from: Uint8Array): Promise<void> {
    return this.#change(path, true, async (host, stats) => {
      checkFile(stats)
      const handle = await open(host, 'r+')
      try {
        let done = 0
        while (done < from.length)
          done += (await handle.write(from, done, from.length - done, offset + done)).bytesWritten
      } finally {
        await handle.close()
      }
    })
  }

  truncate(path: GuestPath, size: number): Promise<void> {
    return this.#change(path, true, async (host, stats) => {
      checkFile(stats)
      await truncate(host, size)
    })
  }

  readdir(path: GuestPath): Promise<GuestDirent[]> {
    return this.#at(path, true, async host => {
      const out: GuestDirent[] = []
      for (const name of await readdir(host, { encoding: 'buffer' })) {
        const stats = await lstatOrNothing(Buffer.concat([host, Buffer.from('/'), name]))
        if (stats) out.push({ name: new Uint8Array(name), type: typeOfMode(Number(stats.mode)) })
      }
      return out
    })
  }

  stat(path: GuestPath): Promise<GuestStats> {
    return this.#at(path, true, async (_, stats) => guestStats(stats))
  }

  lstat(path: GuestPath): Promise<GuestStats> {
    return this.#at(path, false, async (_, stats) => guestStats(stats))
  }

  async exists(path: GuestPath): Promise<boolean> {
    try {
      await this.stat(path)
      return true
    } catch (error) {
      if (isDrydiskError(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false
      throw error
    }
  }

  readlink(path: GuestPath): Promise<Uint8Array> {
    return this.#at(path, false, async host => new Uint8Array(await readlink(host, { encoding: 'buffer' })))
  }

  realpath(path: GuestPath): Promise<Uint8Array> {
    return this.#do(path, async () => {
      const { names, stats } = await this.#resolve(path, true)
      if (!stats) throw new DrydiskError('ENOENT', 'no such file or directory')
      return joinNames(names)
    })
  }

  async mkdir(path: GuestPath, options: NewFileOptions & { recursive?: boolean } = {}): Promise<void> {
    const one = (at: GuestPath) => this.#make(at, options, options.mode ?? 0o755, host => mkdir(host))
    if (!options.recursive) return one(path)
    const { names } = splitPath(path)
    for (let i = 1; i <= names.length; i++) {
      const prefix = joinNames(names.slice(0, i))
      const { stats } = await this.#do(path, () => this.#resolve(prefix, true))
      if (!stats) await one(prefix)
      else if (!stats.isDirectory())
        throw new DrydiskError(
          i === names.length ? 'EEXIST' : 'ENOTDIR',
          `${pathText(prefix)} is not a directory`,
          {
            path: pathText(path),
          },
        )
    }
  }

  symlink(target: GuestPath, path: GuestPath): Promise<void> {
    return this.#make(path, {}, undefined, host => symlink(Buffer.from(toBytes(target)), host))
  }

  async link(existing: GuestPath, path: GuestPath): Promise<void> {
    const source = await this.#at(existing, false, async host => host)
    await this.#do(path, async () => {
      this.#checkWritable(path)
      const { host, stats } = await this.#resolve(path, false)
      if (stats) throw new DrydiskError('EEXIST', 'exists already')
      await link(source, host)
    })
  }

  async mknod(
    path: GuestPath,
    type: string,
    _device: DeviceNumber,
    _options?: NewFileOptions,
  ): Promise<void> {
    throw new DrydiskError(
      'ENOTSUP',
      `${printable(toBytes(path))}: Node.js cannot make a ${type} in a host folder`,
      {
        path: pathText(path),
      },
    )
  }

  unlink(path: GuestPath): Promise<void> {
    return this.#change(path, false, async (host, stats) => {
      if (stats.isDirectory()) throw new DrydiskError('EISDIR', 'is a directory')
      await unlink(host)
    })
  }

  rmdir(path: GuestPath): Promise<void> {
    return this.#change(path, false, host => this.#notRoot(host, () => rmdir(host)))
  }

  async rm(path: GuestPath, options: { recursive?: boolean; force?: boolean } = {}): Promise<void> {
    this.#checkWritable(path)
    const found = await this.#do(path, () => this.#resolve(path, false)).catch((error: unknown) => {
      if (options.force && isDrydiskError(error, 'ENOENT')) return undefined
      throw error
    })
    if (!found?.stats && options.force) return
    await this.#change(path, false, async (host, stats) => {
      if (!stats.isDirectory()) return unlink(host)
      if (!options.recursive) throw new DrydiskError('EISDIR', 'is a directory')
      await this.#notRoot(host, () => rm(host, { recursive: true }))
    })
  }

  async #notRoot(host: Buffer, step: () => Promise<void>): Promise<void> {
    if (host.equals(hostPath(this.#root, []))) throw new DrydiskError('EBUSY', 'is the root of the guest')
    await step()
  }

  async rename(from: GuestPath, to: GuestPath): Promise<void> {
    const source = await this.#change(from, false, async host => host)
    await this.#do(to, async () => {
      const { host } = await this.#resolve(to, false)
      await this.#notRoot(source, () => this.#notRoot(host, () => rename(source, host)))
    })
  }

  chmod(path: GuestPath, mode: number): Promise<void> {
    return this.#change(path, true, host => chmod(host, mode & 0o7777))
  }

  chown(path: GuestPath, uid: number, gid: number): Promise<void> {
    return this.#change(path, true, host => chown(host, uid, gid))
  }

  lchown(path: GuestPath, uid: number, gid: number): Promise<void> {
    return this.#change(path, false, host => lchown(host, uid, gid))
  }

  utimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void> {
    // The path is resolved, so that the one call serves both.
    return this.#change(path, true, host => lutimes(host, seconds(atimeNs), seconds(mtimeNs)))
  }

  lutimes(path: GuestPath, atimeNs: bigint, mtimeNs: bigint): Promise<void> {
    return this.#change(path, false, host => lutimes(host, seconds(atimeNs), seconds(mtimeNs)))
  }

  async listxattr(path: GuestPath): Promise<string[]> {
    return noXattrs(path)
  }
  async getxattr(path: GuestPath, _name: string): Promise<Uint8Array | undefined> {
    return noXattrs(path)
  }
  async setxattr(path: GuestPath, _name: string, _value: Uint8Array): Promise<void> {
    noXattrs(path)
  }
  async removexattr(path: GuestPath, _name: string): Promise<void> {
    noXattrs(path)
  }
}

function noXattrs(path: GuestPath): never {
  throw new DrydiskError(
    'ENOTSUP',
    `${printable(toBytes(path))}: Node.js has no extended attributes, so a host folder has none`,
    { path: pathText(path) },
  )
}

/** Numbers of seconds, as utimes of node:fs takes them; sub-microsecond parts are lost in the float. */
function seconds(ns: bigint): number {
  return Number(ns / 1000n) / 1e6
}

function checkFile(stats: BigIntStats): void {
  if (stats.isDirectory()) throw new DrydiskError('EISDIR', 'is a directory')
  // Opening a fifo would wait for ever, and a device is not the guest's content.
  if (!stats.isFile()) throw new DrydiskError('EINVAL', 'is a special file, which has no content on disk')
}
