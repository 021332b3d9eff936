import type { InodeNumber } from './filesystem.ts'

/** Inodes whose marks lie in one array: neighbours mostly are marked together. */
const SPAN = 4096
const FILE = 1
const DIRECTORY = 2

/** A set of inodes that says which of them are directories. A byte for each. */
export class InodeMarks {
  readonly #spans = new Map<number, Uint8Array>()

  add(ino: InodeNumber, isDirectory: boolean): void {
    const number = Math.floor(ino / SPAN)
    const span = this.#spans.get(number) ?? new Uint8Array(SPAN)
    this.#spans.set(number, span)
    span[ino % SPAN] = isDirectory ? DIRECTORY : FILE
  }

  has(ino: InodeNumber): boolean {
    return this.#mark(ino) !== 0
  }

  hasDirectory(ino: InodeNumber): boolean {
    return this.#mark(ino) === DIRECTORY
  }

  #mark(ino: InodeNumber): number {
    return this.#spans.get(Math.floor(ino / SPAN))?.[ino % SPAN] ?? 0
  }
}
