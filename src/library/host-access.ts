import { readFile, stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { toBytes } from '../bytes/names.ts'
import { fileError } from '../device/file-error.ts'
import { DrydiskError } from '../errors.ts'
import type { HostAccess } from '../operations/steps/host-access.ts'
import { fileSource, hostSource } from './host-source.ts'
import { refuseLarge, unreadable } from './host-text.ts'
import { nextInputLine, ownPublicKey } from './secrets.ts'

/** The host as steps see it. Relative paths are meant from `folder`; left out, from the current one. */
export function hostAccess(folder = ''): HostAccess {
  // A path without a folder stays as it was written: messages then name what the person typed.
  const at = (path: string) => (folder === '' ? path : resolve(folder, path))
  const read = async (path: string, text: boolean): Promise<Buffer> => {
    try {
      if (text) refuseLarge(at(path))
      return await readFile(at(path))
    } catch (error) {
      throw new DrydiskError('ERR_INVALID_ARGUMENT', unreadable(`the file ${path}`, error))
    }
  }
  return {
    readText: async path => (await read(path, true)).toString('utf8'),
    readBytes: async path => new Uint8Array(await read(path, false)),
    source: path => fileSource(Buffer.from(at(path))),
    async mode(path) {
      const { mode } = await stat(at(path)).catch((error: unknown) => {
        throw fileError(error, path, 'read')
      })
      return mode & 0o7777
    },
    tree: path =>
      hostSource(Buffer.from(at(path)), toBytes(basename(resolve(at(path)))), {
        archive: false,
        follow: false,
      }),
    environment: name => process.env[name],
    inputLine: async () => nextInputLine(),
    publicKey: () => read(ownPublicKey(), true).then(bytes => bytes.toString('utf8')),
  }
}
