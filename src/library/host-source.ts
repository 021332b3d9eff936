import type { BigIntStats } from 'node:fs'
import { lstat, open, readdir, readlink, stat } from 'node:fs/promises'
import { compareBytes } from '../bytes/names.ts'
import { fileError } from '../device/file-error.ts'
import { guestStats } from '../guest/host-folder-stats.ts'
import type { SourceNode } from '../operations/source-tree.ts'

const CHUNK = 1 << 20

export interface HostSourceOptions {
  /** Owner and time as on the host; else root, and the time of the copy. */
  readonly archive: boolean
  /** The argument itself may be a symlink to what is meant. */
  readonly follow: boolean
}

/** A file or folder of the host, for copying into a guest. What it holds is read piece by piece, when it is asked for. */
export async function hostSource(
  path: Buffer,
  name: Uint8Array,
  options: HostSourceOptions,
): Promise<SourceNode> {
  const stats = await (options.follow ? stat : lstat)(path, { bigint: true }).catch((error: unknown) => {
    throw fileError(error, path.toString(), 'read')
  })
  return { ...attributes(name, stats, options), content: await contentOf(path, stats, options) }
}

function attributes(name: Uint8Array, stats: BigIntStats, options: HostSourceOptions) {
  const mode = Number(stats.mode) & 0o7777
  if (!options.archive) return { name, mode }
  return { name, mode, uid: Number(stats.uid), gid: Number(stats.gid), mtimeNs: stats.mtimeNs }
}

async function contentOf(
  path: Buffer,
  stats: BigIntStats,
  options: HostSourceOptions,
): Promise<SourceNode['content']> {
  if (stats.isFile())
    return {
      type: 'file',
      source: fileSource(path),
      ...(stats.nlink > 1n ? { identity: `${stats.dev}:${stats.ino}` } : {}),
    }
  if (stats.isSymbolicLink())
    return { type: 'symlink', target: new Uint8Array(await readlink(path, { encoding: 'buffer' })) }
  if (stats.isDirectory()) return { type: 'directory', children: () => children(path, options) }
  const { rdev } = guestStats(stats)
  if (stats.isCharacterDevice()) return { type: 'character-device', device: rdev }
  if (stats.isBlockDevice()) return { type: 'block-device', device: rdev }
  return { type: stats.isFIFO() ? 'fifo' : 'socket' }
}

async function* children(folder: Buffer, options: HostSourceOptions): AsyncIterable<SourceNode> {
  const names = await readdir(folder, { encoding: 'buffer' })
  for (const name of names.sort(compareBytes))
    yield await hostSource(Buffer.concat([folder, Buffer.from('/'), name]), new Uint8Array(name), {
      ...options,
      follow: false,
    })
}

/** A file of the host as pieces; the next piece is read while the one before is written. */
export function fileSource(path: Buffer): { name: string; chunks(): AsyncIterable<Uint8Array> } {
  return {
    name: path.toString(),
    async *chunks() {
      const handle = await open(path, 'r').catch((error: unknown) => {
        throw fileError(error, path.toString(), 'read')
      })
      try {
        const read = async () => {
          const buffer = Buffer.allocUnsafe(CHUNK)
          const { bytesRead } = await handle.read(buffer, 0, CHUNK)
          return buffer.subarray(0, bytesRead)
        }
        let next = read()
        for (;;) {
          const chunk = await next
          if (chunk.length === 0) return
          next = read()
          // An unhandled rejection would end the process before the consumer sees it at the next turn.
          next.catch(() => undefined)
          yield chunk
        }
      } finally {
        await handle.close()
      }
    },
  }
}
