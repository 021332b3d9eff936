import { DrydiskError } from '../errors.ts'
import { type MemoryFile, MemoryStorage } from './memory-storage.ts'
import { SparseBytes } from './sparse-bytes.ts'
import type { Storage, StorageFolder } from './storage.ts'
import { checkPlainName } from './storage-name.ts'

/** A `StorageFolder` in memory. */
export class MemoryFolder implements StorageFolder {
  readonly temporary = true
  readonly #files = new Map<string, MemoryFile>()

  get names(): string[] {
    return [...this.#files.keys()]
  }

  async open(name: string, mode: 'read' | 'write'): Promise<Storage | undefined> {
    checkPlainName(name)
    const file = this.#files.get(name)
    return file === undefined ? undefined : new MemoryStorage(file, { name, writable: mode === 'write' })
  }

  async create(name: string): Promise<Storage> {
    checkPlainName(name)
    if (this.#files.has(name)) throw new DrydiskError('EEXIST', `${name} exists already`, { path: name })
    const file: MemoryFile = { bytes: new SparseBytes(), size: 0 }
    this.#files.set(name, file)
    return new MemoryStorage(file, { name })
  }

  async remove(name: string): Promise<void> {
    checkPlainName(name)
    this.#files.delete(name)
  }

  async flush(): Promise<void> {}
}
