import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runOk, temporaryFolder } from './native.ts'

/** Bytes that do not compress, different for each seed. */
export function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed + 1
  for (let at = 0; at + 4 <= length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    bytes.writeInt32LE(state ^ (state >>> 13), at)
  }
  return bytes
}

/**
 * A raw disk with an ext4 filesystem on a partition, half of whose files are deleted with their data still there: large ones
 * and small ones among those that stay, so that free space is in pieces of all sizes.
 * @returns path of the disk.
 */
export async function diskWithDeletedFiles(megabytes = 40): Promise<string> {
  const folder = temporaryFolder()
  const tree = join(folder, 'tree')
  for (const name of ['keep', 'drop']) mkdirSync(join(tree, name), { recursive: true })
  for (let index = 0; index < 60; index++) {
    const size = index % 10 === 0 ? 500_000 : 1000 + ((index * 7919) % 90_000)
    writeFileSync(join(tree, 'keep', `f${index}`), noise(size, index))
    writeFileSync(join(tree, 'drop', `f${index}`), noise(size * 2, 1000 + index))
  }
  writeFileSync(join(tree, 'drop', 'large'), noise(megabytes << 18, 4711))
  const raw = join(folder, 'disk.raw')
  writeFileSync(raw, '')
  await runOk('truncate', ['-s', `${megabytes}M`, raw])
  await runOk('sgdisk', ['-n', `1:1M:+${megabytes - 3}M`, '-t', '1:8300', raw])
  await runOk('mke2fs', [
    ...['-q', '-F', '-t', 'ext4', '-E', `offset=${1 << 20}`, '-d', tree],
    ...[raw, `${megabytes - 3}m`],
  ])
  const removals = readdirSync(join(tree, 'drop')).map(name => `rm /drop/${name}`)
  await runOk('debugfs', ['-w', '-f', '-', `${raw}?offset=${1 << 20}`], `${removals.join('\n')}\n`)
  return raw
}

/** Names and contents of all files of such a disk by the word of e2fsprogs, and whether the filesystem is sound. */
export async function filesOf(
  image: string,
  format = 'qcow2',
  snapshot?: string,
): Promise<Map<string, string>> {
  const folder = temporaryFolder()
  const raw = join(folder, 'seen.raw')
  await runOk('qemu-img', [
    ...['convert', '-f', format, '-O', 'raw'],
    ...(snapshot === undefined ? [] : ['-l', `snapshot.name=${snapshot}`]),
    ...[image, raw],
  ])
  const disk = `${raw}?offset=${1 << 20}`
  await runOk('e2fsck', ['-fn', disk])
  const out = join(folder, 'out')
  mkdirSync(out)
  await runOk('debugfs', ['-R', `rdump / ${out}`, disk])
  const found = new Map<string, string>()
  for (const entry of readdirSync(out, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) {
      const path = join(entry.parentPath, entry.name)
      found.set(path.slice(out.length), createHash('sha256').update(readFileSync(path)).digest('hex'))
    }
  return found
}
