import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openNbdStorage } from '../../src/image/open-nbd.ts'
import { builtCli } from '../support/built-cli.ts'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('serve', () => {
  let main = ''
  beforeAll(async () => {
    main = await builtCli()
  }, 60_000)

  async function image(): Promise<string> {
    const path = writes(join(temporaryFolder(), 'disk.qcow2'), 'disk')
    await cliOk('make-fs', '--demo', path)
    return path
  }

  /** The server's process, when it listens. */
  async function serving(
    ...args: string[]
  ): Promise<{ uri: string; stop(): Promise<number | null>; ended: Promise<number | null> }> {
    const child = spawn(process.execPath, [main, 'serve', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const ended = new Promise<number | null>(resolve => child.once('exit', code => resolve(code)))
    onTestFinished(() => {
      child.kill('SIGKILL')
    })
    let problem = ''
    child.stderr.on('data', (data: Buffer) => {
      problem += data.toString()
    })
    const line = await new Promise<string>((resolve, reject) => {
      createInterface(child.stdout).once('line', resolve)
      child.once('exit', () => reject(new Error(problem)))
    })
    return {
      uri: line,
      ended,
      stop() {
        child.kill('SIGTERM')
        return ended
      },
    }
  }

  test('an image is read and edited through a socket, by drydisk and by qemu', {
    timeout: 60_000,
  }, async () => {
    const path = await image()
    const socket = join(temporaryFolder(), 's')
    const { uri, stop } = await serving('--writable', '--socket', socket, path)
    expect(uri).toBe(`nbd+unix:///?socket=${socket}`)
    expect(await cliOk('cat', uri, '/etc/os-release')).toContain('NAME')
    await cliOk('customize', uri, '--write', '/etc/note:by NBD\n')
    expect(await cliOk('cat', uri, '/etc/note')).toBe('by NBD\n')
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, join(temporaryFolder(), 'copy.raw')])
    await stop()
    expect(await cliOk('cat', path, '/etc/note')).toBe('by NBD\n')
  })

  test('what was not flushed when the server is stopped is dropped', { timeout: 60_000 }, async () => {
    const path = await image()
    const { uri, stop } = await serving('-w', '-k', join(temporaryFolder(), 's'), path)
    const before = await runOk('qemu-img', ['convert', '-O', 'raw', path, `${path}.raw`])
    expect(before).toBe('')
    const client = await openNbdStorage(uri, true)
    await client.write(0, new Uint8Array(4096).fill(7))
    await stop()
    await runOk('qemu-img', ['compare', '-q', path, `${path}.raw`])
  })

  test('a volume, for reading, over TCP, until the client has gone', { timeout: 60_000 }, async () => {
    const path = await image()
    const { uri, ended } = await serving(
      '--once',
      '-p',
      '0',
      '--volume',
      '/dev/sda1',
      '--name',
      'root',
      '--json',
      path,
    )
    const said = JSON.parse(uri) as { uri: string; writable: boolean }
    expect(said.writable).toBe(false)
    expect(said.uri).toMatch(/^nbd:\/\/127\.0\.0\.1:\d+\/root$/)
    expect(await cliOk('cat', said.uri, '/etc/os-release')).toContain('NAME')
    expect(await ended).toBe(0)
  })

  test('mistakes are told before anything listens', async () => {
    const path = await image()
    for (const [args, message] of [
      [['--port', '99999', path], /expected 0 to 65535/],
      [['--socket', '/nowhere/at/all', path], /cannot listen on/],
      [['--volume', '/dev/sdz9', path], /no volume \/dev\/sdz9/],
    ] as const) {
      const { status, stderr } = await cli('serve', ...args)
      expect(status).not.toBe(0)
      expect(stderr).toMatch(message)
    }
  })
})
