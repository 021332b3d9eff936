import {
  BlobStorage,
  ChangeRecorder,
  DrydiskError,
  describeChange,
  type FileType,
  type Guest,
  type GuestChange,
  type Image,
  isDrydiskError,
  type OperationReport,
  openImage,
  operate,
  PatchedStorage,
  patchedBlob,
  printable,
  unifiedDiff,
} from 'drydisk/portable'

/** A text field with more than this is slow. */
const TEXT_MAX = 2 << 20
/** A folder of an image may hold millions of names. */
const SHOWN_ENTRIES = 5000

export interface Entry {
  readonly name: string
  readonly path: Uint8Array
  readonly type: FileType
  /** Of a symbolic link: where it leads. */
  readonly target?: string
}

export interface Listing {
  readonly entries: readonly Entry[]
  /** Names that are not listed, for there are too many. */
  readonly more: number
}

/** What an editor shows of a file; `why` there is nothing to edit, else. */
export type Content = { readonly text: string } | { readonly why: string }

export interface ShownChange {
  readonly path: string
  readonly summary: string
  /** A unified diff. */
  readonly diff?: string
  readonly undo?: () => Promise<void>
}

export interface Facts {
  readonly file: string
  readonly format: string
  readonly diskSize: number
  readonly system: string
  readonly hostname: string
  /** The volume that was chosen to be opened. */
  readonly root?: string
  /** Why nothing of it can be changed. */
  readonly readOnly?: string
}

/** `root`: the volume with the files, where it is not found by itself. */
interface OpenOptions {
  readonly name?: string
  readonly root?: string
}

/**
 * A disk image that was dropped onto a page. It is read where it lies, piece by piece; what changes stays in memory until the patched
 * image is saved. Knows nothing of the page, so that tests can drive it.
 */
export class ImageSession {
  readonly facts: Facts
  readonly warnings: readonly string[]
  readonly #file: Blob
  /** Not where the image is only read. */
  readonly #patched: PatchedStorage | undefined
  readonly #image: Image
  readonly #fs: ChangeRecorder
  /** One thing at a time: an edit that overlaps another would see it half done. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(
    file: Blob,
    patched: PatchedStorage | undefined,
    image: Image,
    guest: Guest,
    facts: Facts,
    warnings: readonly string[],
  ) {
    this.#file = file
    this.#patched = patched
    this.#image = image
    this.#fs = new ChangeRecorder(guest.fs)
    this.facts = facts
    this.warnings = warnings
  }

  /**
   * What cannot be written is opened for reading, where that can be done.
   * Errors: what `openImage`, `volumes` and `guest` of it throw.
   */
  static async open(file: Blob, options: OpenOptions = {}): Promise<ImageSession> {
    try {
      return await ImageSession.#open(file, options)
    } catch (error) {
      const reading = await ImageSession.#open(file, options, errorText(error)).catch(() => undefined)
      if (reading === undefined) throw error
      return reading
    }
  }

