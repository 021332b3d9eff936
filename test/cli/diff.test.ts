import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

let folder = ''
let before = ''
let after = ''

beforeAll(async () => {
  folder = temporaryFolder()
  before = join(folder, 'before.qcow2')
  after = join(folder, 'after.qcow2')
  await cliOk('make-fs', '--demo', '--size', '96M', before)
  copyFileSync(before, after)
})

describe('diff', () => {
  test('of two images: hunks, modes, what is new and what is gone; 1 when they differ, 0 when not', async () => {
    writes(after, 'disk')
    expect(await cli('diff', before, after)).toMatchObject({ status: 0, stdout: '' })
    await cliOk(
      'customize',
      after,
      '--hostname',
      'web1.example',
      '--chmod',
      '0600:/etc/fstab',
      '--write',
      '/etc/new:a line\n',
      '--delete',
      '/etc/motd',
      '--root-password',
      'password:secret',
    )
    const { status, stdout } = await cli('diff', before, after)
    expect(status).toBe(1)
    expect(stdout).toContain('+++ b/etc/hostname')
    expect(stdout).toContain('+web1.example')
    expect(stdout).toMatch(/^changed file \/etc\/fstab: mode 0644 → 0600$/m)
    expect(stdout).toMatch(/^created file \/etc\/new/m)
    expect(stdout).toMatch(/^removed file \/etc\/motd/m)
    expect(stdout).not.toContain('$6$')
    const brief = await cli('diff', '--brief', before, after, '--path', '/etc/hostname')
    expect(brief).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/^changed file \/etc\/hostname: content .*\n$/),
    })
    const { changes } = JSON.parse((await cli('diff', '--json', before, after)).stdout)
    expect(changes).toContainEqual(
      expect.objectContaining({ path: '/etc/fstab', kind: 'changed', aspects: ['mode'] }),
    )
  })

  test('of an image with its backing file, and with its snapshot', async () => {
    const overlay = writes(join(folder, 'overlay.qcow2'), 'disk')
    await cliOk('create', '-f', 'qcow2', '-b', before, '-F', 'qcow2', overlay)
    expect(await cli('diff', overlay)).toMatchObject({ status: 0, stdout: '' })
    await cliOk('customize', overlay, '--append-line', '/etc/hosts:10.0.0.1 one')
    const changed = await cli('diff', overlay)
    expect(changed).toMatchObject({ status: 1, stdout: expect.stringContaining('+10.0.0.1 one') })
    expect(await cli('diff', '--content', overlay)).toEqual(changed)
    await cliOk('snapshot', 'create', overlay, 'one')
    expect((await cli('diff', '-l', 'one', overlay)).status).toBe(0)
    await cliOk('customize', overlay, '--append-line', '/etc/hosts:10.0.0.2 two')
    const since = await cli('diff', '--snapshot', 'one', overlay)
    expect(since.stdout).toContain('+10.0.0.2 two')
    expect(since.stdout).not.toContain('+10.0.0.1 one')
  })

  test('an error is 2, and says what to name', async () => {
    const alone = await cli('diff', before)
    expect(alone).toMatchObject({ status: 2, stderr: expect.stringContaining('no backing file') })
    expect((await cli('diff', before, join(folder, 'none'))).status).toBe(2)
    expect((await cli('diff', before, after, 'third')).status).toBe(2)
    expect((await cli('diff', '-l', 'x', before, after)).status).toBe(2)
  })
})
