import { expect, test, vi } from 'vitest'
import { makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { byteKey, toBytes } from '../../src/bytes/names.ts'
import type * as Hash from '../../src/filesystem/ext4/directory-hash.ts'

/*
 * Real hashes of 31 bits collide too rarely to fill a leaf with one hash. With five hashes in all, whole chains of leaves
 * share one. No oracle knows this hash: the index is held to a model alone.
 */
vi.mock('../../src/filesystem/ext4/directory-hash.ts', async original => ({
  ...(await original<typeof Hash>()),
  hashName: (_hash: unknown, name: Uint8Array) => ((name[0] ?? 0) % 5) * 2,
}))

test('chains of leaves that share one hash', async () => {
  const image = await makeExt4Image({ name: '', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 8 })
  await withExt4(image, true, async fs => {
    const directory = await fs.mkdir(fs.root, toBytes('d'), { mode: 0o755, uid: 0, gid: 0 })
    const file = await fs.create(directory, toBytes('file'), { mode: 0o644, uid: 0, gid: 0 })
    const names = new Set(['file'])
    const check = async () => {
      const listed: string[] = []
      for await (const entry of fs.readdir(directory)) listed.push(byteKey(entry.name))
      expect(listed.sort()).toEqual([...names].sort())
      for (const name of names) expect(await fs.lookup(directory, toBytes(name))).toBe(file)
      await expect(fs.lookup(directory, toBytes('absent'))).rejects.toMatchObject({ code: 'ENOENT' })
    }
    for (let i = 0; i < 1200; i++) {
      const name = `${String.fromCharCode(97 + (i % 26))}${i}${'-'.repeat((i * 7) % 180)}`
      await fs.link(file, directory, toBytes(name))
      names.add(name)
      if (i % 3 === 2) {
        const gone = [...names][1 + ((i * 31) % (names.size - 1))] ?? ''
        await fs.unlink(directory, toBytes(gone))
        names.delete(gone)
      }
      if (i % 300 === 299) await check()
    }
    await check()
    await fs.close()
  })
})
