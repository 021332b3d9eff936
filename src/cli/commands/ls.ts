import type { Command } from 'commander'
import { compareBytes, printable, toBytes } from '../../bytes/names.ts'
import type { FileType } from '../../filesystem/filesystem.ts'
import type { GuestFs, GuestStats } from '../../guest/guest-fs.ts'
import { childPath, splitPath } from '../../guest/guest-path.ts'
import { AlreadyReported, describe } from '../errors.ts'
import { longLine, type OwnerNames, ownerNames, unknownLine } from '../long-listing.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { isoTime, jsonName, jsonPath, print, printJson, warn } from '../output.ts'
import { readGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

interface LsOptions extends ImageOptions {
  readonly long?: boolean
  readonly recursive?: boolean
  readonly directory?: boolean
  readonly numericUidGid?: boolean
}

interface Item {
  readonly name: Uint8Array
  readonly type: FileType
  /** `undefined` where they cannot be had, or are not asked for. */
  readonly stats: GuestStats | undefined
  readonly target: Uint8Array | undefined
}

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image, or IMAGE:PATH')
    .argument('[paths...]', 'files and directories in the guest; / when left out')
    .option('-l, --long', 'type, mode, links, owner, group, size, time (UTC) and link target')
    .option('-R, --recursive', 'directories below, too')
    .option('-d, --directory', 'directories themselves, not what is in them')
    .option('-n, --numeric-uid-gid', 'with -l: numbers of owner and group')
    .addHelpText(
      'after',
      `
Every name is listed, those that begin with a dot too. Control characters and bytes that are not UTF-8 print as \\xNN.
With --json: {"listings": [{"path", "entries": [{"name", "type", "mode", "uid", "gid", "nlink", "size", "mtime", "ino",
"target"?, "rdev"?}]}], "errors": […]}.

Examples:
  drydisk ls disk.qcow2 /etc
  drydisk ls -l disk.qcow2:/boot
  drydisk ls -lR -a disk.qcow2 /etc/cloud`,
    )
    .action(async (_image: string, _paths: string[], options: LsOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      const all = await readGuest(image, options, ({ fs }) =>
        new Lister(fs, options).run(paths.length > 0 ? paths : ['/']),
      )
      if (!all) throw new AlreadyReported()
    })
}

class Lister {
  readonly #fs: GuestFs
  readonly #options: LsOptions
  readonly #listings: unknown[] = []
  readonly #errors: { path: string; code: string; message: string }[] = []
  #names: OwnerNames | undefined
  #printed = false
  #text = ''

  constructor(fs: GuestFs, options: LsOptions) {
    this.#fs = fs
    this.#options = options
  }

  get #wantsStats(): boolean {
    return (this.#options.long || this.#options.json) ?? false
  }

  async run(paths: readonly string[]): Promise<boolean> {
    if (this.#options.long && !this.#options.numericUidGid && !this.#options.json)
      this.#names = await ownerNames(this.#fs)
    const directories: Uint8Array[] = []
    const files: Item[] = []
    for (const path of paths)
      await this.#try(path, async () => {
        const bytes = toBytes(path)
        const stats =
          this.#options.directory || this.#options.long
            ? await this.#fs.lstat(path)
            : await this.#fs.stat(path)
        if (stats.isDirectory() && !this.#options.directory) directories.push(bytes)
        else files.push({ name: bytes, type: stats.type, stats, target: await this.#target(bytes, stats) })
      })
    if (files.length > 0) await this.#show(undefined, files)
    const headings = this.#options.recursive || paths.length > 1
    for (const directory of directories) await this.#list(directory, headings ?? false, new Set())
    if (this.#options.json) await printJson({ listings: this.#listings, errors: this.#errors })
    else await this.#flush()
    return this.#errors.length === 0
  }

  async #list(path: Uint8Array, heading: boolean, above: Set<string>): Promise<void> {
    const items: Item[] = []
    let key = ''
    await this.#try(path, async () => {
      const { dev, ino } = await this.#fs.stat(path)
      key = `${dev}:${ino}`
      for (const { name, type } of await this.#fs.readdir(path)) {
        const child = childPath(path, name)
        const item = { name, type, stats: undefined, target: undefined }
        if (!this.#wantsStats) items.push(item)
        else
          await this.#try(child, async () => {
            const stats = await this.#fs.lstat(child)
            items.push({ ...item, stats, target: await this.#target(child, stats) })
          })
        // It is there even though more cannot be said: another filesystem is mounted on it, or its inode is damaged.
        if (items.at(-1)?.name !== name) items.push(item)
      }
      items.sort((a, b) => compareBytes(a.name, b.name))
      await this.#show(heading || this.#options.json ? path : undefined, items)
    })
    // A damaged filesystem may have a directory inside itself.
    if (!this.#options.recursive || key === '' || above.has(key)) return
    above.add(key)
    for (const { name, type, stats } of items)
      if (type === 'directory' && (stats || !this.#wantsStats))
        await this.#list(childPath(path, name), true, above)
    above.delete(key)
  }

  async #try(path: string | Uint8Array, step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      const { code, message } = describe(error)
      if (code === 'ERR_INTERNAL') throw error
      this.#errors.push({ path: printable(path), code, message })
      if (!this.#options.json) {
        await this.#flush()
        warn(message)
      }
    }
  }

  async #target(path: Uint8Array, stats: GuestStats): Promise<Uint8Array | undefined> {
    return this.#wantsStats && stats.isSymbolicLink() ? this.#fs.readlink(path) : undefined
  }

  async #show(heading: Uint8Array | undefined, items: readonly Item[]): Promise<void> {
    if (this.#options.json) {
      this.#listings.push({
        ...(heading ? jsonPath(absolute(heading)) : { path: null }),
        entries: items.map(jsonItem),
      })
      return
    }
    if (heading) this.#text += `${this.#printed ? '\n' : ''}${printable(heading)}:\n`
    this.#printed = true
    const { long } = this.#options
    for (const { name, type, stats, target } of items) {
      const line = stats ? longLine(name, stats, target, this.#names) : unknownLine(name, type)
      this.#text += `${long ? line : printable(name)}\n`
    }
    if (this.#text.length > 1 << 16) await this.#flush()
  }

  async #flush(): Promise<void> {
    const text = this.#text
    this.#text = ''
    if (text !== '') await print(text)
  }
}

function absolute(path: Uint8Array): Uint8Array {
  return splitPath(path).names.reduce<Uint8Array>((at, name) => childPath(at, name), toBytes('/'))
}

function jsonItem({ name, type, stats, target }: Item): unknown {
  if (!stats) return { ...jsonName(name), type }
  return {
    ...jsonName(name),
    type: stats.type,
    mode: (stats.mode & 0o7777).toString(8).padStart(4, '0'),
    uid: stats.uid,
    gid: stats.gid,
    nlink: stats.nlink,
    size: stats.size,
    mtime: isoTime(stats.mtimeNs),
    ino: stats.ino,
    ...(target ? { target: jsonName(target).name } : {}),
    ...(stats.isBlockDevice() || stats.isCharacterDevice() ? { rdev: stats.rdev } : {}),
  }
}
