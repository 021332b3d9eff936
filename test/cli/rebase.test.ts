import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

/** `a.raw`, `b.raw` that differs from it, and `top.qcow2` over `a.raw`. */
async function chain(): Promise<{ folder: string; top: string }> {
  const folder = temporaryFolder()
  const bytes = new Uint8Array(1 << 20).fill(1)
  writeFileSync(join(folder, 'a.raw'), bytes)
  writeFileSync(join(folder, 'b.raw'), bytes.fill(2, 300_000, 400_000))
  const top = writes(join(folder, 'top.qcow2'), 'qcow2')
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'a.raw', '-F', 'raw', top, '1M'])
  await runOk('qemu-io', ['-c', 'write -P 7 700k 50k', top])
  await runOk('qemu-img', ['convert', '-O', 'raw', top, join(folder, 'flat.raw')])
  return { folder, top }
}

function lastLine(text: string): unknown {
  return JSON.parse(text.trimEnd().split('\n').at(-1) ?? '')
}

/** Has qemu hold an image for writing. @returns what ends that. */
async function held(path: string, format: string): Promise<() => Promise<void>> {
  const child: ChildProcess = spawn('qemu-io', ['-f', format, path], { stdio: ['pipe', 'pipe', 'ignore'] })
  const ended = new Promise(resolve => child.once('exit', resolve))
  const end = async (): Promise<void> => {
    child.stdin?.end('quit\n')
    await ended
  }
  onTestFinished(end)
  await new Promise<void>(resolve => child.stdout?.once('data', () => resolve()))
  return end
}

describe.skipIf(!haveTool('qemu-img'))('drydisk rebase', () => {
  it('prints nothing, or one result with --json', async () => {
    const { folder, top } = await chain()
    expect(await cliOk('rebase', '-b', 'b.raw', '-F', 'raw', top)).toBe('')
    await runOk('qemu-img', ['compare', '-F', 'raw', top, join(folder, 'flat.raw')])
    expect(lastLine(await cliOk('rebase', '--json', '-b', 'a.raw', '-F', 'raw', top))).toEqual({
      event: 'result',
      filename: top,
      'backing-filename': 'a.raw',
      'backing-filename-format': 'raw',
      copied: 0,
      zeroed: 0,
      warnings: [],
    })
    await cliOk('rebase', '-b', '', top)
    await runOk('qemu-img', ['compare', '-F', 'raw', top, join(folder, 'flat.raw')])
    expect(lastLine(await cliOk('rebase', '--json', '-u', '-b', 'b.raw', '-F', 'raw', top))).toMatchObject({
      'backing-filename': 'b.raw',
      copied: 0,
    })
  })

  it('says what is missing, and refuses images in use', async () => {
    const { folder, top } = await chain()
    const before = readFileSync(top)
    for (const [args, status, words] of [
      [[top], 2, '-b'],
      [['-f', 'raw', '-b', '', top], 2, 'raw'],
      [['-b', 'b.raw', top], 1, 'format'],
      [['-b', 'b.raw', '-F', 'vmdk', top], 2, 'vmdk'],
      [['-b', 'none.raw', '-F', 'raw', top], 1, 'none.raw'],
      [['-b', '', join(folder, 'a.raw')], 1, 'raw'],
    ] as const) {
      const found = await cli('rebase', ...args)
      expect(found, args.join(' ')).toMatchObject({ status })
      expect(found.stderr).toContain(words)
    }
    const release = await held(top, 'qcow2')
    for (const flag of [[], ['-u']])
      expect(
        lastLine((await cli('rebase', '--json', ...flag, '-b', 'b.raw', '-F', 'raw', top)).stdout),
      ).toMatchObject({ error: { code: 'ERR_IN_USE' } })
    await release()
    expect(Buffer.compare(readFileSync(top), before)).toBe(0)
  })
})

describe.skipIf(!haveTool('qemu-img'))('drydisk commit', () => {
  it('says that it is done, as qemu-img does', async () => {
    const { folder, top } = await chain()
    expect(await cliOk('commit', '-d', top)).toBe('Image committed.\n')
    await runOk('qemu-img', [
      'compare',
      '-f',
      'raw',
      '-F',
      'raw',
      join(folder, 'a.raw'),
      join(folder, 'flat.raw'),
    ])
    await runOk('qemu-io', ['-c', 'write -P 9 0 4k', top])
    expect(await cliOk('commit', '-q', top)).toBe('')
    expect(lastLine(await cliOk('commit', '--json', '-b', join(folder, 'a.raw'), top))).toEqual({
      event: 'result',
      filename: top,
      base: join(folder, 'a.raw'),
      copied: 0,
      zeroed: 0,
      emptied: false,
    })
    expect((await cli('commit', '-f', 'raw', top)).status).toBe(2)
  })

  it('refuses a backing file in use, and leaves both as they were', async () => {
    const { folder, top } = await chain()
    const before = [readFileSync(top), readFileSync(join(folder, 'a.raw'))]
    await held(join(folder, 'a.raw'), 'raw')
    expect(lastLine((await cli('commit', '--json', top)).stdout)).toMatchObject({
      error: { code: 'ERR_IN_USE' },
    })
    expect(Buffer.compare(readFileSync(top), before[0] as Buffer)).toBe(0)
    expect(Buffer.compare(readFileSync(join(folder, 'a.raw')), before[1] as Buffer)).toBe(0)
  })
})
