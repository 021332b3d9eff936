import { statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  type Ext4Variant,
  makeExt4Image,
  withExt4,
  withKernelMount,
} from '../../native-fixtures/ext4-images.ts'
import { byteKey, toBytes } from '../../src/bytes/names.ts'
import { directoryHash, hashName } from '../../src/filesystem/ext4/directory-hash.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import { checkWrittenImages, haveLoopMounts, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const rw = { mode: 0o644, uid: 0, gid: 0 }

/** Hard links to one file: directories fill up without inodes and blocks for each name. */
async function fill(
  fs: Ext4FileSystem,
  directory: InodeNumber,
  names: readonly string[],
): Promise<InodeNumber> {
  const file = await fs.create(directory, toBytes(names[0] ?? ''), rw)
  for (const name of names.slice(1)) await fs.create(directory, toBytes(name), rw)
  return file
}

async function listed(fs: Ext4FileSystem, directory: InodeNumber): Promise<string[]> {
  const names: string[] = []
  for await (const entry of fs.readdir(directory)) names.push(byteKey(entry.name))
  return names.sort()
}

function manyNames(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `n${i}-${'é'.repeat(i % 30)}${i % 7}`)
}
const key = (name: string) => byteKey(toBytes(name))

interface HashVariant extends Ext4Variant {
  readonly hash: string
  readonly unsigned: boolean
}
const HASHES: readonly HashVariant[] = ['legacy', 'half_md4', 'tea'].flatMap(hash =>
  [false, true].map(unsigned => ({
    name: `${hash}, ${unsigned ? 'unsigned' : 'signed'} bytes`,
    arguments: [
      '-t',
      'ext4',
      '-b',
      '1024',
      '-N',
      '6000',
      '-E',
      `hash_seed=8a6e1d4c-02f5-4e26-9d3b-7f1c5a90e2d7`,
    ],
    megabytes: 24,
    hash,
    unsigned,
  })),
)

async function makeHashed(variant: HashVariant): Promise<string> {
  const image = writes(await makeExt4Image(variant), 'ext4')
  await runOk('tune2fs', ['-E', `hash_alg=${variant.hash}`, image])
  await runOk('debugfs', ['-w', '-R', `ssv flags ${variant.unsigned ? 2 : 1}`, image])
  return image
}

