import { byteKey, bytesOfKey } from '../../bytes/names.ts'
import { isDrydiskError } from '../../errors.ts'
import type { FileType } from '../../filesystem/filesystem.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { isPattern, matchesGlob } from '../glob.ts'
import { displayPath } from '../guest-files.ts'
import { statAt } from './lenient.ts'

/** Folders that a distribution may have as symlinks: `/home` → `/var/home`, `/var/run` → `/run`, `/var/mail` → `spool/mail`. */
const LAYOUT = /^\/(?:[^/]+|var\/[^/]+|var\/spool\/mail)$/

/** Where such a symlink leads astray: the system itself and its programs, not a place of logs, spools or homes. */
const SYSTEM = /^\/(?:(?:bin|boot|dev|etc|lib\d*|opt|proc|sbin|sys|usr)(?:\/.*)?)?$/

/**
 * What is where in a guest. Each folder is read once, however many patterns name it. Paths are absolute, one character per byte (names
 * are bytes), without slashes at their end.
 *
 * Symlinks are followed where the layout of a distribution has them, and nowhere else: a folder of a user or of a service that is a
 * symlink would have a removal go on somewhere else.
 */
export class GuestTree {
  readonly guest: GuestFs
  readonly #folders = new Map<string, Map<string, FileType>>()
  readonly #followed = new Map<string, boolean>()
  /** Symlinks that a pattern would have led through. */
  readonly passedOver = new Set<string>()

  constructor(guest: GuestFs) {
    this.guest = guest
  }

  /** Names, by byte order, and types, or none where there is no such folder. */
  async list(folder: string): Promise<ReadonlyMap<string, FileType>> {
    const known = this.#folders.get(folder)
    if (known) return known
    const entries = new Map((await this.#read(folder)).sort(([a], [b]) => (a < b ? -1 : 1)))
    this.#folders.set(folder, entries)
    return entries
  }

  async #read(folder: string): Promise<[name: string, type: FileType][]> {
    const found: [string, FileType][] = []
    try {
      for (const { name, type } of await this.guest.readdir(bytesOfKey(folder)))
        found.push([byteKey(name), type])
    } catch (error) {
      if (!isDrydiskError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) throw error
    }
    return found
  }

  /** The type of what is there, itself; `undefined` where there is nothing or only a forbidden symlink leads there. */
  async typeOf(path: string): Promise<FileType | undefined> {
    const { folder, name } = parts(path)
    if (name === '') return 'directory'
    return (await this.#isPlace(folder)) ? (await this.list(folder)).get(name) : undefined
  }

  /** Regular files and folders alike; by byte order. */
  async glob(pattern: string): Promise<string[]> {
    const components = pattern.split('/').filter(part => part !== '')
    let folders = ['/']
    for (const [index, component] of components.entries()) {
      const last = index === components.length - 1
      const next: string[] = []
      for (const folder of folders) {
        const entries = await this.list(folder)
        for (const name of matching(entries, component)) {
          const path = join(folder, name)
          if (last || (await this.#isFolder(path, entries.get(name)))) next.push(path)
        }
      }
      folders = next
    }
    return folders.sort()
  }

  /** The folders that match. */
  async folders(pattern: string): Promise<string[]> {
    const found: string[] = []
    for (const path of await this.glob(pattern)) if (await this.#isPlace(path)) found.push(path)
    return found
  }

  /** Every folder from `top` on (not through symlinks below it, each once), with its entries in no order. */
  async *walk(top: string): AsyncGenerator<{ folder: string; entries: [name: string, type: FileType][] }> {
    if (!(await this.#isPlace(top))) return
    const seen = new Set<string>()
    const waiting = [top]
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      // A damaged directory may hold itself.
      const stats = await statAt(this.guest, bytesOfKey(folder))
      const id = `${stats?.dev}:${stats?.ino}`
      if (!stats || seen.has(id)) continue
      seen.add(id)
      // Not kept: a tree that is walked may be large.
      const known = this.#folders.get(folder)
      const entries = known ? [...known] : await this.#read(folder)
      yield { folder, entries }
      const below = entries.flatMap(([name, type]) => (type === 'directory' ? [name] : []))
      for (const name of below.sort().reverse()) waiting.push(join(folder, name))
    }
  }

  /** Forgets what is gone. (Where a symlink of the layout gives it another name, that one stays known: removing it again does nothing.) */
  removed(path: string): void {
    const { folder, name } = parts(path)
    this.#folders.get(folder)?.delete(name)
    for (const known of this.#folders.keys())
      if (known === path || known.startsWith(`${path}/`)) this.#folders.delete(known)
  }

  /** After edits by others. */
  forget(): void {
    this.#folders.clear()
    this.#followed.clear()
  }

  async #isFolder(path: string, type: FileType | undefined): Promise<boolean> {
    return type === 'directory' || (type === 'symlink' && (await this.#follows(path)))
  }

  /** Whether a folder may be entered by this path. */
  async #isPlace(folder: string): Promise<boolean> {
    if (folder === '/') return true
    const { folder: above, name } = parts(folder)
    if (!(await this.#isPlace(above))) return false
    return this.#isFolder(folder, (await this.list(above)).get(name))
  }

  async #follows(path: string): Promise<boolean> {
    const known = this.#followed.get(path)
    if (known !== undefined) return known
    let follows = false
    try {
      const bytes = bytesOfKey(path)
      if ((await this.guest.stat(bytes)).isDirectory()) {
        follows = LAYOUT.test(path) && !SYSTEM.test(byteKey(await this.guest.realpath(bytes)))
        if (!follows) this.passedOver.add(displayPath(bytes))
      }
    } catch (error) {
      if (!isDrydiskError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) throw error
    }
    this.#followed.set(path, follows)
    return follows
  }
}

function matching(entries: ReadonlyMap<string, FileType>, component: string): string[] {
  const pattern = bytesOfKey(component)
  if (!isPattern(pattern)) return entries.has(component) ? [component] : []
  return [...entries.keys()].filter(name => matchesGlob(pattern, bytesOfKey(name)))
}

export function join(folder: string, name: string): string {
  return folder === '/' ? `/${name}` : `${folder}/${name}`
}

/** Of an absolute path without slashes at its end. */
export function parts(path: string): { folder: string; name: string } {
  const slash = path.lastIndexOf('/')
  return { folder: slash <= 0 ? '/' : path.slice(0, slash), name: path.slice(slash + 1) }
}
