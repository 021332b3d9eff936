import { linkSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { redoLogName } from '../../src/device/redo-log.ts'
import { NewFile } from '../../src/image/new-file.ts'
import { openImage } from '../../src/image/open.ts'
import { temporaryFolder } from '../support/native.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

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
})
