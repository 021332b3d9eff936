import { expect, test } from 'vitest'
import { cli } from '../support/cli.ts'

test.each(['http://127.0.0.1:1/disk.qcow2', 'nbd://127.0.0.1:1/export'])(
  'a command that works on files alone says so of %s',
  async place => {
    for (const line of [
      ['check', place],
      ['compact', place],
      ['resize', place, '+1G'],
      ['snapshot', 'list', place],
    ]) {
      const { status, stderr } = await cli(...line)
      expect({ line, status, stderr }).toEqual({
        line,
        status: 1,
        stderr: expect.stringContaining(`${place}: only a file of this machine can be worked on here`),
      })
    }
  },
)
