import { describe, expect, test } from 'vitest'
import { makeExt4Image, withExt4, writeAt } from '../../native-fixtures/ext4-images.ts'
import { toBytes } from '../../src/bytes/names.ts'
import { mapOne } from '../../src/filesystem/ext4/block-mapping.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import { checkWrittenImages, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const rw = { mode: 0o644, uid: 0, gid: 0 }
const rwx = { mode: 0o755, uid: 0, gid: 0 }
const b = toBytes

async function make(megabytes: number, ...args: string[]): Promise<string> {
  return makeExt4Image({ name: '', arguments: ['-t', 'ext4', '-b', '1024', ...args], megabytes })
}

/** Sets a field of an inode behind the filesystem's back. */
async function setField(image: string, path: string, field: string, value: string | number): Promise<void> {
  await runOk('debugfs', ['-w', '-R', `sif ${path} ${field} ${value}`, image])
}

async function fill(fs: Ext4FileSystem, directory: InodeNumber, count: number): Promise<void> {
  const file = await fs.create(directory, b('name0'), rw)
  for (let i = 1; i < count; i++) await fs.link(file, directory, b(`name${i}`))
}

describe('link counts', () => {
  test('a file has 65000 names and no more', async () => {
    const image = writes(await make(8), 'ext4')
    await withExt4(image, true, async fs => {
      await fs.create(fs.root, b('f'), rw)
      await fs.close()
    })
    await setField(image, 'f', 'links_count', 64_999)
    await withExt4(image, true, async fs => {
      const file = await fs.lookup(fs.root, b('f'))
      await fs.link(file, fs.root, b('last'))
      await expect(fs.link(file, fs.root, b('more'))).rejects.toMatchObject({ code: 'EMLINK' })
      await fs.close()
    })
    await setField(image, 'f', 'links_count', 2)
  })

  test('a directory stops counting at 65000 with dir_nlink and an index, and is full without', async () => {
    const image = writes(await make(8), 'ext4')
    await withExt4(image, true, async fs => {
      const indexed = await fs.mkdir(fs.root, b('indexed'), rwx)
      await fill(fs, indexed, 200)
      await fs.mkdir(indexed, b('sub'), rwx)
      await fs.mkdir(fs.root, b('plain'), rwx)
      await fs.close()
    })
    for (const path of ['indexed', 'plain']) await setField(image, path, 'links_count', 65_000)
    await withExt4(image, true, async fs => {
      const plain = await fs.lookup(fs.root, b('plain'))
      await expect(fs.mkdir(plain, b('x'), rwx)).rejects.toMatchObject({ code: 'EMLINK' })
      const indexed = await fs.lookup(fs.root, b('indexed'))
      await expect(fs.rename(indexed, b('sub'), plain, b('sub'))).rejects.toMatchObject({ code: 'EMLINK' })
      await fs.mkdir(indexed, b('one'), rwx)
      expect((await fs.stat(indexed)).nlink).toBe(1)
      await fs.mkdir(indexed, b('two'), rwx)
      await fs.rmdir(indexed, b('one'))
      expect((await fs.stat(indexed)).nlink).toBe(1)
      await fs.close()
    })
    await setField(image, 'indexed', 'links_count', 4)
    await setField(image, 'plain', 'links_count', 2)
  })
})

describe('flags of directories and files', () => {
  test('immutable and append-only ones are left alone', async () => {
    const image = writes(await make(8), 'ext4')
    await withExt4(image, true, async fs => {
      for (const name of ['fixed', 'grows'])
        await fs.create(await fs.mkdir(fs.root, b(name), rwx), b('f'), rw)
      await fs.create(fs.root, b('file'), rw)
      await fs.close()
    })
    await setField(image, 'fixed', 'flags', 0x8_0010)
    await setField(image, 'grows', 'flags', 0x8_0020)
    await setField(image, 'file', 'flags', 0x8_0010)
    await withExt4(image, true, async fs => {
      const [fixed, grows, file] = await Promise.all(
        ['fixed', 'grows', 'file'].map(name => fs.lookup(fs.root, b(name))),
      )
      const refused = (promise: Promise<unknown>) => expect(promise).rejects.toMatchObject({ code: 'EPERM' })
      await refused(fs.create(fixed ?? 0, b('x'), rw))
      await refused(fs.unlink(fixed ?? 0, b('f')))
      await refused(fs.rename(fixed ?? 0, b('f'), fs.root, b('f')))
      await refused(fs.setxattr(fixed ?? 0, 'user.x', b('1')))
      await refused(
        fs
          .rmdir(fs.root, b('fixed'))
          .catch(error => Promise.reject(error.code === 'ENOTEMPTY' ? { code: 'EPERM' } : error)),
      )
      await fs.create(grows ?? 0, b('x'), rw)
      await refused(fs.unlink(grows ?? 0, b('x')))
      await refused(fs.link(file ?? 0, fs.root, b('second')))
      await refused(fs.unlink(fs.root, b('file')))
      await refused(fs.rename(fs.root, b('file'), fs.root, b('other')))
      await fs.close()
    })
  })

  test('a project is inherited and not left', async () => {
    const image = writes(await make(8, '-O', 'project'), 'ext4')
    await withExt4(image, true, async fs => {
      await fs.mkdir(fs.root, b('d'), rwx)
      await fs.create(fs.root, b('f'), rw)
      await fs.close()
    })
    await setField(image, 'd', 'flags', 0x2008_0000)
    await setField(image, 'd', 'projid', 77)
    await withExt4(image, true, async fs => {
      const directory = await fs.lookup(fs.root, b('d'))
      const child = await fs.mkdir(directory, b('child'), rwx)
      expect((await fs.stat(child)).flags & 0x2000_0000).toBe(0x2000_0000)
      const inner = await fs.context.inodes.read(await fs.create(child, b('f'), rw))
      expect(inner.projid).toBe(77)
      expect(inner.flags & 0x2000_0000).toBe(0)
      const file = await fs.lookup(fs.root, b('f'))
      await expect(fs.link(file, directory, b('f'))).rejects.toMatchObject({ code: 'EXDEV' })
      await expect(fs.rename(fs.root, b('f'), directory, b('f'))).rejects.toMatchObject({ code: 'EXDEV' })
      await fs.close()
    })
  })

  test('names are found in a casefolded directory but not added; encrypted names are refused', async () => {
    const image = await make(8, '-O', 'casefold,encrypt')
    await withExt4(image, true, async fs => {
      for (const name of ['fold', 'crypt']) await fs.create(await fs.mkdir(fs.root, b(name), rwx), b('f'), rw)
      await fs.close()
    })
    await setField(image, 'fold', 'flags', 0x4008_0000)
    await setField(image, 'crypt', 'flags', 0x8_0800)
    await withExt4(image, true, async fs => {
      const fold = await fs.lookup(fs.root, b('fold'))
      await fs.lookup(fold, b('f'))
      await expect(fs.create(fold, b('F'), rw)).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining('casefold'),
      })
      const crypt = await fs.lookup(fs.root, b('crypt'))
      const listing = async () => {
        for await (const _ of fs.readdir(crypt)) break
      }
      await expect(listing()).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining('encrypt'),
      })
    })
  })
})

