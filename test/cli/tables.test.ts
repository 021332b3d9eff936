import { copyFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'

/** Images of every kind that the tables know, each made by qemu. */
async function images(folder: string): Promise<Record<string, string>> {
  const at = (name: string): string => join(folder, name)
  const io = (path: string, ...commands: string[]) =>
    runOk('qemu-io', [...commands.flatMap(command => ['-c', command]), path])
  const create = (name: string, options: string, size: string, ...more: string[]) =>
    runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, ...more, at(name), size])
  await create('base.qcow2', 'cluster_size=4k', '3M')
  await io(at('base.qcow2'), 'write -P 1 0 200k', 'write -z 300k 64k', 'write -P 2 2M 100k')
  await create('top.qcow2', 'cluster_size=64k', '4M', '-b', 'base.qcow2', '-F', 'qcow2')
  await io(at('top.qcow2'), 'write -P 3 64k 64k', 'write -z 2M 64k', 'write -P 4 3500k 20k')
  await create('extended.qcow2', 'extended_l2=on,cluster_size=16k', '4M')
  await io(
    at('extended.qcow2'),
    'write -P 5 1k 3k',
    'write -P 6 512k 100k',
    'write -z 520k 2k',
    'discard 530k 4k',
  )
  await create('old.qcow2', 'compat=0.10,cluster_size=512', '1000k')
  await io(at('old.qcow2'), 'write -P 7 10k 20k', 'write -P 7 900k 4k')
  await create('bitmaps.qcow2', 'cluster_size=4k', '4M')
  await runOk('qemu-img', ['bitmap', '--add', at('bitmaps.qcow2'), 'first'])
  await runOk('qemu-img', ['bitmap', '--add', '-g', '4k', at('bitmaps.qcow2'), 'second'])
  await io(at('bitmaps.qcow2'), 'write -P 8 0 64k', 'write -z 1M 8k')
  writeFileSync(at('plain.raw'), new Uint8Array(300_032).fill(9))
  await runOk('qemu-img', ['convert', '-c', '-O', 'qcow2', at('base.qcow2'), at('compressed.qcow2')])
  const names = ['base', 'top', 'extended', 'old', 'bitmaps', 'compressed']
  return Object.fromEntries(names.map(name => [name, at(`${name}.qcow2`)]))
}

