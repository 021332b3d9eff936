import { open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { isDrydiskError } from '../errors.ts'
import { fileError } from './file-error.ts'
import { FileStorage } from './file-storage.ts'
import type { Storage, StorageFolder } from './storage.ts'
import { checkPlainName } from './storage-name.ts'

/** A folder of the host. Symbolic links in it are not followed: what they point at lies elsewhere. */
export class FileFolder implements StorageFolder {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  async open(name: string, mode: 'read' | 'write'): Promise<Storage | undefined> {
    checkPlainName(name)
    try {
      return await FileStorage.open(join(this.path, name), mode, false)
    } catch (error) {
      if (isDrydiskError(error, 'ENOENT')) return undefined
      throw error
    }
  }

  async create(name: string): Promise<Storage> {
    checkPlainName(name)
    return await FileStorage.open(join(this.path, name), 'create')
  }

  async remove(name: string): Promise<void> {
    checkPlainName(name)
    const path = join(this.path, name)
    try {
      await unlink(path)
    } catch (error) {
      const posix = fileError(error, path, 'remove')
      if (posix.code !== 'ENOENT') throw posix
    }
  }

  async flush(): Promise<void> {
    try {
      const handle = await open(this.path, 'r')
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      throw fileError(error, this.path, 'flush the folder')
    }
  }
}
