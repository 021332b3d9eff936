import { unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileStorage } from './file-storage.ts'
import type { Storage, StorageFolder } from './storage.ts'
import { checkPlainName } from './storage-name.ts'

/** A file in the folder for temporary files (`TMPDIR`) that has no name any more: it goes away with the process. */
export async function temporaryStorage(): Promise<Storage> {
  const path = join(tmpdir(), `drydisk-${process.pid}-${globalThis.crypto.randomUUID()}`)
  const storage = await FileStorage.open(path, 'create')
  await unlink(path)
  return storage
}

/** A folder whose files have no name in the host's: for a redo log that nobody is to find after this process. */
export class TemporaryFolder implements StorageFolder {
  readonly temporary = true

  async open(): Promise<undefined> {
    return undefined
  }
  async create(name: string): Promise<Storage> {
    checkPlainName(name)
    return temporaryStorage()
  }
  async remove(): Promise<void> {}
  async flush(): Promise<void> {}
}