describe('directories with an index', () => {
  for (const variant of HASHES)
    test(`names in ${variant.name}: the kernel finds ours, we find the kernel's`, async context => {
      if (!haveLoopMounts()) context.skip('no loop mounts')
      const image = await makeHashed(variant)
      const names = manyNames(1500)
      await withExt4(image, true, async fs => {
        const directory = await fs.mkdir(fs.root, toBytes('ours'), rw)
        await fill(fs, directory, names)
        await fs.mkdir(fs.root, toBytes('theirs'), rw)
        await fs.close()
      })
      await runOk('e2fsck', ['-fn', image])
      await withKernelMount(image, async folder => {
        for (const name of names) expect(statSync(join(folder, 'ours', name)).isFile()).toBe(true)
        expect((await readdir(join(folder, 'ours'))).sort()).toEqual([...names].sort())
        await runOk('sh', ['-c', 'cd "$0" && xargs touch', join(folder, 'theirs')], names.join('\n'))
      })
      await withExt4(image, true, async fs => {
        const theirs = await fs.lookup(fs.root, toBytes('theirs'))
        expect((await fs.stat(theirs)).flags & 0x1000).toBe(0x1000)
        for (const name of names) expect(await fs.lookup(theirs, toBytes(name))).toBeGreaterThan(11)
        expect(await listed(fs, theirs)).toEqual(names.map(key).sort())
        for (const name of names.slice(0, 700)) await fs.unlink(theirs, toBytes(name))
        const ours = await fs.lookup(fs.root, toBytes('ours'))
        for (const name of names.slice(700))
          await fs.rename(ours, toBytes(name), theirs, toBytes(`moved-${name}`))
        await fs.close()
      })
    })

  test('10 000 names in blocks of 4 KiB, half of them removed again', async () => {
    const image = writes(
      await makeExt4Image({ name: '', arguments: ['-t', 'ext4', '-N', '12000'], megabytes: 64 }),
      'ext4',
    )
    const names = manyNames(10_000)
    await withExt4(image, true, async fs => {
      const directory = await fs.mkdir(fs.root, toBytes('d'), rw)
      await fill(fs, directory, names)
      for (const [i, name] of names.entries()) if (i % 2 === 0) await fs.unlink(directory, toBytes(name))
      await fs.close()
    })
    await withExt4(image, false, async fs => {
      const directory = await fs.lookup(fs.root, toBytes('d'))
      expect(await listed(fs, directory)).toEqual(
        names
          .filter((_, i) => i % 2 === 1)
          .map(key)
          .sort(),
      )
    })
  })

  test('names that share a hash and lie in two leaves are found, by the kernel too', async () => {
    const image = await makeHashed({
      name: '',
      arguments: ['-t', 'ext4', '-b', '1024', '-N', '2000'],
      megabytes: 16,
      hash: 'legacy',
      unsigned: false,
    })
    let names: string[] = []
    await withExt4(image, true, async fs => {
      names = collidingNames(fs)
      expect(names.length).toBeGreaterThan(20)
      const directory = await fs.mkdir(fs.root, toBytes('d'), rw)
      await fill(fs, directory, names)
      for (const name of names) await fs.lookup(directory, toBytes(name))
      await fs.close()
    })
    // In leaves of three names some pairs must have come apart: their second leaf's hash is odd.
    const dump = await runOk('debugfs', ['-R', 'htree_dump d', image])
    expect(/Hash 0x[0-9a-f]*[13579bdf], block/.test(dump)).toBe(true)
    if (haveLoopMounts())
      await withKernelMount(image, folder => {
        for (const name of names) expect(statSync(join(folder, 'd', name)).isFile()).toBe(true)
      })
  })

  test('an index of two levels fills up, and grows a third with large_dir', async () => {
    const image = writes(
      await makeExt4Image({ name: '', arguments: ['-t', 'ext4', '-b', '1024', '-N', '128'], megabytes: 32 }),
      'ext4',
    )
    const nameOf = (i: number) => toBytes(`${i}`.padStart(250, '-'))
    const name = toBytes('d')
    let count = 1
    await withExt4(image, true, async fs => {
      const directory = await fs.mkdir(fs.root, name, rw)
      const file = await fs.create(directory, nameOf(0), rw)
      const add = async () => {
        for (; count < 40_000; count++) await fs.link(file, directory, nameOf(count))
      }
      await expect(add()).rejects.toMatchObject({ code: 'ENOSPC' })
      await fs.create(fs.root, toBytes('elsewhere'), rw)
      await fs.close()
    })
    expect(count).toBeGreaterThan(15_000)
    await runOk('e2fsck', ['-fn', image])
    await runOk('debugfs', ['-w', '-R', 'feature large_dir', image])
    await withExt4(image, true, async fs => {
      const directory = await fs.lookup(fs.root, name)
      const file = await fs.lookup(directory, nameOf(0))
      for (let i = count; i < count + 200; i++) await fs.link(file, directory, nameOf(i))
      for (let i = 0; i < count + 200; i += 100) expect(await fs.lookup(directory, nameOf(i))).toBe(file)
      await fs.close()
    })
    const dump = await runOk('debugfs', ['-R', 'htree_dump d', image])
    expect(/Indirect levels: (\d)/.exec(dump)?.[1]).toBe('2')
  })
})

/** Pairs of names of 250 bytes with the same hash: of so many names, some always have. */
function collidingNames(fs: Ext4FileSystem): string[] {
  const { superblock } = fs.context
  const hash = directoryHash(superblock, superblock.s_def_hash_version)
  const seen = new Map<number, string>()
  const pairs: string[] = []
  for (let i = 0; i < 350_000; i++) {
    const name = `${'x'.repeat(240)}${i.toString(36).padStart(10, '0')}`
    const value = hashName(hash, toBytes(name))
    const other = seen.get(value)
    if (other === undefined) seen.set(value, name)
    else pairs.push(other, name)
  }
  return pairs
}
