import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'
import { noise } from '../support/sparsify-images.ts'

checkWrittenImages()

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('drydisk compact', () => {
  it('shortens an image after discards, and says by how much', async () => {
    const folder = temporaryFolder()
    const raw = join(folder, 'raw')
    const image = writes(join(folder, 'disk.qcow2'), 'qcow2')
    writeFileSync(raw, noise(4 << 20, 1))
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image])
    await runOk('qemu-io', ['-f', 'qcow2', '-d', 'unmap', '-c', 'discard 1M 2M', image])
    await runOk('qemu-io', ['-f', 'raw', '-c', 'write -z 1M 2M', raw])
    const before = statSync(image).size
    const line = await cliOk('compact', '--json', image)
    const result = JSON.parse(line.trimEnd().split('\n').at(-1) ?? '')
    expect(result).toMatchObject({
      event: 'result',
      filename: image,
      before,
      after: statSync(image).size,
      slack: 0,
    })
    expect(result.after).toBeLessThanOrEqual(before - (2 << 20))
    await runOk('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, image])
    expect(await cliOk('compact', image)).toBe(`${image}: 0 B moved, 2.3 MiB → 2.3 MiB\n`)
    expect(await cliOk('compact', '-q', image)).toBe('')
  })

  it('refuses a raw image', async () => {
    const raw = join(temporaryFolder(), 'disk.raw')
    writeFileSync(raw, noise(1 << 20, 2))
    expect(await cli('compact', raw)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('raw image'),
    })
  })
})