const json = (text: string): unknown => JSON.parse(text)

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('commands that read tables', () => {
  it('map prints what qemu-img prints', async () => {
    const made = await images(temporaryFolder())
    for (const [name, path] of Object.entries(made))
      for (const window of [[], ['--start-offset', '100000', '--max-length', '1000000'], ['-s', '900k']]) {
        const qemu = (await runOk('qemu-img', ['map', '--output', 'json', ...window, path])).trim()
        const ours = json(await cliOk('map', '--output', 'json', ...window, path)) as Record<
          string,
          unknown
        >[]
        // qemu-img has the field since 8.1; compressed clusters in a row are one run all the same.
        expect(
          ours.map(({ compressed: _, ...entry }) => entry),
          `${name} ${window}`,
        ).toEqual((json(qemu) as Record<string, unknown>[]).map(({ compressed: _, ...entry }) => entry))
        const text = await run('qemu-img', ['map', ...window, path])
        const own = await cli('map', ...window, path)
        expect(own.status === 0, name).toBe(text.status === 0)
        if (text.status === 0) expect(own.stdout).toBe(text.stdout)
      }
  })

  it('measure gives the sizes that qemu-img gives', async () => {
    const folder = temporaryFolder()
    const made = { ...(await images(folder)), plain: join(folder, 'plain.raw') }
    const wanted = [
      ['-O', 'raw'],
      ['-O', 'qcow2'],
      ['-O', 'qcow2', '-o', 'cluster_size=512,refcount_bits=64'],
      ['-O', 'qcow2', '-o', 'extended_l2=on,cluster_size=2M'],
      ['-O', 'qcow2', '-o', 'compat=0.10'],
      ['-O', 'qcow2', '-o', 'preallocation=full'],
      ['-O', 'qcow2', '-o', 'backing_file=x,backing_fmt=raw'],
    ]
    for (const [name, path] of Object.entries(made))
      for (const options of wanted) {
        const qemu = await runOk('qemu-img', ['measure', '--output', 'json', ...options, path])
        expect(json(await cliOk('measure', '--json', ...options, path)), `${name} ${options}`).toEqual(
          json(qemu),
        )
        expect(await cliOk('measure', ...options, path)).toBe(
          await runOk('qemu-img', ['measure', ...options, path]),
        )
      }
    for (const size of ['0', '1', '65536', '100G', '8T', '12345678'])
      for (const options of wanted.slice(0, 6)) {
        const qemu = await run('qemu-img', ['measure', '--output', 'json', ...options, '--size', size])
        const own = await cli('measure', '--output', 'json', ...options, '--size', size)
        expect(own.status === 0, `${options} ${size} ${own.stderr}`).toBe(qemu.status === 0)
        if (qemu.status === 0) expect(json(own.stdout), `${options} ${size}`).toEqual(json(qemu.stdout))
      }
  })

  it('compare says what qemu-img says, with its exit statuses', async () => {
    const folder = temporaryFolder()
    const made = await images(folder)
    const { base = '', top = '', extended = '', old = '' } = made
    const flat = join(folder, 'flat.raw')
    await runOk('qemu-img', ['convert', '-O', 'raw', top, flat])
    const changed = join(folder, 'changed.qcow2')
    copyFileSync(join(folder, 'bitmaps.qcow2'), changed)
    await runOk('qemu-io', ['-c', 'write -P 1 1000777 1', changed])
    const longer = join(folder, 'longer.raw')
    copyFileSync(flat, longer)
    truncateSync(longer, 5 << 20)
    const beyond = join(folder, 'beyond.raw')
    copyFileSync(longer, beyond)
    await runOk('qemu-io', ['-f', 'raw', '-c', 'write -P 1 4999000 10', beyond])
    const pairs: string[][] = [
      [top, flat],
      [flat, top],
      [top, top],
      [base, top],
      [flat, longer],
      [beyond, flat],
      [longer, beyond],
      [extended, old],
      [join(folder, 'bitmaps.qcow2'), changed],
      [base, join(folder, 'compressed.qcow2')],
      ['-s', base, join(folder, 'compressed.qcow2')],
      ['-s', join(folder, 'bitmaps.qcow2'), changed],
      ['-s', base, top],
      ['-s', top, top],
      [top, join(folder, 'missing')],
    ]
    for (const args of pairs) {
      const qemu = await run('qemu-img', ['compare', ...args])
      const own = await cli('compare', ...args)
      expect({ status: own.status, stdout: own.stdout }, args.join(' ')).toEqual({
        status: qemu.status,
        stdout: qemu.stdout,
      })
    }
    const { status, stdout } = await cli('compare', '--json', join(folder, 'bitmaps.qcow2'), changed)
    expect(status).toBe(1)
    expect(json(stdout.trim().split('\n').at(-1) ?? '')).toEqual({
      event: 'result',
      identical: false,
      differs: 'content',
      offset: 1_000_448,
      byte: 1_000_777,
    })
  })

  it('check has the exit statuses and the fields of qemu-img, and repairs', async () => {
    const folder = temporaryFolder()
    const made = await images(folder)
    for (const path of Object.values(made)) {
      const ours = json(await cliOk('check', '--output', 'json', path)) as Record<string, unknown>
      const qemu = json(await runOk('qemu-img', ['check', '--output', 'json', path])) as Record<
        string,
        unknown
      >
      expect(ours).toMatchObject({ ...qemu, filename: path })
      expect(await cliOk('check', path)).toBe(await runOk('qemu-img', ['check', path]))
    }
    expect(await cli('check', join(folder, 'plain.raw'))).toMatchObject({ status: 63 })
    expect(await cli('check', join(folder, 'missing'))).toMatchObject({ status: 1 })
    expect(await cli('check')).toMatchObject({ status: 1 })
    // A write that qemu-io does not finish leaves its refcounts behind.
    const leaky = join(folder, 'leaky.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', leaky, '4M'])
    await run('sh', ['-c', `qemu-io -c 'write -P 1 0 1M' -c abort '${leaky}' || true`])
    const before = await cli('check', leaky)
    expect([2, 3]).toContain(before.status)
    expect(before.status).toBe((await run('qemu-img', ['check', leaky])).status)
    const repaired = json(await cliOk('check', '--json', '--repair', 'all', leaky)) as Record<string, unknown>
    expect(repaired).toMatchObject({ corruptions: 0, leaks: 0 })
    expect(Number(repaired['corruptions-fixed']) + Number(repaired['leaks-fixed'])).toBeGreaterThan(0)
    await runOk('qemu-img', ['check', leaky])
    await runOk('qemu-io', ['-c', 'read -P 1 0 1M', leaky])
  })
})
