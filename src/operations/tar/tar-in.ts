import { byteKey, printable } from '../../bytes/names.ts'
import { concatBytes, equalBytes } from '../../config/text.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs, GuestPath, GuestStats } from '../../guest/guest-fs.ts'
import { displayPath, joinPath, lstatOrUndefined, splitPath } from '../guest-files.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { type ByteSource, bytesSource, writeFromSource } from '../source-tree.ts'
import { unpacked } from './decompress.ts'
import { readTar, type TarEntry, type TarPiece } from './read-tar.ts'

/** Arguments of the operation `tar-in`. */
export interface TarInArguments {
  /** Plain, or packed by gzip, xz or zstd. */
  readonly source: ByteSource
  /** An existing folder of the guest. */
  readonly folder: GuestPath
}

/**
 * As `tar -x --numeric-owner --xattrs` in the guest: what is there already is replaced where it differs. No entry leads out of
 * the folder: `..` in a path is refused, and so is a path through a link that the archive itself brought and that leads out.
 */
export const tarIn: Operation<TarInArguments> = {
  name: 'tar-in',
  summary: 'Unpack a tar archive into a folder of the guest, with owners, modes, times, links and attributes',
  async run(guest, { source, folder }) {
    const report = new ReportBuilder('tar-in')
    if (!(await guest.stat(folder)).isDirectory())
      throw new DrydiskError('ENOTDIR', `${displayPath(folder)} is not a folder`, {
        path: displayPath(folder),
      })
    const extraction = new Extraction(guest, await guest.realpath(folder), report)
    for await (const entry of readTar(unpacked(source))) await extraction.take(entry)
    await extraction.finish()
    const { created, changed } = extraction
    if (created + changed > 0)
      report.always('archive', source.name, `${created} created, ${changed} changed`, displayPath(folder))
    return report.build()
  },
}

/** Content of a file with several names is compared in memory up to here, so that its other names do not change with it. */
const MAX_COMPARED = 64 << 20
/** Above this a sparse file takes the place of what is there; below, it is compared with it. */
const MAX_EXPANDED = 256 << 20
const MAX_WARNINGS = 20
const SLASH = 0x2f

class Extraction {
  created = 0
  changed = 0
  readonly #guest: GuestFs
  readonly #folder: Uint8Array
  readonly #report: ReportBuilder
  /** Real paths of the links that the archive brought. */
  readonly #links = new Set<string>()
  readonly #parents = new Map<string, Uint8Array>()
  /** Folders get their times last: what is made in them changes these. */
  readonly #times: { path: Uint8Array; mtimeNs: bigint }[] = []
  #warnings = 0

  constructor(guest: GuestFs, folder: Uint8Array, report: ReportBuilder) {
    this.#guest = guest
    this.#folder = folder
    this.#report = report
  }

