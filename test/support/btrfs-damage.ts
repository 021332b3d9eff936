import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { isZero } from '../../src/bytes/compare.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { type Checksum, loadChecksum } from '../../src/filesystem/btrfs/checksum.ts'
import { openBtrfs } from '../../src/filesystem/btrfs/open.ts'
import { SUPERBLOCK_SIZE, SUPERBLOCKS_AT } from '../../src/filesystem/btrfs/superblock.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'

const CSUM_SIZE = 32
const CHUNK = 1 << 20

/** A mostly empty image in memory. */
export async function loadSparse(path: string): Promise<MemoryDevice> {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const device = new MemoryDevice(size)
    const chunk = new Uint8Array(CHUNK)
    for (let at = 0; at < size; at += CHUNK) {
      const bytes = chunk.subarray(0, readSync(file, chunk, 0, CHUNK, at))
      if (!isZero(bytes)) await device.write(at, bytes)
    }
    return device
  } finally {
    closeSync(file)
  }
}

export interface Damageable {
  readonly device: MemoryDevice
  readonly checksum: Checksum
  readonly nodesize: number
  /** Byte offsets of everything that looks like a metadata block. */
  readonly blocks: readonly number[]
}

export async function damageable(path: string): Promise<Damageable> {
  const device = await loadSparse(path)
  const superblock = new Uint8Array(SUPERBLOCK_SIZE)
  await device.read(SUPERBLOCKS_AT[0], superblock)
  const view = new DataView(superblock.buffer)
  const nodesize = view.getUint32(0x94, true)
  const checksum = await loadChecksum(view.getUint16(0xc4, true))
  const blocks: number[] = []
  const bytes = new Uint8Array(nodesize)
  for (let at = CHUNK; at + nodesize <= device.size; at += nodesize) {
    await device.read(at, bytes)
    const stored = Buffer.from(bytes.subarray(0, checksum.size))
    if (!isZero(bytes) && stored.equals(checksum.of(bytes.subarray(CSUM_SIZE)))) blocks.push(at)
  }
  return { device, checksum, nodesize, blocks }
}

/** Changes a structure, with a right checksum afterwards, while `use` runs. */
export async function withChange(
  { device, checksum }: Damageable,
  at: number,
  size: number,
  change: (bytes: Uint8Array) => void,
  use: (device: BlockDevice) => Promise<void>,
): Promise<void> {
  const before = new Uint8Array(size)
  await device.read(at, before)
  const bytes = before.slice()
  change(bytes)
  bytes.set(checksum.of(bytes.subarray(CSUM_SIZE)))
  await device.write(at, bytes)
  try {
    await use(device)
  } finally {
    await device.write(at, before)
  }
}

/** What `tryEverything` met. */
export interface Attempts {
  readonly errors: readonly string[]
  readonly entries: number
}

/** Everything that can be read is; what is thrown has to be an error of ours. */
export async function tryEverything(device: BlockDevice, most = 20_000): Promise<Attempts> {
  const errors: string[] = []
  let entries = 0
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work()
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      errors.push(`${error.code} ${error.message}`)
      return undefined
    }
  }
  const fs = await attempt(() => openBtrfs(device, { mountOptions: ['subvolid=5'] }))
  await attempt(() => openBtrfs(device))
  if (fs === undefined) return { errors, entries }
  const buffer = new Uint8Array(1 << 18)
  const visit = async (ino: InodeNumber): Promise<void> => {
    const found: { ino: InodeNumber; type: string }[] = []
    await attempt(async () => {
      for await (const entry of fs.readdir(ino)) found.push(entry)
    })
    for (const entry of found) {
      if (++entries > most) throw new Error('the tree does not end')
      await attempt(() => fs.stat(entry.ino))
      await attempt(async () => {
        for (const name of await fs.listxattr(entry.ino)) await fs.getxattr(entry.ino, name)
      })
      if (entry.type === 'directory') await visit(entry.ino)
      else if (entry.type === 'symlink') await attempt(() => fs.readlink(entry.ino))
      else if (entry.type === 'file') {
        await attempt(() => fs.read(entry.ino, 0, buffer))
        await attempt(async () => {
          let runs = 0
          for await (const _ of fs.fileExtents(entry.ino))
            if (++runs > most) throw new Error('the extents do not end')
        })
      }
    }
  }
  await visit(fs.root)
  await attempt(async () => {
    for await (const _ of fs.subvolumes());
  })
  await attempt(() => fs.statfs())
  return { errors, entries }
}
