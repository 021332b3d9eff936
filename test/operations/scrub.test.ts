import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { scrub } from '../../src/operations/scrub.ts'
import { checkWrittenImages, writes } from '../support/native.ts'
import { memoryGuest, runTwice } from './support/operations.ts'

checkWrittenImages()

describe('scrub', () => {
  it('overwrites, deletes, and takes files only', async () => {
    const guest = await memoryGuest({ '/srv/secret': 'secret' })
    await guest.link('/srv/secret', '/srv/name')
    await guest.symlink('secret', '/srv/link')
    const report = await runTwice(guest, scrub, { path: '/srv/link' })
    expect(report.changes[0]).toMatchObject({ before: '6 bytes', after: null, file: '/srv/secret' })
    expect(await guest.exists('/srv/secret')).toBe(false)
    expect(await guest.readFile('/srv/name')).toEqual(new Uint8Array(6))
    await expect(scrub.run(guest, { path: '/srv' })).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it.each([
    ['ext4', ['-t', 'ext4']],
    ['ext4 with the content in the inode', ['-t', 'ext4', '-O', 'inline_data']],
    ['ext2', ['-t', 'ext2', '-b', '1024']],
  ])('%s: no byte of it is left on the volume', async (_, args) => {
    const image = await makeExt4Image({ name: '', arguments: args, megabytes: 16 })
    writes(image, 'ext4')
    const SECRETS = ['hush-hush-small', 'hush-hush-large']
    const onGuest = (step: (guest: MountedGuest) => Promise<unknown>) =>
      withExt4(image, true, async fs => {
        await step(new MountedGuest(new MountTable({ fs, source: image })))
        await fs.close()
      })
    await onGuest(async guest => {
      await guest.writeFile('/small', SECRETS[0] ?? '')
      await guest.writeFile('/large', (SECRETS[1] ?? '').repeat(100_000))
      await guest.writeFile('/sparse', '')
      await guest.writeAt('/sparse', 5_000_000, new TextEncoder().encode(SECRETS[1] ?? ''))
    })
    for (const secret of SECRETS) expect((await readFile(image)).includes(secret)).toBe(true)
    await onGuest(async guest => {
      for (const path of ['/small', '/large', '/sparse']) await scrub.run(guest, { path })
    })
    expect((await readFile(image)).includes('hush-hush')).toBe(false)
  })
})