  static async #open(file: Blob, options: OpenOptions, readOnly?: string): Promise<ImageSession> {
    const { name = 'name' in file ? String(file.name) : 'image', ...choice } = options
    const blob = new BlobStorage(file, name)
    const patched = readOnly === undefined ? new PatchedStorage(blob) : undefined
    const image = await openImage(patched ?? blob)
    try {
      const { warnings } = await image.volumes()
      const guest = await image.guest(choice)
      const { prettyName, hostname } = await guest.identity()
      const facts = {
        file: name,
        format: image.format,
        diskSize: image.size,
        system: prettyName,
        hostname,
        ...choice,
        ...(readOnly === undefined ? {} : { readOnly }),
      }
      return new ImageSession(file, patched, image, guest, facts, [...warnings, ...guest.warnings])
    } catch (error) {
      await image.close()
      throw error
    }
  }

  list(path: Uint8Array | string): Promise<Listing> {
    return this.#inTurn(async () => {
      const found = await this.#fs.readdir(path)
      const names = found
        .filter(({ name }) => !isDots(name))
        .map(one => ({ ...one, shown: printable(one.name) }))
      names.sort((a, b) => rank(a.type) - rank(b.type) || (a.shown < b.shown ? -1 : 1))
      const entries: Entry[] = []
      for (const { name, shown, type } of names.slice(0, SHOWN_ENTRIES)) {
        const whole = childPath(path, name)
        const target = type === 'symlink' ? printable(await this.#fs.readlink(whole)) : undefined
        entries.push({ name: shown, path: whole, type, ...(target === undefined ? {} : { target }) })
      }
      return { entries, more: names.length - entries.length }
    })
  }

  /** What is at a path, its symbolic links followed. */
  read(path: Uint8Array | string): Promise<Content> {
    return this.#inTurn(async () => {
      const stats = await this.#fs.stat(path)
      if (stats.isDirectory()) return { why: 'This link leads to a folder.' }
      if (!stats.isFile()) return { why: `A ${stats.type.replace('-', ' ')} has no content to edit.` }
      if (stats.size > TEXT_MAX)
        return { why: `${stats.size.toLocaleString('en')} bytes are too many for an editor on a page.` }
      const text = await this.#fs.readText(path)
      if (text.includes('\0'))
        return {
          why: `These ${stats.size.toLocaleString('en')} bytes are no text, so there is nothing to edit here.`,
        }
      if (lineEnds(text) === 'mixed')
        return { why: 'Its lines end in different ways, which a text field of a browser would not keep.' }
      return { text: text.replaceAll('\r\n', '\n') }
    })
  }

  /** Puts what came out of an editor in place of the file's text. */
  write(path: Uint8Array | string, text: string): Promise<void> {
    return this.#inTurn(async () => {
      const crlf = lineEnds(await this.#fs.readText(path)) === 'crlf'
      await this.#fs.writeText(path, crlf ? text.replaceAll('\n', '\r\n') : text)
    })
  }

  /** A new empty file. */
  create(path: string): Promise<void> {
    return this.#inTurn(async () => {
      if (!path.startsWith('/') || path.endsWith('/'))
        throw new DrydiskError('ERR_INVALID_ARGUMENT', `${path} is no path of a file; write it as /etc/motd`)
      if (await this.#fs.exists(path)) throw new DrydiskError('EEXIST', `${path} is there already`)
      await this.#fs.writeFile(path, '')
    })
  }

  remove(path: Uint8Array | string): Promise<void> {
    return this.#inTurn(() => this.#fs.unlink(path))
  }

  setHostname(hostname: string): Promise<OperationReport> {
    return this.#inTurn(() => operate.hostname(this.#fs, { hostname }))
  }

  enableSerialConsole(): Promise<OperationReport> {
    return this.#inTurn(() => operate.serialConsole(this.#fs, {}))
  }

  /** @param keys public keys, one per line. */
  injectSshKeys(user: string, keys: string): Promise<OperationReport> {
    return this.#inTurn(() => operate.sshInject(this.#fs, { user, keys }))
  }

  /** What differs from the image as it was opened. */
  changes(): Promise<ShownChange[]> {
    return this.#inTurn(async () => {
      const shown: ShownChange[] = []
      for (const change of await this.#fs.changes()) {
        const diff = await unifiedDiff(change)
        const undo = this.#undoing(change)
        shown.push({
          path: printable(change.path),
          summary: describeChange(change),
          ...(diff === undefined ? {} : { diff }),
          ...(undo === undefined ? {} : { undo: () => this.#inTurn(undo) }),
        })
      }
      return shown
    })
  }

  /**
   * The patched image. It refers to the file that was opened for all that did not change, and is whole by itself: what is edited later
   * does not show in it.
   */
  save(): Promise<Blob> {
    return this.#inTurn(async () => {
      if (this.#patched === undefined) throw new DrydiskError('EROFS', `${this.facts.file} is only read`)
      await this.#image.commit()
      return patchedBlob(this.#file, this.#patched)
    })
  }

  close(): Promise<void> {
    return this.#inTurn(() => this.#image.close())
  }

  /** Only what can be undone without a trace. */
  #undoing({ path, kind, type, aspects, before }: GuestChange): (() => Promise<void>) | undefined {
    if (type !== 'file') return undefined
    if (kind === 'created') return () => this.#fs.unlink(path)
    const { content } = before ?? {}
    if (kind !== 'changed' || !before || !content || aspects.some(aspect => aspect !== 'content'))
      return undefined
    return async () => {
      await this.#fs.writeFile(path, content)
      await this.#fs.utimes(path, before.stats.atimeNs, before.stats.mtimeNs)
    }
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(step, step)
    this.#last = mine
    return mine
  }
}

/** A path as it is shown. */
export function pathText(path: Uint8Array | string): string {
  return printable(path)
}

/** An error in words, for a person. */
export function errorText(error: unknown): string {
  if (isDrydiskError(error, 'ERR_NOT_ALLOWED'))
    return `${error.message}. Make it one file first: drydisk convert -O qcow2 IMAGE NEW`
  if (volumesToChoose(error).length > 0 && error instanceof Error)
    return error.message.replace(' (option root)', ':')
  return error instanceof Error ? error.message : String(error)
}

/** Where no Linux was found: the volumes that a person may choose from. */
export function volumesToChoose(error: unknown): readonly string[] {
  const volumes = isDrydiskError(error) ? error.context.volumes : undefined
  return typeof volumes === 'string' && volumes !== '' ? volumes.split(',') : []
}

function rank(type: FileType): number {
  return type === 'directory' ? 0 : 1
}

function isDots(name: Uint8Array): boolean {
  return name.length <= 2 && name.every(byte => byte === 0x2e)
}

/** Names are bytes, so paths are. */
function childPath(folder: Uint8Array | string, name: Uint8Array): Uint8Array {
  const parent = typeof folder === 'string' ? new TextEncoder().encode(folder) : folder
  const slash = parent.at(-1) === 0x2f ? 0 : 1
  const path = new Uint8Array(parent.length + slash + name.length).fill(0x2f)
  path.set(parent)
  path.set(name, parent.length + slash)
  return path
}

/** A text field turns every end of a line into `\n`. */
function lineEnds(text: string): 'lf' | 'crlf' | 'mixed' {
  if (!text.includes('\r')) return 'lf'
  return /\r(?!\n)|(?<!\r)\n/.test(text) ? 'mixed' : 'crlf'
}
