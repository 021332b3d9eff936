import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { withDiskFull } from '../../src/cli/disk-full.ts'
import { DrydiskError } from '../../src/errors.ts'
import { temporaryFolder } from '../support/native.ts'

describe('a full disk', () => {
  it('leaves a file as it was, unless the change counts already', async () => {
    const path = join(temporaryFolder(), 'disk.qcow2')
    writeFileSync(path, '')
    const failing = (context: { readonly published: boolean }) =>
      withDiskFull(path, undefined, async () => {
        throw new DrydiskError('ENOSPC', 'the commit is done, but no space is left', context)
      })
    await expect(failing({ published: false })).rejects.toThrow(`${path} is as it was`)
    await expect(failing({ published: true })).rejects.toThrow('the commit is done, but no space is left')
  })
})
