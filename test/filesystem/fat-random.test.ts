import { closeSync, ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import type { FileSystem, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { type FatCommand, FatModel, fatCommands } from '../support/fat-model.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { mtoolsTree, ownFatTree } from '../support/mtools.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'

/** Options of mkfs.fat that decide where things lie; it refuses some mixes of them. */
const shape = fc
  .record({
    bits: fc.constantFrom(12, 16, 32),
    sectorSize: fc.constantFrom(512, 512, 1024, 2048, 4096),
    sectorsPerCluster: fc.constantFrom(1, 1, 2, 4, 8, 16, 64),
    rootEntries: fc.constantFrom(16, 128, 512, 2048),
    fats: fc.constantFrom(1, 2),
    reserved: fc.constantFrom(undefined, 3, 40),
    unaligned: fc.boolean(),
    kilobytes: fc.constantFrom(300, 1440, 5000, 9001, 40_000),
  })
  .map(({ kilobytes, ...one }) => ({
    kilobytes,
    options: [
      ...[
        '-F',
        `${one.bits}`,
        '-S',
        `${one.sectorSize}`,
        '-s',
        `${one.sectorsPerCluster}`,
        '-f',
        `${one.fats}`,
      ],
      // Whole sectors: what else there might be is read in more ways than one.
      ...(one.bits === 32 ? [] : ['-r', `${Math.max(one.rootEntries, one.sectorSize / 32)}`]),
      ...(one.reserved === undefined ? [] : ['-R', `${one.reserved}`]),
      ...(one.unaligned ? ['-a'] : []),
    ],
  }))

async function makeImage(path: string, kilobytes: number, options: readonly string[]): Promise<boolean> {
  const file = openSync(path, 'w')
  ftruncateSync(file, kilobytes * 1024)
  closeSync(file)
  return (await run('mkfs.fat', [...options, path])).status === 0
}

async function open(path: string): Promise<{ fs: FileSystem; close(): Promise<void> }> {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  const fs = await openFat(device, { writable: true })
  return {
    fs,
    async close() {
      await fs.close()
      await device.close()
    },
  }
}

async function apply(fs: FileSystem, command: FatCommand): Promise<void> {
  const encode = (name: string) => new TextEncoder().encode(name)
  const at = async (path: readonly string[]): Promise<InodeNumber> => {
    let ino = fs.root
    for (const name of path) ino = await fs.lookup(ino, encode(name))
    return ino
  }
  const parent = (path: readonly string[]) => at(path.slice(0, -1))
  const last = (path: readonly string[]) => encode(path.at(-1) ?? '')
  const attributes = { mode: 0o644, uid: 0, gid: 0 }
  const { path } = command
  switch (command.do) {
    case 'create':
    case 'mkdir':
      await fs[command.do](await parent(path), last(path), attributes)
      return
    case 'unlink':
    case 'rmdir':
      return fs[command.do](await parent(path), last(path))
    case 'rename':
      return fs.rename(await parent(path), last(path), await parent(command.to), last(command.to))
    case 'write':
      return fs.write(await at(path), command.offset, pattern(command.length, command.seed))
    case 'truncate':
      return fs.truncate(await at(path), command.size)
  }
}

async function outcome(work: () => Promise<void> | void): Promise<string> {
  try {
    await work()
    return 'done'
  } catch (error) {
    if (isDrydiskError(error)) return error.code
    throw error
  }
}

describe.skipIf(!haveTool('mkfs.fat') || !haveTool('fsck.fat'))(
  'random operations on FAT of random shape',
  () => {
    test('do what they do on a model, by fsck.fat and mtools', async () => {
      const path = join(temporaryFolder(), 'random.img')
      let [refused, read] = [0, 0]
      await fc.assert(
        fc.asyncProperty(shape, fatCommands(100), async ({ kilobytes, options }, commands) => {
          fc.pre(await makeImage(path, kilobytes, options))
          const model = new FatModel()
          let image = await open(path)
          const untouched = (await image.fs.statfs()).freeBlocks
          for (const [index, command] of commands.entries()) {
            const free = (await image.fs.statfs()).freeBlocks
            const actual = await outcome(() => apply(image.fs, command))
            if (actual === 'ENOSPC') {
              // A model has no end of space; what is refused for want of it leaves everything as it was.
              refused++
              expect((await image.fs.statfs()).freeBlocks).toBe(free)
              continue
            }
            const expected = await outcome(() => model.apply(command))
            expect({ index, command, outcome: actual }).toEqual({ index, command, outcome: expected })
            if (index % 20 === 19) {
              await image.close()
              image = await open(path)
            }
          }
          const tree = await ownFatTree(image.fs)
          const clusters = (await image.fs.statfs()).blocks
          expect(tree).toEqual(model.tree())
          await image.close()
          await runOk('fsck.fat', ['-n', path])
          // mtools tell FAT32 by the number of clusters alone, and cannot read one that has too few.
          const readable = options[1] !== '32' || clusters >= 65_525
          if (readable && haveTool('mcopy')) {
            read++
            // mtools know UCS-2 alone: half a pair is an underscore to them.
            const shown = Object.entries(tree).map(([at, node]) => [
              at.replace(/\p{Cs}|[\u{10000}-\u{10ffff}]/gu, '__'),
              node,
            ])
            expect(await mtoolsTree(path)).toEqual(Object.fromEntries(shown))
          }

          image = await open(path)
          await removeAll(image.fs, image.fs.root)
          expect(await ownFatTree(image.fs)).toEqual({})
          // The root directory of FAT32 keeps the clusters that it grew by.
          const kept = (await image.fs.stat(image.fs.root)).size / (await image.fs.statfs()).blockSize
          const left = (await image.fs.statfs()).freeBlocks
          if (options[1] === '32') expect(left).toBe(untouched + 1 - kept)
          else expect(left).toBe(untouched)
          await image.close()
          await runOk('fsck.fat', ['-n', path])
        }),
        propertySettings(25),
      )
      expect(refused).toBeGreaterThan(0)
      expect(read).toBeGreaterThan(0)
    })
  },
)

async function removeAll(fs: FileSystem, directory: InodeNumber): Promise<void> {
  const entries = []
  for await (const entry of fs.readdir(directory)) entries.push(entry)
  for (const { name, ino, type } of entries) {
    if (type === 'directory') {
      await removeAll(fs, ino)
      await fs.rmdir(directory, name)
    } else await fs.unlink(directory, name)
  }
}