  async take(entry: TarEntry): Promise<void> {
    const names = namesOf(entry.path)
    const name = names.pop()
    if (name === undefined) {
      // `./`: the folder itself.
      if (entry.type === 'directory')
        await this.#attributes(this.#folder, entry, await this.#guest.lstat(this.#folder))
      return
    }
    const path = joinPath(await this.#parent(names), name)
    let existing = await lstatOrUndefined(this.#guest, path)
    // Through a link to a folder that was there before, as `tar --keep-directory-symlink`: /lib may be one.
    if (entry.type === 'directory' && existing?.isSymbolicLink() && !this.#links.has(byteKey(path))) {
      const behind = await this.#guest.stat(path).catch(() => undefined)
      if (behind?.isDirectory()) return this.#attributes(await this.#guest.realpath(path), entry, behind)
    }
    if (existing && !fits(existing, entry)) {
      if (existing.isDirectory())
        throw new DrydiskError(
          'EEXIST',
          `${displayPath(path)} is a folder where the archive has a ${entry.type}; remove or rename it first`,
          { path: displayPath(path) },
        )
      await this.#guest.unlink(path)
      this.#links.delete(byteKey(path))
      existing = undefined
      this.changed++
      this.created--
    }
    await this.#make(path, entry, existing)
  }

  async finish(): Promise<void> {
    for (const { path, mtimeNs } of this.#times.reverse()) {
      const stats = await lstatOrUndefined(this.#guest, path)
      if (stats?.isDirectory() && stats.mtimeNs !== mtimeNs) await this.#guest.lutimes(path, mtimeNs, mtimeNs)
    }
  }

  async #make(path: Uint8Array, entry: TarEntry, existing: GuestStats | undefined): Promise<void> {
    const guest = this.#guest
    const { mode, uid, gid } = entry
    let changed = false
    switch (entry.type) {
      case 'hard-link':
        return this.#hardLink(path, entry, existing)
      case 'file':
        changed = await this.#content(path, entry, existing)
        break
      case 'directory':
        if (!existing) await guest.mkdir(path, { mode, uid, gid })
        break
      case 'symlink':
        if (existing && !equalBytes(await guest.readlink(path), entry.linkTarget)) {
          await guest.unlink(path)
          changed = true
        }
        if (!existing || changed) await guest.symlink(entry.linkTarget, path)
        this.#links.add(byteKey(path))
        break
      default: {
        const made = await this.#device(path, entry, existing)
        if (made === undefined) return
        changed = made
      }
    }
    if (!existing) this.created++
    else if (changed) this.changed++
    const before = this.changed
    await this.#attributes(path, entry, await guest.lstat(path), !existing || changed)
    // One that is new or counted already is not counted again.
    if (!existing || changed) this.changed = before
  }

  /** Whether it was made in place of another one; `undefined` where none can be made: in a folder of the host. */
  async #device(
    path: Uint8Array,
    entry: TarEntry,
    existing: GuestStats | undefined,
  ): Promise<boolean | undefined> {
    const { type, device, mode, uid, gid } = entry
    if (type !== 'character-device' && type !== 'block-device' && type !== 'fifo') return false
    const same = existing?.rdev.major === device.major && existing.rdev.minor === device.minor
    if (existing && (same || type === 'fifo')) return false
    if (existing) await this.#guest.unlink(path)
    try {
      await this.#guest.mknod(path, type, device, { mode, uid, gid })
      return existing !== undefined
    } catch (error) {
      if (!isDrydiskError(error, 'ENOTSUP', 'EPERM')) throw error
      this.#warn(`${printable(entry.path)} was left out: ${error.message}`)
      return undefined
    }
  }

  async #hardLink(path: Uint8Array, entry: TarEntry, existing: GuestStats | undefined): Promise<void> {
    const names = namesOf(entry.linkTarget)
    const name = names.pop()
    if (name === undefined) throw refused(entry.path, 'is a link to the folder itself')
    const target = joinPath(await this.#parent(names), name)
    const stats = await lstatOrUndefined(this.#guest, target)
    if (!stats)
      throw new DrydiskError(
        'ENOENT',
        `${printable(entry.path)} in the archive is one more name of ${printable(entry.linkTarget)}, which is not there`,
      )
    if (existing && existing.ino === stats.ino && existing.dev === stats.dev) return
    if (existing) await this.#guest.unlink(path)
    await this.#guest.link(target, path)
    if (existing) this.changed++
    else this.created++
  }

  /** Whether the content had to be written. */
  async #content(path: Uint8Array, entry: TarEntry, existing: GuestStats | undefined): Promise<boolean> {
    const guest = this.#guest
    const { mode, uid, gid } = entry
    const large = entry.size > MAX_EXPANDED
    if (existing && existing.nlink > 1 && entry.size <= MAX_COMPARED) {
      const bytes = await whole(entry)
      if (existing.size === bytes.length && equalBytes(await guest.readFile(path), bytes)) return false
      await guest.unlink(path)
      await writeFromSource(guest, path, bytesSource('', bytes), { mode, uid, gid })
      return true
    }
    if (existing && (!entry.sparse || !large)) {
      const source = { name: '', chunks: () => expanded(entry) }
      return (await writeFromSource(guest, path, source)) !== 'same'
    }
    if (existing) await guest.unlink(path)
    await guest.writeFile(path, new Uint8Array(0), { mode, uid, gid })
    for await (const { offset, bytes } of entry.content()) await guest.writeAt(path, offset, bytes)
    await guest.truncate(path, entry.size)
    return true
  }

  /** Sets what differs. Owner before mode: chown takes setuid away. */
  async #attributes(path: Uint8Array, entry: TarEntry, stats: GuestStats, fresh = false): Promise<void> {
    const guest = this.#guest
    let changed = false
    if (stats.uid !== entry.uid || stats.gid !== entry.gid) {
      await guest.lchown(path, entry.uid, entry.gid)
      changed = true
    }
    if (
      entry.type !== 'symlink' &&
      ((changed || fresh ? await guest.lstat(path) : stats).mode & 0o7777) !== entry.mode
    ) {
      await guest.chmod(path, entry.mode)
      changed = true
    }
    if (await this.#xattrs(path, entry)) changed = true
    if (entry.hasAcl) this.#warn(`${printable(entry.path)} has an ACL, which was left out`)
    if (entry.type === 'directory') this.#times.push({ path, mtimeNs: entry.mtimeNs })
    else if (stats.mtimeNs !== entry.mtimeNs) await guest.lutimes(path, entry.mtimeNs, entry.mtimeNs)
    if (changed) this.changed++
  }

  async #xattrs(path: Uint8Array, entry: TarEntry): Promise<boolean> {
    let changed = false
    for (const [name, value] of entry.xattrs) {
      try {
        const present = await this.#guest.getxattr(path, name)
        if (present && equalBytes(present, value)) continue
        await this.#guest.setxattr(path, name, value)
        changed = true
      } catch (error) {
        if (!isDrydiskError(error, 'ENOTSUP', 'EPERM', 'ENOSPC', 'ERANGE')) throw error
        this.#warn(`${printable(entry.path)}: ${name} was left out: ${error.message}`)
      }
    }
    return changed
  }

