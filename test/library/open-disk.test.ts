import { expect, test } from 'vitest'
import { openDisk } from '../../src/library/open-disk.ts'

test('addresses that cannot be opened have a code, and what may be secret in them is not told', async () => {
  for (const uri of ['file:///a%zz', 'http://', 'nbd://host/%zz', 'http://user%zz:word@host/x'])
    await expect(openDisk(uri)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.not.stringMatching(/word/),
    })
  await expect(openDisk(new URL('ftp://user:word@host/x'))).rejects.toMatchObject({
    code: 'ERR_UNSUPPORTED',
    message: expect.not.stringMatching(/word/),
  })
})
