import { readFile, stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { toBytes } from '../bytes/names.ts'
import { DrydiskError } from '../errors.ts'
import type { HostAccess } from '../operations/steps/host-access.ts'
import { describe } from './errors.ts'
import { fileSource, hostSource } from './host-source.ts'
import { nextInputLine, ownPublicKey } from './secrets.ts'

/** The host as steps see it. Relative paths are meant from `folder`; left out, from the current one. */
export function hostAccess(folder = ''): HostAccess {
  // A path without a folder stays as it was written: messages then name what the person typed.
  const at = (path: string) => (folder === '' ? path : resolve(folder, path))
  const read = async (path: string): Promise<Buffer> => {
    try {
      return await readFile(at(path))
    } catch (error) {
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `the file ${path} cannot be read: ${describe(error).message}`,
      )
    }
  }
  return {
    readText: async path => (await read(path)).toString('utf8'),
    readBytes: async path => new Uint8Array(await read(path)),
    source: path => fileSource(Buffer.from(at(path))),
    mode: async path => (await stat(at(path))).mode & 0o7777,
    tree: path =>
      hostSource(Buffer.from(at(path)), toBytes(basename(resolve(at(path)))), {
        archive: false,
        follow: false,
      }),
    environment: name => process.env[name],
    inputLine: async () => nextInputLine(),
    publicKey: () => read(ownPublicKey()).then(bytes => bytes.toString('utf8')),
  }
}
