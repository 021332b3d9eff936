import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

/** What `qemu-img info` says, without the name and the space that it takes. */
async function info(path: string): Promise<unknown> {
  const {
    filename,
    'actual-size': _,
    ...facts
  } = JSON.parse(await runOk('qemu-img', ['info', '--output=json', path]))
  return { ...facts, children: undefined }
}

async function error(...args: string[]): Promise<string> {
  const { status, stderr } = await cli(...args)
  expect(status, stderr).not.toBe(0)
  return stderr
}

describe.skipIf(!haveTool('qemu-img'))('drydisk create, as qemu-img create', () => {
  it('makes images that qemu-img describes as its own, for any options', { timeout: 60_000 }, async () => {
    const folder = temporaryFolder()
    const [ours, theirs] = [join(folder, 'ours.qcow2'), join(folder, 'theirs.qcow2')]
    const option = <T>(name: string, ...values: T[]): fc.Arbitrary<string | undefined> =>
      fc.option(fc.constantFrom(...values), { nil: undefined }).map(value => value && `${name}=${value}`)
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(
          option('cluster_size', '512', '4k', '16k', '64K', '1M', '2M'),
          option('compat', '0.10', '1.1', 'v2', 'v3'),
          option('refcount_bits', '1', '2', '8', '16', '32', '64'),
          option('lazy_refcounts', 'on', 'off', 'yes'),
          option('extended_l2', 'on', 'off'),
          option('compression_type', 'zlib', 'zstd'),
          option('preallocation', 'off', 'metadata', 'full', 'falloc'),
        ),
        fc.constantFrom('0', '1', '513', '64k', '1000000', '3M', '1.5M', '0x180000', '16M'),
        async (options, size) => {
          const given = options.filter(one => one !== undefined)
          const args = given.length === 0 ? [] : ['-o', given.join(',')]
          const qemu = await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...args, theirs, size])
          const mine = await cli('create', '--force', '-f', 'qcow2', ...args, ours, size)
          expect(mine.status === 0, `${given} ${size}: ${mine.stderr}${qemu.stderr}`).toBe(qemu.status === 0)
          if (mine.status !== 0) return
          expect(await info(ours)).toEqual(await info(theirs))
          await runOk('qemu-img', ['check', '-q', ours])
          await runOk('qemu-img', ['compare', ours, theirs])
          // Whether a cluster that has its place is called zero is for qemu to guess from the file's holes.
          const allocated = async (path: string): Promise<number> =>
            JSON.parse(await runOk('qemu-img', ['map', '--output=json', path])).reduce(
              (sum: number, run: { length: number; data: boolean }) => sum + (run.data ? run.length : 0),
              0,
            )
          expect(await allocated(ours)).toBe(await allocated(theirs))
        },
      ),
      propertySettings(40),
    )
  })

  it('makes preallocated images that qemu writes to and checks', async () => {
    const path = writes(join(temporaryFolder(), 'disk.qcow2'), 'qcow2')
    await cliOk('create', '-o', 'preallocation=metadata,cluster_size=4k', path, '40M')
    const before = statSync(path)
    expect(before.size).toBeGreaterThan(40 << 20)
    expect(before.blocks * 512).toBeLessThan(1 << 20)
    await runOk('qemu-io', ['-f', 'qcow2', '-c', 'write -P 5 10M 20M', '-c', 'read -P 0 0 10M', path])
    expect(statSync(path).size, 'every cluster had its place').toBe(before.size)
    await runOk('qemu-io', ['-f', 'qcow2', '-c', 'read -P 5 10M 20M', '-c', 'read -P 0 30M 10M', path])
    const full = writes(join(temporaryFolder(), 'full.qcow2'), 'qcow2')
    await cliOk('create', '-o', 'preallocation=full', full, '8M')
    expect(statSync(full).blocks * 512).toBeGreaterThanOrEqual(8 << 20)
  })

  it('makes raw images: of whole sectors, with holes or full', async () => {
    const folder = temporaryFolder()
    const [sparse, full] = [join(folder, 'sparse.raw'), join(folder, 'full.img')]
    expect(await cliOk('create', sparse, '1000001')).toBe(`${sparse}: raw, 977 KiB\n`)
    expect([statSync(sparse).size, statSync(sparse).blocks]).toEqual([1000448, 0])
    await cliOk('create', '-f', 'raw', '-o', 'preallocation=full,size=3M', full)
    expect([statSync(full).size, statSync(full).blocks * 512 >= 3 << 20]).toEqual([3 << 20, true])
    expect(statSync(full).mode & 0o777).toBe(0o666 & ~process.umask())
  })

  it('takes the size from the backing file, which is named relative to the image', async () => {
    const folder = temporaryFolder()
    const base = join(folder, 'base.raw')
    await runOk('qemu-img', ['create', '-q', '-f', 'raw', base, '5M'])
    await runOk('qemu-io', ['-f', 'raw', '-c', 'write -P 3 0 5M', base])
    const [ours, theirs] = [writes(join(folder, 'ours.qcow2'), 'qcow2'), join(folder, 'theirs.qcow2')]
    await cliOk('create', '-b', 'base.raw', '-F', 'raw', ours)
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', theirs])
    expect(await info(ours)).toEqual(await info(theirs))
    await runOk('qemu-img', ['compare', ours, base])
    const top = writes(join(folder, 'top.qcow2'), 'qcow2')
    await cliOk(
      'create',
      '-o',
      'backing_file=ours.qcow2,backing_fmt=qcow2,extended_l2=on,preallocation=metadata',
      top,
    )
    await runOk('qemu-img', ['compare', top, base])
    await cliOk('create', '-u', '-b', 'not,there.qcow2', '-F', 'qcow2', join(folder, 'unsafe.qcow2'), '1M')
    await cliOk(
      'create',
      '-u',
      '-o',
      'backing_file=not,,there.qcow2,backing_fmt=qcow2',
      join(folder, 'other.qcow2'),
      '1M',
    )
    expect(readFileSync(join(folder, 'other.qcow2')).includes('not,there.qcow2')).toBe(true)
  })

  it('refuses what cannot be, and leaves nothing', async () => {
    const folder = temporaryFolder()
    const base = join(folder, 'base.raw')
    writeFileSync(base, Buffer.alloc(1 << 20))
    const path = join(folder, 'disk.qcow2')
    expect(await error('create', path)).toMatch(/needs a size/)
    expect(await error('create', path, '3X')).toMatch(/"3X" is not a size/)
    expect(await error('create', path, '3M', '--size', '3M')).toMatch(/more than once/)
    expect(await error('create', '-f', 'vmdk', path, '3M')).toMatch(/raw and qcow2/)
    expect(await error('create', '-o', 'cluster_size=1000', path, '3M')).toMatch(/powers of two/)
    expect(await error('create', '-o', 'data_file=x', path, '3M')).toMatch(/data_file/)
    expect(await error('create', '-o', 'nix=x', path, '3M')).toMatch(/no such option/)
    expect(await error('create', '-o', 'encrypt.format=luks', path, '3M')).toMatch(/encrypted/)
    expect(await error('create', '-f', 'raw', '-o', 'cluster_size=64k', path, '3M')).toMatch(
      /raw image has no/,
    )
    expect(await error('create', '-f', 'raw', '-b', base, '-F', 'raw', path)).toMatch(
      /raw image has no backing/,
    )
    expect(await error('create', '-b', 'nix.raw', '-F', 'raw', path)).toMatch(/nix\.raw: no such file/)
    expect(await error('create', '-b', base, path)).toMatch(/looks like raw/)
    expect(await error('create', '-b', 'disk.qcow2', '-F', 'qcow2', path)).toMatch(/its own backing file/)
    expect(await error('create', '-F', 'raw', path, '1M')).toMatch(/no backing file is named/)
    expect(await error('create', '--backing', 'base.raw', path, '1M')).toMatch(/beside, any or none/)
    expect(await error('create', '-o', 'preallocation=metadata', '-b', base, '-F', 'raw', path)).toMatch(
      /extended/,
    )
    expect(await error('create', folder, '1M')).toMatch(/is a folder/)
    expect(await error('create', join(folder, 'nix', 'disk.raw'), '1M')).toMatch(
      /folder .*nix does not exist/,
    )
    expect(readdirSync(folder)).toEqual(['base.raw'])
  })

  it('replaces a file only when it is told to, through symbolic links, and keeps its permissions', async () => {
    const folder = temporaryFolder()
    const [path, linkPath] = [join(folder, 'disk.raw'), join(folder, 'link.raw')]
    writeFileSync(path, 'precious', { mode: 0o640 })
    symlinkSync(path, linkPath)
    expect(await error('create', linkPath, '1M')).toMatch(/exists already.*--force/)
    expect(readFileSync(path, 'utf8')).toBe('precious')
    await cliOk('create', '--force', linkPath, '1M')
    expect([statSync(path).size, statSync(path).mode & 0o777]).toEqual([1 << 20, 0o640])
    expect(readdirSync(folder).sort()).toEqual(['disk.raw', 'link.raw'])
  })

  it('prints events and the result with --json', async () => {
    const path = join(temporaryFolder(), 'disk.qcow2')
    const lines = (await cliOk('create', '--json', '-o', 'preallocation=full', path, '5M'))
      .trimEnd()
      .split('\n')
    const events = lines.map(line => JSON.parse(line))
    expect(events.at(-1)).toEqual({
      event: 'result',
      filename: path,
      format: 'qcow2',
      'virtual-size': 5 << 20,
    })
    expect(events.length).toBeGreaterThan(1)
    for (const event of events.slice(0, -1))
      expect(event).toEqual({
        event: 'progress',
        operation: 'create',
        done: expect.any(Number),
        total: 5 << 20,
      })
    expect(events.at(-2).done).toBe(5 << 20)
    const { status, stdout } = await cli('create', '--json', path, '5M')
    expect(status).toBe(1)
    expect(stdout.trimEnd().split('\n')).toHaveLength(1)
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'EEXIST' } })
    expect(existsSync(path)).toBe(true)
  })
})
