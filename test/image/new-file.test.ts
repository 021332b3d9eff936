import {
  chmodSync,
  chownSync,
  linkSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { redoLogName } from '../../src/device/redo-log.ts'
import { NewFile, removeUnfinished } from '../../src/image/new-file.ts'
import { openImage } from '../../src/image/open.ts'
import { temporaryFolder } from '../support/native.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const asRoot = process.geteuid?.() === 0

/** Root may do everything: what is forbidden is seen by others alone. */
async function asSomebody(step: () => Promise<void>): Promise<void> {
  if (asRoot) process.seteuid?.(65_534)
  try {
    await step()
  } finally {
    if (asRoot) process.seteuid?.(0)
  }
}

async function written(path: string, replace = true): Promise<NewFile> {
  const file = await NewFile.create(path, { replace })
  await file.storage.write(0, bytes('new'))
  return file
}

describe('a file that takes its name when it is complete', () => {
  it('is not there before, nor when it is given up', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'disk.raw')
    const file = await written(path)
    expect(readdirSync(folder)).not.toContain('disk.raw')
    // Nobody else reads what is not complete.
    expect(statSync(file.storage.name).mode & 0o777).toBe(0o600)
    await file.discard()
    await file.discard()
    expect(readdirSync(folder)).toEqual([])
  })

  it('goes at once where a process ends before it is complete', async () => {
    const folder = temporaryFolder()
    const file = await NewFile.create(join(folder, 'new'))
    await file.storage.write(0, bytes('half of it'))
    expect(readdirSync(folder)).toHaveLength(1)
    expect(removeUnfinished()).toBe(true)
    expect(readdirSync(folder)).toEqual([])
    expect(removeUnfinished()).toBe(false)
    await file.discard()
    const complete = await NewFile.create(join(folder, 'complete'))
    await complete.publish()
    expect(removeUnfinished()).toBe(false)
    expect(readdirSync(folder)).toEqual(['complete'])
  })

  it('goes at once with the lock of what it was to replace', async () => {
    const folder = temporaryFolder()
    const target = join(folder, 'target')
    writeFileSync(target, 'precious')
    const file = await NewFile.create(target, { replace: true })
    expect(readdirSync(folder)).toHaveLength(3)
    expect(removeUnfinished()).toBe(true)
    expect(readdirSync(folder)).toEqual(['target'])
    await file.discard()
    expect(readFileSync(target, 'utf8')).toBe('precious')
  })

  it('leaves a file that was made meanwhile, unless it is to replace it', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'disk.raw')
    const [careful, bold] = [await written(path, false), await written(path)]
    writeFileSync(path, 'somebody else')
    await expect(careful.publish()).rejects.toMatchObject({ code: 'EEXIST' })
    expect(readFileSync(path, 'utf8')).toBe('somebody else')
    await bold.publish()
    expect([readFileSync(path, 'utf8'), readdirSync(folder)]).toEqual(['new', ['disk.raw']])
    await expect(NewFile.create(path)).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it('leaves the other names of what it replaces alone', async () => {
    const folder = temporaryFolder()
    const [path, other] = [join(folder, 'disk.raw'), join(folder, 'other.raw')]
    writeFileSync(path, 'old')
    linkSync(path, other)
    await (await written(path)).publish()
    expect([readFileSync(path, 'utf8'), readFileSync(other, 'utf8')]).toEqual(['new', 'old'])
  })

  it('takes the redo log of the image that it replaces away', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'disk.raw')
    writeFileSync(path, Buffer.alloc(8192))
    writeFileSync(join(folder, redoLogName('disk.raw')), 'what an interrupted commit left')
    await (await written(path)).publish()
    expect(readdirSync(folder)).toEqual(['disk.raw'])
    await (await openImage(path, { writable: true, format: 'raw' })).close()
  })

  it('refuses a link that leads nowhere, and names as long as they may be work', async () => {
    const folder = temporaryFolder()
    symlinkSync(join(folder, 'nowhere'), join(folder, 'link'))
    await expect(NewFile.create(join(folder, 'link'), { replace: true })).rejects.toMatchObject({
      code: 'ENOENT',
    })
    const path = join(folder, '日'.repeat(85))
    await (await written(path)).publish()
    expect(readFileSync(path, 'utf8')).toBe('new')
  })

  it('keeps owner and permissions of what it replaces', async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    writeFileSync(path, 'old')
    // Only root gives files away.
    const owner = asRoot ? { uid: 1234, gid: 2345 } : { uid: statSync(path).uid, gid: statSync(path).gid }
    chownSync(path, owner.uid, owner.gid)
    chmodSync(path, 0o640)
    await (await written(path)).publish()
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(statSync(path)).toMatchObject({ ...owner, mode: 0o100640 })
  })

  it('does not replace a file that is write-protected, and says where it may not write', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'golden.raw')
    writeFileSync(path, 'golden')
    chmodSync(path, 0o444)
    chmodSync(folder, 0o777)
    await asSomebody(async () => {
      await expect(NewFile.create(path, { replace: true })).rejects.toMatchObject({
        code: 'EACCES',
        message: expect.stringContaining('write-protected'),
      })
    })
    chmodSync(path, 0o666)
    chmodSync(folder, 0o555)
    await asSomebody(async () => {
      for (const name of ['golden.raw', 'new.raw'])
        await expect(NewFile.create(join(folder, name), { replace: true })).rejects.toMatchObject({
          code: 'EACCES',
          message: `cannot create ${join(folder, name)}: no permission to write into the folder ${folder}, where it is made before it takes its name`,
        })
    })
    chmodSync(folder, 0o755)
    expect([readdirSync(folder), readFileSync(path, 'utf8')]).toEqual([['golden.raw'], 'golden'])
    await expect(NewFile.create(join(folder, 'none', 'x'))).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining(`the folder ${join(folder, 'none')} does not exist`),
    })
    await expect(NewFile.create(join(path, 'x'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  })
})
