import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { byteKey, bytesOfKey, toBytes } from '../../src/bytes/names.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { directoryBlocks } from '../../src/filesystem/ext4/directory-block.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import { INODE_FLAG } from '../../src/filesystem/ext4/inode.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import { propertySettings } from '../support/native.ts'

const rw = { mode: 0o644, uid: 0, gid: 0 }
const b = toBytes

/** Byte ranges of the volume that hold names and attributes. */
interface Target {
  readonly start: number
  readonly length: number
}

/** Directories of every kind and attributes of every kind, without checksums: damage gets as far as it can. */
async function subject(): Promise<{ image: Uint8Array; targets: Target[] }> {
  const path = await makeExt4Image({
    name: '',
    arguments: [
      '-t',
      'ext4',
      '-b',
      '1024',
      '-O',
      '^metadata_csum,^has_journal,inline_data,ea_inode,large_dir',
      '-N',
      '256',
    ],
    megabytes: 3,
  })
  const targets: Target[] = []
  await withExt4(path, true, async fs => {
    const big = await fs.mkdir(fs.root, b('big'), rw)
    const file = await fs.create(big, b('file'), rw)
    for (let i = 0; i < 420; i++) await fs.link(file, big, b(`name-${i}-${'x'.repeat(i % 200)}`))
    const small = await fs.mkdir(fs.root, b('small'), rw)
    for (let i = 0; i < 6; i++) await fs.create(small, b(`s${i}`), rw)
    await fs.mkdir(small, b('sub'), rw)
    await fs.setxattr(file, 'user.block', new Uint8Array(600).fill(1))
    await fs.setxattr(file, 'user.large', new Uint8Array(5_000).fill(2))
    await fs.setxattr(small, 'user.here', b('1'))
    await fs.sync()
    const ctx = fs.context
    for (const ino of [fs.root, big]) {
      const inode = await ctx.inodes.read(ino)
      for await (const { block } of directoryBlocks(ctx, inode))
        targets.push({ start: block * 1024, length: 1024 })
    }
    for (const ino of [big, file, small]) {
      const inode = await ctx.inodes.read(ino)
      const [block, offset] = await ctx.inodeStore.place(ino)
      // Weighted: the inodes are where most of it is decided.
      for (let i = 0; i < 8; i++) targets.push({ start: block * 1024 + offset, length: inode.bytes.length })
      if (inode.fileAcl !== 0)
        for (let i = 0; i < 8; i++) targets.push({ start: inode.fileAcl * 1024, length: 1024 })
    }
    expect((await ctx.inodes.read(small)).hasFlag(INODE_FLAG.INLINE_DATA)).toBe(true)
    await fs.close()
  })
  return { image: readFileSync(path), targets }
}

async function look(fs: Ext4FileSystem, ino: InodeNumber, seen: Set<InodeNumber>): Promise<string[]> {
  const names: string[] = []
  seen.add(ino)
  for await (const entry of fs.readdir(ino)) {
    names.push(byteKey(entry.name))
    const stat = await fs.stat(entry.ino)
    for (const name of await fs.listxattr(entry.ino)) await fs.getxattr(entry.ino, name)
    if (stat.type === 'directory' && !seen.has(entry.ino)) await look(fs, entry.ino, seen)
  }
  return names
}

/** Does something that may fail in a way that has a name. */
async function attempt<T>(what: () => Promise<T>): Promise<T | undefined> {
  try {
    return await what()
  } catch (error) {
    if (isDrydiskError(error)) return undefined
    throw error
  }
}

describe('damaged directories and attributes', () => {
  test('give a result or an error with a name, in bounded time', async () => {
    const { image, targets } = await subject()
    const damage = fc.array(
      fc.record({
        target: fc.nat(targets.length - 1),
        at: fc.nat(1023),
        value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 4, 8, 0xff)),
      }),
      { minLength: 1, maxLength: 6 },
    )
    await fc.assert(
      fc.asyncProperty(damage, async changes => {
        const bytes = Uint8Array.from(image)
        for (const { target, at, value } of changes) {
          const { start, length } = targets[target] ?? { start: 0, length: 1 }
          bytes[start + (at % length)] = value
        }
        const started = performance.now()
        const device = new MemoryDevice(bytes, { writable: true })
        const fs = await openExt4(device, { writable: true })
        await attempt(() => look(fs, fs.root, new Set()))
        for (const path of ['big', 'small']) {
          const directory = await attempt(() => fs.lookup(fs.root, b(path)))
          if (directory === undefined) continue
          const names = (await attempt(() => look(fs, directory, new Set([fs.root])))) ?? []
          for (const name of ['file', 'name-3-xxx', 's1', 'sub', '..'])
            await attempt(() => fs.lookup(directory, b(name)))
          for (let i = 0; i < 20; i++)
            await attempt(() => fs.create(directory, b(`new-${'n'.repeat(i * 9)}`), rw))
          await attempt(() => fs.mkdir(directory, b('newdir'), rw))
          await attempt(() => fs.rename(directory, b('newdir'), fs.root, b('moved')))
          await attempt(() => fs.rename(directory, b('sub'), fs.root, b('sub')))
          await attempt(() => fs.setxattr(directory, 'user.more', new Uint8Array(50)))
          const file = await attempt(() => fs.lookup(directory, b('file')))
          if (file !== undefined)
            for (const name of ['user.block', 'user.large', 'user.new']) {
              await attempt(() => fs.setxattr(file, name, new Uint8Array(300)))
              await attempt(() => fs.removexattr(file, name))
            }
          for (const name of names.slice(0, 60)) await attempt(() => fs.unlink(directory, bytesOfKey(name)))
          await attempt(() => fs.rmdir(fs.root, b(path)))
        }
        await attempt(() => fs.sync())
        expect(performance.now() - started).toBeLessThan(20_000)
      }),
      propertySettings(25),
    )
  })
})