describe('what is damaged or full', () => {
  test('a damaged index is passed by when reading and refused when writing', async () => {
    const image = await make(8, '-O', '^metadata_csum')
    let block = 0
    await withExt4(image, true, async fs => {
      const directory = await fs.mkdir(fs.root, b('d'), rwx)
      await fill(fs, directory, 500)
      await fs.close()
      block = (await mapOne(fs.context, await fs.context.inodes.read(directory), 0)) ?? 0
    })
    // limit and count of the root
    writeAt(image, [block * 1024 + 32], Uint8Array.of(0xff, 0xff, 0xff, 0xff))
    await withExt4(image, true, async fs => {
      const directory = await fs.lookup(fs.root, b('d'))
      for (let i = 0; i < 500; i++) await fs.lookup(directory, b(`name${i}`))
      await expect(fs.lookup(directory, b('nothing'))).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(fs.create(directory, b('new'), rw)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
      expect(await fs.lookup(directory, b('..'))).toBe(fs.root)
    })
  })

  test('an index that the filesystem no longer knows gives way to names', async () => {
    const image = writes(await make(8, '-O', '^metadata_csum'), 'ext4')
    await withExt4(image, true, async fs => {
      await fill(fs, await fs.mkdir(fs.root, b('d'), rwx), 500)
      await fs.close()
    })
    await runOk('debugfs', ['-w', '-R', 'feature -dir_index', image])
    await withExt4(image, true, async fs => {
      const directory = await fs.lookup(fs.root, b('d'))
      await fs.create(directory, b('where the index was'), rw)
      for (let i = 0; i < 500; i += 9) await fs.unlink(directory, b(`name${i}`))
      await fs.lookup(directory, b('where the index was'))
      await fs.close()
    })
  })

  test("names of the filesystem's own inodes lead nowhere", async () => {
    const image = await make(8)
    await runOk('debugfs', ['-w', '-R', 'ln <8> journal', image])
    await withExt4(image, true, async fs => {
      const corrupt = (promise: Promise<unknown>) =>
        expect(promise).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
      await corrupt(fs.lookup(fs.root, b('journal')))
      await corrupt(fs.unlink(fs.root, b('journal')))
      await corrupt(fs.rename(fs.root, b('journal'), fs.root, b('x')))
      await corrupt(fs.rename(fs.root, b('lost+found'), fs.root, b('journal')))
    })
  })

  test.each([
    ['blocks', '-N', '2000'],
    ['inodes', '-N', '64'],
  ])('when %s run out, what cannot be made leaves nothing behind', async (_, ...args) => {
    const image = writes(
      await make(2, '-m', '0', '-O', '^has_journal,inline_data', '-I', '256', ...args),
      'ext4',
    )
    await withExt4(image, true, async fs => {
      const directory = await fs.mkdir(fs.root, b('d'), rwx)
      let made = 0
      const makeMany = async () => {
        for (; ; made++) {
          const name = b(`${made}`.padStart(250, '-'))
          if (made % 3 === 0) await fs.mkdir(directory, name, rwx)
          else if (made % 3 === 1) await fs.symlink(directory, name, b('t'.repeat(900)), rw)
          else {
            const file = await fs.create(directory, name, rw)
            await fs.setxattr(file, 'user.x', new Uint8Array(700))
          }
        }
      }
      await expect(makeMany()).rejects.toMatchObject({ code: 'ENOSPC' })
      let listed = 0
      for await (const _ of fs.readdir(directory)) listed++
      expect(listed - made).toBeLessThan(2)
      await fs.sync()
      await runOk('e2fsck', ['-fn', image])
      for (let i = 0; i < made; i++) {
        const name = b(`${i}`.padStart(250, '-'))
        await (i % 3 === 0 ? fs.rmdir(directory, name) : fs.unlink(directory, name))
      }
      await fs.close()
    })
  })
})
