import { expect, test } from 'vitest'
import { toBytes } from '../../../src/bytes/names.ts'
import { MemoryFileSystem } from '../../../src/filesystem/memory/memory-filesystem.ts'
import { fileSystemContract } from '../../support/filesystem-contract.ts'

fileSystemContract('memory', async () => ({ fs: new MemoryFileSystem() }))

test('a filesystem that is open for reading only refuses every change with EROFS', async () => {
  const fs = new MemoryFileSystem({ writable: false })
  const name = toBytes('x')
  const attributes = { mode: 0o644, uid: 0, gid: 0 }
  for (const change of [
    fs.create(fs.root, name, attributes),
    fs.mkdir(fs.root, name, attributes),
    fs.unlink(fs.root, name),
    fs.setAttributes(fs.root, { mode: 0 }),
    fs.setxattr(fs.root, 'user.x', name),
  ])
    await expect(change).rejects.toMatchObject({ code: 'EROFS' })
})
