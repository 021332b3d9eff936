import { constants } from 'node:fs'
import {
  chmod,
  type FileHandle,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  stat,
  symlink,
  unlink,
} from 'node:fs/promises'
import { printable } from '../bytes/names.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestStats } from '../guest/guest-fs.ts'
import { childPath, isDot, isDotDot } from '../guest/guest-path.ts'
import type { MountedGuest } from '../guest/mounted-guest.ts'
import { describe } from './errors.ts'

const CHUNK = 1 << 20

export interface CopyOutOptions {
  /** Owners (as root), setuid and setgid bits. */
  readonly archive: boolean
  /** Told of what is not copied; the rest goes on. */
  readonly problem: (path: Uint8Array, code: string, message: string) => void
}

/**
 * Copies from a guest to the host. Names and links in a guest are hostile: what is made lies below the target and nowhere
 * else. No symlink below the target is ever followed, whether it was there or was copied a moment before, and a name with
 * a slash or of dots is refused.
 */
export class CopyOut {
  readonly #guest: MountedGuest
  readonly #options: CopyOutOptions
  /** Where a file with several names went first. */
  readonly #links = new Map<string, Buffer>()
  readonly #mayChown = process.getuid?.() === 0
  copied = 0

  constructor(guest: MountedGuest, options: CopyOutOptions) {
    this.#guest = guest
    this.#options = options
  }

  /** `top`: the target is the user's own word, so a symlink there is followed. */
  async copy(source: Uint8Array, target: Buffer, top: boolean, above: readonly string[] = []): Promise<void> {
    const stats = await this.#guest.lstat(source)
    switch (stats.type) {
      case 'directory':
        return this.#directory(source, stats, target, top, above)
      case 'file':
        return this.#file(source, stats, target, top)
      case 'symlink':
        return this.#symlink(source, stats, target)
      default:
        this.#options.problem(
          source,
          'ENOTSUP',
          `${printable(source)}: a ${stats.type} is not copied: Node.js cannot make one`,
        )
    }
  }

  async #directory(
    source: Uint8Array,
    stats: GuestStats,
    target: Buffer,
    top: boolean,
    above: readonly string[],
  ): Promise<void> {
    const key = `${stats.dev}:${stats.ino}`
    if (above.includes(key))
      throw new DrydiskError('ERR_CORRUPT', `${printable(source)}: the directory contains itself`, {
        path: printable(source),
      })
    let made = true
    try {
      await mkdir(target, { mode: 0o700 })
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST') throw error
      made = false
      const there = top ? await stat(target) : await lstat(target)
      if (!there.isDirectory()) throw refused(target, 'is there and is no directory')
    }
    this.copied++
    for (const { name } of await this.#guest.readdir(source)) {
      const child = childPath(source, name)
      try {
        checkName(name)
        await this.copy(child, Buffer.concat([target, Buffer.from('/'), name]), false, [...above, key])
      } catch (error) {
        const { code, message } = describe(error)
        if (code === 'ERR_INTERNAL') throw error
        this.#options.problem(child, code, message)
      }
    }
    if (made) await this.#attributes(target, stats)
  }

  async #file(source: Uint8Array, stats: GuestStats, target: Buffer, top: boolean): Promise<void> {
    const key = `${stats.dev}:${stats.ino}`
    const first = stats.nlink > 1 ? this.#links.get(key) : undefined
    if (first) {
      await this.#makeWay(target)
      await link(first, target)
      this.copied++
      return
    }
    const handle = await this.#create(target, top)
    try {
      await this.#content(source, stats.size, handle)
      // By the handle: by the path it might be another file by now.
      if (this.#options.archive && this.#mayChown) await handle.chown(stats.uid, stats.gid)
      await handle.chmod(stats.mode & (this.#options.archive ? 0o7777 : 0o777))
      await handle.utimes(Number(stats.atimeNs / 1000n) / 1e6, Number(stats.mtimeNs / 1000n) / 1e6)
    } finally {
      await handle.close()
    }
    if (stats.nlink > 1) this.#links.set(key, target)
    this.copied++
  }

  /** A file that is new, or empty in place of one that was there; never what a symlink below the target points to. */
  async #create(target: Buffer, top: boolean): Promise<FileHandle> {
    const exclusive = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
    const nofollow = top ? 0 : constants.O_NOFOLLOW
    if (top) {
      const there = await stat(target).catch(() => undefined)
      if (there && !there.isDirectory()) return open(target, constants.O_WRONLY | constants.O_TRUNC)
    }
    await this.#makeWay(target)
    return open(target, exclusive | nofollow, 0o600)
  }

  /** Removes a file or link that is in the way; a directory stays, and is an error. */
  async #makeWay(target: Buffer): Promise<void> {
    const there = await lstat(target).catch(() => undefined)
    if (!there) return
    if (there.isDirectory()) throw refused(target, 'is a directory')
    await unlink(target)
  }

  async #content(source: Uint8Array, size: number, handle: FileHandle): Promise<void> {
    const chunk = new Uint8Array(Math.min(CHUNK, Math.max(size, 1)))
    for await (const run of this.#guest.extents(source)) {
      if (run.kind === 'hole' || run.kind === 'unwritten') continue
      const end = Math.min(run.offset + run.length, size)
      for (let at = run.offset; at < end; ) {
        const count = await this.#guest.readAt(
          source,
          at,
          chunk.subarray(0, Math.min(chunk.length, end - at)),
        )
        if (count === 0) break
        let written = 0
        while (written < count)
          written += (await handle.write(chunk, written, count - written, at + written)).bytesWritten
        at += count
      }
    }
    await handle.truncate(size)
  }

  async #symlink(source: Uint8Array, stats: GuestStats, target: Buffer): Promise<void> {
    await this.#makeWay(target)
    await symlink(Buffer.from(await this.#guest.readlink(source)), target)
    if (this.#options.archive && this.#mayChown) await lchown(target, stats.uid, stats.gid)
    await lutimes(target, Number(stats.atimeNs / 1000n) / 1e6, Number(stats.mtimeNs / 1000n) / 1e6)
    this.copied++
  }

  async #attributes(target: Buffer, stats: GuestStats): Promise<void> {
    if (this.#options.archive && this.#mayChown) await lchown(target, stats.uid, stats.gid)
    await chmod(target, stats.mode & (this.#options.archive ? 0o7777 : 0o777))
    await lutimes(target, Number(stats.atimeNs / 1000n) / 1e6, Number(stats.mtimeNs / 1000n) / 1e6)
  }
}

function checkName(name: Uint8Array): void {
  if (name.length === 0 || isDot(name) || isDotDot(name) || name.includes(0) || name.includes(0x2f))
    throw new DrydiskError('ERR_NOT_ALLOWED', `"${printable(name)}" is not a file name; it is not copied`, {
      name: printable(name),
    })
}

function refused(target: Buffer, why: string): DrydiskError {
  return new DrydiskError('EEXIST', `${printable(target)} ${why}`, { path: printable(target) })
}
