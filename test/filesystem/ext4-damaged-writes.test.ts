import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { copyImage, makeFileSystem, writeJournal } from '../../native-fixtures/ext4-journals.ts'
import { toBytes } from '../../src/bytes/names.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'

const tools = haveTool('mkfs.ext4') && haveTool('debugfs')
const name = toBytes('file')

/** A filesystem with one file of 40 KiB, after commands of debugfs. */
async function damaged(options: readonly string[], ...commands: string[]): Promise<string> {
  const folder = temporaryFolder()
  const path = join(folder, 'image')
  await makeFileSystem(path, 8 << 20, options)
  writeFileSync(join(folder, 'data'), new Uint8Array(40 << 10).fill(1))
  writeFileSync(join(folder, 'commands'), [`write ${join(folder, 'data')} file`, ...commands, ''].join('\n'))
  await runOk('debugfs', ['-w', '-f', join(folder, 'commands'), path])
  return path
}

describe.skipIf(!tools)('a change that stops midway', () => {
  test('is never written: the filesystem takes no more changes', async () => {
    // The indirect block is one of the filesystem's own: found when the file is already unlinked.
    const path = await damaged(['-t', 'ext2', '-b', '1024'], 'sif file block[IND] 5')
    const device = new OverlayDevice(new MemoryDevice(new Uint8Array(readFileSync(path))))
    const fs = await openExt4(device, { writable: true })
    const before = await fs.lookup(fs.root, name)
    await expect(fs.unlink(fs.root, name)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    const stopped = { code: 'ERR_CORRUPT', message: /no more changes/ }
    await expect(fs.sync()).rejects.toMatchObject(stopped)
    await expect(fs.mkdir(fs.root, name, { mode: 0o755, uid: 0, gid: 0 })).rejects.toMatchObject(stopped)
    await fs.close()

    const again = await openExt4(device)
    expect(await again.lookup(again.root, name)).toBe(before)
  })

  test.each(['EIO', 'ENOSPC'] as const)(
    'nor is one whose write into a new block failed with %s',
    async code => {
      const path = await damaged(['-t', 'ext4'])
      class Full extends MemoryDevice {
        full = false
        override async write(offset: number, from: Uint8Array): Promise<void> {
          if (this.full) throw new DrydiskError(code, 'the disk of the host')
          await super.write(offset, from)
        }
      }
      const device = new Full(new Uint8Array(readFileSync(path)))
      const fs = await openExt4(device, { writable: true })
      const ino = await fs.lookup(fs.root, name)
      device.full = true
      await expect(fs.write(ino, 1 << 20, new Uint8Array(5000))).rejects.toMatchObject({ code })
      device.full = false
      await expect(fs.sync()).rejects.toMatchObject({ code: 'ERR_CORRUPT', message: /no more changes/ })
    },
  )

  test('errors that are found before the change leave it usable', async () => {
    const path = await damaged(['-t', 'ext4'])
    const device = new OverlayDevice(new MemoryDevice(new Uint8Array(readFileSync(path))))
    const fs = await openExt4(device, { writable: true })
    await expect(fs.rmdir(fs.root, name)).rejects.toMatchObject({ code: 'ENOTDIR' })
    await fs.unlink(fs.root, name)
    await fs.sync()
  })
})

describe.skipIf(!tools)('inodes that a change would build upon', () => {
  test.each([
    ['an attribute block outside the filesystem', 'sif file file_acl 999999', /attributes in block 999999/],
    ['an attribute block where there are no attributes', 'feature -ext_attr', /ext_attr is off/],
  ])('%s: read, not written', async (_, command, message) => {
    const path = await damaged(
      ['-t', 'ext2', '-b', '1024'],
      'ea_set file user.a b',
      'sif file file_acl 300',
      command,
    )
    const bytes = new Uint8Array(readFileSync(path))
    const reader = await openExt4(new MemoryDevice(bytes))
    expect((await reader.stat(await reader.lookup(reader.root, name))).size).toBe(40 << 10)
    const fs = await openExt4(new MemoryDevice(bytes), { writable: true })
    const ino = await fs.lookup(fs.root, name)
    await expect(fs.write(ino, 0, name)).rejects.toMatchObject({ code: 'ERR_CORRUPT', message })
  })

  test('one in the part of the table that was never used', async () => {
    const path = await damaged(
      ['-t', 'ext4', '-N', '64'],
      'set_bg 0 itable_unused 60',
      'set_bg 0 checksum calc',
    )
    const bytes = new Uint8Array(readFileSync(path))
    const fs = await openExt4(new MemoryDevice(bytes), { writable: true })
    const ino = await fs.lookup(fs.root, name)
    await expect(fs.link(ino, fs.root, toBytes('b'))).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: /never used/,
    })
  })

  test('a directory with a second name is not moved by it', async () => {
    const path = await damaged(
      ['-t', 'ext4'],
      'mkdir one',
      'mkdir one/dir',
      'mkdir two',
      'ln one/dir two/dir',
    )
    const fs = await openExt4(new MemoryDevice(new Uint8Array(readFileSync(path))), { writable: true })
    const two = await fs.lookup(fs.root, toBytes('two'))
    await expect(fs.rename(two, toBytes('dir'), fs.root, toBytes('dir'))).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: /leads to/,
    })
  })

  test('attributes do not come into use where inodes have garbage for them', async () => {
    const path = await damaged(['-t', 'ext2', '-b', '1024'], 'sif file file_acl 300', 'feature -ext_attr')
    const fs = await openExt4(new MemoryDevice(new Uint8Array(readFileSync(path))), { writable: true })
    const ino = await fs.mkdir(fs.root, toBytes('new'), { mode: 0o755, uid: 0, gid: 0 })
    await expect(fs.setxattr(ino, 'user.a', name)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })
})

describe.skipIf(!tools)('bad blocks', () => {
  test.each([
    ['in the inode table', 5, false],
    ['among free blocks', 5000, true],
  ])('%s', async (_, block, fine) => {
    const path = await damaged(
      ['-t', 'ext2', '-b', '1024', '-g', '8192'],
      'sif <1> links_count 1',
      `sif <1> block[0] ${block}`,
      ...(fine ? [`setb ${block}`, 'sif <1> blocks 2', 'sif <1> size 1024'] : []),
    )
    const open = openExt4(new MemoryDevice(new Uint8Array(readFileSync(path))), { writable: true })
    if (fine) await (await open).sync()
    else await expect(open).rejects.toMatchObject({ code: 'ERR_CORRUPT', message: /bad blocks/ })
  })
})

describe.skipIf(!tools)('a journal that would wipe out the filesystem', () => {
  test('is refused before it is replayed, as the kernel refuses what it leaves', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'image')
    await makeFileSystem(path, 16 << 20, ['-b', '1024', '-O', '^metadata_csum'])
    const table = Number(/Inode table at (\d+)/.exec(await runOk('dumpe2fs', [path]))?.[1])
    writeFileSync(join(folder, 'data'), new Uint8Array(4096).fill(7))
    await writeJournal(path, ['jo', `jw -b ${table}-${table + 3} ${join(folder, 'data')}`, 'jc'])
    const before = new Uint8Array(readFileSync(path))
    for (const writable of [false, true]) {
      const device = new MemoryDevice(before.slice())
      await expect(openExt4(device, { writable })).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
      expect(Buffer.compare(device.toBytes(), before)).toBe(0)
    }
    const theirs = join(folder, 'theirs')
    await copyImage(path, theirs)
    await run('debugfs', ['-w', '-R', 'jr', theirs])
    expect((await run('e2fsck', ['-fn', theirs])).status).toBeGreaterThan(3)
  })
})
