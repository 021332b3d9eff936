import { byteKey } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { CodePage } from './code-page.ts'
import { ENTRY_SIZE, kindOf, ShortEntry } from './directory-entry.ts'
import { LongNameReader } from './long-name.ts'
import { shortNameText } from './short-name.ts'
import { foldName, withoutTrailingDots } from './utf16-name.ts'

/** A name in a directory: its entries and what they spell. */
export interface NamedEntry {
  /** Indexes of its first entry and of its short one, which is the last. */
  readonly first: number
  readonly short: number
  readonly name: string
  /** The short name as text; the same as `name` where there is no long one. */
  readonly alias: string
  /** 11 bytes as `byteKey`. */
  readonly shortKey: string
  readonly isDirectory: boolean
}

/** Of the first two entries of every directory but the root. */
export const DOT_NAMES = ['.          ', '..         ']

function keyOf(name: string): string {
  return foldName(withoutTrailingDots(name))
}

/** The names of one directory, and which of its entries are free. */
export class DirectoryIndex {
  /** Index of the first entry of all that were never used: there is nothing from there on. */
  end = 0
  /** The volume's label, where the directory has one (the root's alone counts). */
  label: string | undefined
  readonly #used: boolean[] = []
  readonly #entries = new Map<number, NamedEntry>()
  readonly #names = new Map<string, NamedEntry>()
  readonly #aliases = new Map<string, NamedEntry>()
  readonly #shortKeys = new Map<string, NamedEntry>()
  #directories = 0
  #codePage: CodePage
  #reader = new LongNameReader()
  /** Nothing before it is free. */
  #firstFree = 0

  constructor(codePage: CodePage) {
    this.#codePage = codePage
  }

  /** In the order of the directory. */
  entries(): readonly NamedEntry[] {
    return [...this.#entries.values()].sort((a, b) => a.short - b.short)
  }

  get size(): number {
    return this.#entries.size
  }

  get directories(): number {
    return this.#directories
  }

  /** By the long name or the short one, whatever the case. */
  find(name: string): NamedEntry | undefined {
    const key = keyOf(name)
    return this.#names.get(key) ?? this.#aliases.get(key)
  }

  /** Whether a short name is taken. */
  hasShort(bytes: Uint8Array): boolean {
    return this.#shortKeys.has(byteKey(bytes))
  }

  /**
   * Takes in more of the directory, from where the last piece ended.
   * @returns whether there is more: `false` after the end mark.
   */
  read(bytes: Uint8Array, where: string): boolean {
    for (let at = 0; at + ENTRY_SIZE <= bytes.length; at += ENTRY_SIZE) {
      const kind = kindOf(bytes, at)
      if (kind === 'end') return false
      const index = this.end++
      this.#used[index] = kind !== 'deleted'
      if (kind === 'long-name') this.#reader.add(index, bytes.subarray(at, at + ENTRY_SIZE))
      else if (kind === 'short') this.#readShort(index, bytes.slice(at, at + ENTRY_SIZE), where)
      else {
        this.#reader.reset()
        if (kind === 'label')
          this.label ??= this.#codePage
            .decode(new ShortEntry(bytes.slice(at, at + ENTRY_SIZE)).DIR_Name)
            .trimEnd()
      }
    }
    return true
  }

  #readShort(index: number, bytes: Uint8Array, where: string): void {
    const entry = new ShortEntry(bytes)
    const raw = byteKey(bytes.subarray(0, 11))
    const long = this.#reader.take(bytes)
    if (DOT_NAMES.includes(raw)) return
    const alias = this.textOf(entry)
    const name = long?.name ?? alias
    if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0'))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `FAT: entry ${index} of ${where} has a short name that is no file name; run fsck.fat`,
        { structure: 'directory', entry: index },
      )
    this.add({
      first: long?.first ?? index,
      short: index,
      name,
      alias,
      shortKey: byteKey(entry.DIR_Name),
      isDirectory: entry.isDirectory,
    })
  }

  /** The short name as text. */
  textOf(entry: ShortEntry): string {
    return shortNameText(entry.DIR_Name, entry.DIR_NTRes, this.#codePage)
  }

  /** A name was written to entries that were free. */
  add(entry: NamedEntry): void {
    for (let index = entry.first; index <= entry.short; index++) this.#used[index] = true
    this.end = Math.max(this.end, entry.short + 1)
    this.#entries.set(entry.short, entry)
    if (entry.isDirectory) this.#directories++
    // Of two that are the same the first counts, as in every other system.
    put(this.#names, keyOf(entry.name), entry)
    put(this.#aliases, keyOf(entry.alias), entry)
    put(this.#shortKeys, entry.shortKey, entry)
  }

  /** Its entries were marked as free. */
  remove(entry: NamedEntry): void {
    for (let index = entry.first; index <= entry.short; index++) this.#used[index] = false
    this.#firstFree = Math.min(this.#firstFree, entry.first)
    this.#entries.delete(entry.short)
    if (entry.isDirectory) this.#directories--
    take(this.#names, keyOf(entry.name), entry)
    take(this.#aliases, keyOf(entry.alias), entry)
    take(this.#shortKeys, entry.shortKey, entry)
  }

  /**
   * The first of `count` free entries in a row; the last of them may lie behind the directory's present end.
   * @param besides entries that count as free: of a name that is about to go.
   */
  findFree(count: number, besides?: NamedEntry): number {
    const isFree = (index: number) =>
      !this.#used[index] || (besides !== undefined && index >= besides.first && index <= besides.short)
    while (this.#firstFree < this.end && this.#used[this.#firstFree]) this.#firstFree++
    let start = besides === undefined ? this.#firstFree : Math.min(this.#firstFree, besides.first)
    for (let index = start; index < this.end && index - start < count; index++)
      if (!isFree(index)) start = index + 1
    return start
  }
}

function put(map: Map<string, NamedEntry>, key: string, entry: NamedEntry): void {
  if (!map.has(key)) map.set(key, entry)
}

function take(map: Map<string, NamedEntry>, key: string, entry: NamedEntry): void {
  if (map.get(key) === entry) map.delete(key)
}
