import { readdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Job, withProgress } from '../../src/cli/progress.ts'
import { humanTime } from '../../src/cli/progress-bar.ts'
import { builtCli, start } from '../support/built-cli.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20

/** What a terminal, or a pipe, is sent. */
function screen(isTTY: boolean) {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 120 })
  let text = ''
  stream.on('data', bytes => {
    text += bytes
  })
  return { stream, text: () => text }
}

/** Half of the work, a moment, and all of it. */
async function halfAndWhole({ onProgress }: Job): Promise<string> {
  onProgress({ done: 1 * MIB, total: 4 * MIB, written: 0 })
  await sleep(150)
  onProgress({ done: 2 * MIB, total: 4 * MIB, written: 0 })
  await sleep(150)
  onProgress({ done: 4 * MIB, total: 4 * MIB, written: 0 })
  return 'done'
}

describe('progress', () => {
  it('is a bar with bytes, rate and time left on a terminal, and is gone at the end', async () => {
    const { stream, text } = screen(true)
    expect(await withProgress('convert', {}, halfAndWhole, stream)).toBe('done')
    expect(text()).toMatch(/convert +50 % \[#{12}\.{12}\] 2 MiB of 4 MiB, [\d.]+ [KM]iB\/s, \d s left/)
    // The last thing sent: to the line's beginning, and clear it.
    expect(text().endsWith('\x1b[1G\x1b[2K')).toBe(true)
    expect(text()).not.toContain('\n')
    // What was switched is switched back.
    expect(text().split('\x1b[?7l')).toHaveLength(2)
    expect(text().split('\x1b[?7h')).toHaveLength(2)
    expect(text()).not.toMatch(/NULL|INF|NaN/)
  })

  it('goes away before an error is told', async () => {
    const { stream, text } = screen(true)
    const failing = async (job: Job): Promise<void> => {
      await halfAndWhole(job)
      throw new Error('broken')
    }
    await expect(withProgress('convert', {}, failing, stream)).rejects.toThrow('broken')
    expect(text().endsWith('\x1b[2K')).toBe(true)
  })

  it('stays away when it is gone, whatever is still told', async () => {
    const { stream, text } = screen(true)
    const late = await withProgress(
      'convert',
      {},
      async job => {
        await halfAndWhole(job)
        return job.onProgress
      },
      stream,
    )
    const before = text()
    await sleep(100)
    late({ done: 3 * MIB, total: 4 * MIB })
    expect(text()).toBe(before)
  })

  it('is quiet in a pipe and with --quiet', async () => {
    for (const [isTTY, options] of [
      [false, {}],
      [true, { quiet: true }],
      [false, { quiet: true, progress: true }],
    ] as const) {
      const { stream, text } = screen(isTTY)
      await withProgress('convert', options, halfAndWhole, stream)
      expect(text()).toBe('')
    }
  })

  it('is a line now and then in a pipe when -p asks for it', async () => {
    const { stream, text } = screen(false)
    await withProgress('convert', { progress: true }, halfAndWhole, stream)
    expect(text()).toMatch(
      /^convert +0 % .* 0 B of 4 MiB, 0 B\/s, .*\n(convert .*\n)*convert 100 % .* 4 MiB of 4 MiB.*\n+$/,
    )
    expect(text()).not.toContain('\x1b')
  })

  it('says times as people do', () => {
    expect([0, 59.4, 60, 125, 3600, 90_061].map(humanTime)).toEqual([
      '0 s',
      '59 s',
      '1 min 00 s',
      '2 min 05 s',
      '1 h 00 min',
      '25 h 01 min',
    ])
  })
})

/** A filesystem of 24 MiB; `undefined` where none may be mounted. */
async function smallFilesystem(): Promise<string | undefined> {
  const folder = temporaryFolder()
  const { status } = await run('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', folder])
  return status === 0 ? folder : undefined
}

describe('a long command', () => {
  let small: string | undefined
  let main = ''
  beforeAll(async () => {
    small = await smallFilesystem()
    if (small === undefined) process.stderr.write('SKIPPED CHECKS: a full disk (no tmpfs may be mounted)\n')
    main = await builtCli()
  })
  afterAll(async () => {
    if (small !== undefined) await runOk('umount', [small])
  })

  it('stops at a signal within a second, by that signal, with nothing left', {
    timeout: 30_000,
    // Another process may have the machine to itself for a moment.
    retry: 2,
  }, async () => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      const folder = temporaryFolder()
      const args = ['create', '-o', 'preallocation=full', join(folder, 'disk.qcow2'), '8G']
      const { child, ended } = start(process.execPath, [main, ...args])
      while (!readdirSync(folder).some(name => statSync(join(folder, name)).size > 0)) await sleep(20)
      const told = performance.now()
      child.kill(signal)
      expect(await ended).toMatchObject({ signal, status: null, stdout: '', stderr: '' })
      expect(performance.now() - told).toBeLessThan(1000)
      expect(readdirSync(folder)).toEqual([])
    }
  })

  it.skipIf(!haveTool('qemu-io'))(
    'stopped after its first step, says what that has changed',
    { timeout: 60_000, retry: 2 },
    async () => {
      const image = join(temporaryFolder(), 'disk.qcow2')
      await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', image, '400M'])
      // What stays lies behind what goes, and has to move.
      await runOk('qemu-io', ['-c', 'write 200M 200M', '-c', 'write 0 200M', image])
      const args = ['resize', '--json', '--shrink', image, '200M']
      const { child, ended } = start(process.execPath, [main, ...args])
      child.stdout?.once('data', () => child.kill('SIGINT'))
      expect(await ended).toMatchObject({
        signal: 'SIGINT',
        stderr: expect.stringMatching(
          /^drydisk: .*disk\.qcow2: the disk has 209715200 bytes now, but .*"drydisk compact" tries that again\n$/,
        ),
      })
      const { virtualSize } = JSON.parse(
        (await run(process.execPath, [main, 'info', '--json', image])).stdout,
      )
      expect(virtualSize).toBe(200 * MIB)
      await runOk('qemu-img', ['check', image])
    },
  )

  it('says how full a full disk is, and leaves what was there', { timeout: 30_000 }, async context => {
    if (small === undefined) return context.skip()
    const path = join(small, 'disk.raw')
    const make = (...args: string[]) => start(process.execPath, [main, 'create', ...args]).ended
    expect(await make(path, '4M')).toMatchObject({ status: 0 })
    const { status, stderr } = await make('--force', '-o', 'preallocation=full', path, '64M')
    expect([status, stderr]).toEqual([
      1,
      `drydisk: cannot write ${path}: no space left where it lies: 24 MiB are free there; up to 64 MiB are needed. ${path} is as it was\n`,
    ])
    expect(readdirSync(small)).toEqual(['disk.raw'])
    expect(statSync(path).size).toBe(4 * MIB)
    const failed = await make('--json', '-o', 'preallocation=full', join(small, 'other.raw'), '64M')
    expect(JSON.parse(failed.stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
      error: {
        code: 'ENOSPC',
        context: { path: join(small, 'other.raw'), free: 24 * MIB, needed: 64 * MIB },
      },
    })
    expect(readdirSync(small)).toEqual(['disk.raw'])
  })

  it('says of every command how full a full disk is, and leaves nothing beside the image', {
    timeout: 60_000,
  }, async context => {
    if (small === undefined) return context.skip()
    const [image, base, filler] = ['disk.qcow2', 'base.qcow2', 'filler'].map(name => join(small ?? '', name))
    if (image === undefined || base === undefined || filler === undefined) throw new Error('three names')
    for (const name of readdirSync(small)) rmSync(join(small, name))
    const elsewhere = temporaryFolder()
    const overlay = join(elsewhere, 'overlay.qcow2')
    const content = join(elsewhere, 'content')
    writeFileSync(content, new Uint8Array(2 * MIB).fill(7))
    const call = (...args: string[]) => start(process.execPath, [main, ...args]).ended
    expect(await call('make-fs', '--demo', '--size', '64M', image)).toMatchObject({ status: 0 })
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', base, '64M'])
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', overlay])
    await runOk('qemu-io', ['-c', 'write 0 8M', overlay])
    const fill = (free: number): void => {
      const { bavail, bsize } = statfsSync(small ?? '')
      writeFileSync(filler, new Uint8Array(bavail * bsize - free))
    }
    const full = (path: string, free: string): string =>
      `cannot write ${path}: no space left where it lies: ${free} are free there\n`
    fill(1 * MIB)
    const before = readFileSync(image)
    expect(await call('cp', content, `${image}:/content`)).toMatchObject({
      status: 1,
      stderr: `drydisk: ${full(image, '1 MiB')}`,
    })
    // What cannot be written is the backing file, not the image that is named.
    expect(await call('commit', '--backing', 'any', overlay)).toMatchObject({
      status: 1,
      stderr: `drydisk: ${full(base, '1 MiB')}`,
    })
    rmSync(filler)
    fill(0)
    const { status, stdout } = await call('snapshot', 'create', '--json', image, 'one')
    expect(status).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({
      error: {
        code: 'ENOSPC',
        message: `cannot create the lock file ${image}.drydisk-lock: no space left where it lies: 0 B are free there`,
        context: { path: `${image}.drydisk-lock`, free: 0 },
      },
    })
    expect(readdirSync(small).sort()).toEqual(['base.qcow2', 'disk.qcow2', 'filler'])
    expect(readFileSync(image).equals(before)).toBe(true)
  })

  it('says that a limit of the process is reached', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'disk.raw')
    const command = `ulimit -f 2048; exec "$0" "$@"`
    const args = [process.execPath, main, 'create', '-o', 'preallocation=full', path, '64M']
    const { status, stderr } = await start('bash', ['-c', command, ...args]).ended
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/disk\.raw: it would grow .*ulimit -f.* Nothing is left of it\n$/),
    ])
    expect(readdirSync(folder)).toEqual([])
  })

  it.skipIf(!haveTool('script'))('draws its bar on a real terminal', { timeout: 30_000 }, async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    const command = `'${process.execPath}' '${main}' create -o preallocation=full '${path}' 300M`
    const { status, stdout } = await start('script', ['-qec', command, '/dev/null']).ended
    expect(status).toBe(0)
    expect(stdout).toMatch(/create +\d+ % \[[#.]{24}\] [\d.]+ \w+ of 300 MiB, [\d.]+ \wiB\/s/)
    expect(stdout.trimEnd().split('\n').at(-1)).toContain(`${path}: raw, 300 MiB`)
  })
})
