import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

let demo = ''
beforeAll(async () => {
  demo = join(temporaryFolder(), 'demo.qcow2')
  await cliOk('make-fs', '--demo', '--size', '96M', demo)
  await cliOk('customize', demo, '--write', '/etc/machine-id:0123456789abcdef0123456789abcdef\n')
})

test('one finding a line, 1 when something fails, and nothing is written', async () => {
  const before = readFileSync(demo)
  const { status, stdout } = await cli('doctor', demo)
  expect(status).toBe(1)
  expect(stdout).toMatch(
    /^FAIL {4}machine-id: .*\(\/etc\/machine-id\)\n {8}drydisk sysprep \S+demo\.qcow2 --operations machine-id$/m,
  )
  expect(stdout).toMatch(/^not ready for openstack: \d+ fail, \d+ warnings\n$/m)
  const { ready, findings } = JSON.parse((await cli('doctor', '--json', demo)).stdout)
  expect(ready).toBe(false)
  expect(findings).toContainEqual(expect.objectContaining({ check: 'machine-id', status: 'failed' }))
  expect((await cli('doctor', '--fix', '--dry-run', demo)).stdout).toContain('mended')
  expect(readFileSync(demo).equals(before)).toBe(true)
})

test('--fix mends in the image', async () => {
  const image = writes(join(temporaryFolder(), 'disk.qcow2'), 'disk')
  copyFileSync(demo, image)
  const fixed = await cli('doctor', '--fix', '--check', 'machine-id,host-keys', image)
  expect(fixed).toMatchObject({ status: 0, stdout: expect.stringMatching(/^mended {2}machine-id: /m) })
  expect(await cliOk('cat', image, '/etc/machine-id')).toBe('')
  expect(await cli('doctor', '-q', '--check', 'machine-id', image)).toMatchObject({
    status: 0,
    stdout: 'ready for openstack: 0 fail, 0 warnings\n',
  })
})

test('wrong usage is 2, and so is an image that does not open', async () => {
  for (const args of [['--profile', 'moon', demo], ['--check', 'moon', demo], []])
    expect((await cli('doctor', ...args)).status).toBe(2)
  expect((await cli('doctor', join(temporaryFolder(), 'none'))).status).toBe(2)
  expect(await cliOk('doctor', '--list')).toMatch(/^serial-console +the kernel of every boot entry/m)
  const listed = JSON.parse(await cliOk('doctor', '--list', '--json'))
  expect(listed).toContainEqual({
    name: 'serial-console',
    summary: expect.stringMatching(/^the kernel of every boot entry/),
    profiles: ['openstack', 'kvm'],
  })
  expect(await cli('doctor', '-a', demo, demo)).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/one image at a time/),
  })
})