  /** The real path of the folder of an entry, which is made where it is missing. */
  async #parent(names: readonly Uint8Array[]): Promise<Uint8Array> {
    const key = names.map(byteKey).join('/')
    const known = this.#parents.get(key)
    if (known && (await lstatOrUndefined(this.#guest, known))?.isDirectory()) return known
    let at = this.#folder
    for (const name of names) {
      const path = joinPath(at, name)
      const stats = await lstatOrUndefined(this.#guest, path)
      if (!stats) {
        await this.#guest.mkdir(path)
        at = path
        continue
      }
      const real = stats.isSymbolicLink() ? await this.#guest.realpath(path) : path
      if (stats.isSymbolicLink() && this.#links.has(byteKey(path)) && !isWithin(real, this.#folder))
        throw refused(
          path,
          `is a link of the archive to ${printable(real)}, and another entry goes through it`,
        )
      at = real
    }
    if (this.#parents.size > 10_000) this.#parents.clear()
    this.#parents.set(key, at)
    return at
  }

  #warn(warning: string): void {
    if (++this.#warnings <= MAX_WARNINGS) this.#report.warn(warning)
  }
}

function fits(existing: GuestStats, entry: TarEntry): boolean {
  return existing.type === entry.type || (entry.type === 'hard-link' && !existing.isDirectory())
}

function isWithin(path: Uint8Array, folder: Uint8Array): boolean {
  if (folder.length <= 1 || equalBytes(path, folder)) return true
  return (
    path.length > folder.length &&
    path[folder.length] === SLASH &&
    equalBytes(path.subarray(0, folder.length), folder)
  )
}

/** The components of a member's path; a leading slash counts for nothing, as for tar. */
function namesOf(path: Uint8Array): Uint8Array[] {
  if (path.includes(0)) throw refused(path, 'holds a NUL byte')
  const names: Uint8Array[] = []
  for (let rest = path; ; ) {
    const { folder, name } = splitPath(rest)
    if (name.length === 0) break
    const text = byteKey(name)
    if (text === '..') throw refused(path, 'leads upwards')
    if (text !== '.') names.unshift(name)
    if (folder.length === rest.length || (folder.length === 1 && folder[0] === SLASH)) break
    rest = folder
  }
  return names
}

function refused(path: Uint8Array, why: string): DrydiskError {
  return new DrydiskError('ERR_NOT_ALLOWED', `${printable(path)} in the archive ${why}`)
}

async function whole(entry: TarEntry): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const piece of expanded(entry)) parts.push(piece.slice())
  return concatBytes(parts)
}

const ZEROS = new Uint8Array(1 << 20)

/** The content with its holes as zeros. */
async function* expanded(entry: TarEntry): AsyncIterable<Uint8Array> {
  let at = 0
  const holes = function* (until: number): Iterable<Uint8Array> {
    for (; at < until; at += Math.min(ZEROS.length, until - at))
      yield ZEROS.subarray(0, Math.min(ZEROS.length, until - at))
  }
  const pieces: AsyncIterable<TarPiece> = entry.content()
  for await (const { offset, bytes } of pieces) {
    yield* holes(offset)
    yield bytes
    at = offset + bytes.length
  }
  yield* holes(entry.size)
}
