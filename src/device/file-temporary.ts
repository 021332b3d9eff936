import { unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileStorage } from './file-storage.ts'
import type { Storage } from './storage.ts'

/** A file in the folder for temporary files (`TMPDIR`) that has no name any more: it goes away with the process. */
export async function temporaryStorage(): Promise<Storage> {
  const path = join(tmpdir(), `drydisk-${process.pid}-${globalThis.crypto.randomUUID()}`)
  const storage = await FileStorage.open(path, 'create')
  await unlink(path)
  return storage
}
