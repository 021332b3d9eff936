import { spawn } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { builtCli, start } from '../support/built-cli.ts'
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

const MIB = 1 << 20
const qemu = (...args: string[]): Promise<string> => runOk('qemu-img', args)
const io = (path: string, format: string, ...commands: string[]): Promise<string> =>
  runOk('qemu-io', ['-f', format, ...commands.flatMap(command => ['-c', command]), path])

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('an image that was copied in part', () => {
  it('is told of: what is missing becomes zeros, as with qemu-img', async () => {
    const folder = temporaryFolder()
    const [path, copy] = [join(folder, 'cut.qcow2'), join(folder, 'copy.raw')]
    await qemu('create', '-q', '-f', 'qcow2', path, '1M')
    await io(path, 'qcow2', 'write -P 1 0 512k')
    const warnings = async (): Promise<unknown> => {
      const lines = (await cliOk('convert', '--json', path, copy)).trim().split('\n')
      return JSON.parse(lines.at(-1) ?? '').warnings
    }
    expect(await warnings()).toEqual([])
    // The last cluster need not be complete.
    const { size } = statSync(path)
    truncateSync(path, size - 4096)
    expect(await warnings()).toEqual([])
    truncateSync(path, size - 100_000)
    expect(await warnings()).toEqual([expect.stringContaining(`${path} is too short: 100000 bytes of data`)])
    await qemu('compare', '-f', 'qcow2', '-F', 'raw', path, copy)
    expect((await cli('convert', path, copy)).stderr).toContain('warning')
  })
})

/** What `qemu-img info` says, without names and what depends on where things lie. */
async function info(path: string): Promise<unknown> {
  const { filename, 'actual-size': _, ...facts } = JSON.parse(await qemu('info', '--output=json', path))
  return { ...facts, children: undefined }
}

/** Guest runs that an image has by itself, as `qemu-img map` tells of them: [start, length, data?]. */
async function allocation(path: string): Promise<unknown> {
  type Run = { start: number; length: number; data: boolean; zero: boolean; present: boolean; depth: number }
  const runs: Run[] = JSON.parse(await qemu('map', '--output=json', path))
  const merged: [number, number, string][] = []
  for (const { start, length, data, present, depth } of runs) {
    const kind = depth > 0 || !present ? 'none' : data ? 'data' : 'zero'
    const last = merged.at(-1)
    if (last?.[2] === kind) last[1] += length
    else merged.push([start, length, kind])
  }
  return merged
}

async function error(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await cli(...args)
  expect(status, stderr).not.toBe(0)
  return stdout + stderr
}

/** A disk of 4 MiB with data, zeros that are written, zeros by entry, and holes. */
async function mixedDisk(folder: string): Promise<string> {
  const path = join(folder, 'source.qcow2')
  await qemu('create', '-q', '-f', 'qcow2', path, '4M')
  await io(path, 'qcow2', 'write -P 1 0 1M', 'write -P 0 1M 512k', 'write -z 2M 256k', 'write -P 3 3000k 5k')
  return path
}

describe.skipIf(!haveTool('qemu-img'))('drydisk convert, as qemu-img convert', () => {
  it('makes what qemu-img makes of the same arguments', { timeout: 120_000 }, async () => {
    const folder = temporaryFolder()
    const write = fc.record({
      kind: fc.constantFrom('data', 'data', 'zeros', 'zero clusters', 'discard'),
      at: fc.integer({ min: 0, max: 1023 }),
      length: fc.integer({ min: 1, max: 400 }),
    })
    const settings = fc.constantFrom(
      [],
      ['-o', 'cluster_size=4k'],
      ['-o', 'cluster_size=2M'],
      ['-o', 'extended_l2=on'],
      ['-o', 'compat=0.10'],
      ['-o', 'refcount_bits=1'],
      ['-o', 'lazy_refcounts=on,refcount_bits=64'],
      ['-c'],
      ['-c', '-o', 'cluster_size=16k,compression_type=zstd'],
    )
    const [ours, theirs] = [join(folder, 'ours'), join(folder, 'theirs')]
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(write, { maxLength: 8 }), { minLength: 1, maxLength: 3 }),
        fc.constantFrom('raw', 'qcow2'),
        fc.constantFrom('raw', 'qcow2'),
        settings,
        fc.constantFrom([], [], ['-S', '0'], ['-S', '64k'], ['-S', '512']),
        async (disks, from, to, options, sparse) => {
          const sources: string[] = []
          for (const [index, writes] of disks.entries()) {
            const path = join(folder, `source${index}`)
            sources.push(path)
            await qemu('create', '-q', '-f', from, path, '1M')
            const commands = writes.map(({ kind, at, length }) => {
              const range = `${at}k ${Math.min(length, 1024 - at)}k`
              if (kind === 'data') return `write -P ${(at % 255) + 1} ${range}`
              return kind === 'zeros'
                ? `write -P 0 ${range}`
                : kind === 'discard'
                  ? `discard ${range}`
                  : `write -z ${range}`
            })
            if (commands.length > 0) await io(path, from, ...commands)
          }
          const args = ['-f', from, '-O', to, ...(to === 'raw' ? [] : options), ...sparse, ...sources]
          await qemu('convert', ...args, theirs)
          await cliOk('convert', ...args, ours)
          await qemu('compare', '-f', to, '-F', to, ours, theirs)
          if (to === 'qcow2') await qemu('check', '-q', ours)
          expect(await info(ours)).toEqual(await info(theirs))
        },
      ),
      propertySettings(10),
    )
  })

  it('leaves out zeros as -S says', { timeout: 60_000 }, async () => {
    const folder = temporaryFolder()
    const source = await mixedDisk(folder)
    const [ours, theirs] = [join(folder, 'ours.qcow2'), join(folder, 'theirs.qcow2')]
    for (const size of [undefined, '0', '4k', '64k', '1M'])
      for (const compress of [[], ['-c']]) {
        const args = ['-O', 'qcow2', ...compress, ...(size === undefined ? [] : ['-S', size]), source]
        await qemu('convert', ...args, theirs)
        await cliOk('convert', ...args, writes(ours, 'qcow2'))
        expect(await allocation(ours), args.join(' ')).toEqual(await allocation(theirs))
      }
    const [rawOurs, rawTheirs] = [join(folder, 'ours.raw'), join(folder, 'theirs.raw')]
    for (const size of ['0', '4k', '64k']) {
      await qemu('convert', '-O', 'raw', '-S', size, source, rawTheirs)
      await cliOk('convert', '-O', 'raw', '-S', size, source, rawOurs)
      expect(statSync(rawOurs).blocks, `-S ${size}`).toBeLessThanOrEqual(statSync(rawTheirs).blocks)
      if (size === '0') expect(statSync(rawOurs).blocks * 512).toBeGreaterThanOrEqual(4 * MIB)
    }
  })

  it('joins sources of any length', async () => {
    const folder = temporaryFolder()
    const [one, two, three] = [join(folder, 'one'), join(folder, 'two'), join(folder, 'three.qcow2')]
    writeFileSync(one, Buffer.alloc(100_001, 1))
    writeFileSync(two, Buffer.alloc(70_000, 2))
    await qemu('create', '-q', '-f', 'qcow2', three, '1M')
    await io(three, 'qcow2', 'write -P 3 512k 100k')
    for (const format of ['raw', 'qcow2']) {
      const [ours, theirs] = [join(folder, 'ours'), join(folder, 'theirs')]
      await qemu('convert', '-O', format, one, three, two, theirs)
      await cliOk('convert', '-O', format, one, three, two, ours)
      await qemu('compare', '-f', format, '-F', format, ours, theirs)
      expect(await info(ours)).toEqual(await info(theirs))
    }
  })

  it('converts an internal snapshot, by identifier, name or both', async () => {
    const folder = temporaryFolder()
    const source = join(folder, 'disk.qcow2')
    await qemu('create', '-q', '-f', 'qcow2', source, '3M')
    for (const [fill, name] of [
      [1, 'first'],
      [2, 'second'],
    ] as const) {
      await io(source, 'qcow2', `write -P ${fill} 0 1M`)
      await qemu('snapshot', '-c', name, source)
    }
    await io(source, 'qcow2', 'write -P 9 0 3M')
    const [ours, theirs] = [join(folder, 'ours.qcow2'), join(folder, 'theirs.qcow2')]
    for (const choice of [
      'first',
      '2',
      'snapshot.id=1',
      'snapshot.name=second',
      'snapshot.id=2,snapshot.name=second',
    ]) {
      const args = ['-O', 'qcow2', '-l', choice, source]
      await qemu('convert', ...args, theirs)
      await cliOk('convert', ...args, writes(ours, 'qcow2'))
      await qemu('compare', '-s', ours, theirs)
      expect(await info(ours)).toEqual(await info(theirs))
    }
    expect(await error('convert', '--snapshot', 'third', source, ours)).toMatch(
      /no snapshot "third".*1 \("first"\)/,
    )
    expect(await error('convert', '-l', 'first', source, source, ours)).toMatch(/one image at a time/)
    expect(await error('convert', '-l', 'x', '-f', 'raw', source, ours)).toMatch(
      /only a qcow2 image has internal snapshots/,
    )
  })

  it('makes a difference to a backing file', async () => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'images'))
    const base = join(folder, 'images', 'base.qcow2')
    const source = join(folder, 'images', 'source.qcow2')
    await qemu('create', '-q', '-f', 'qcow2', base, '4M')
    await io(base, 'qcow2', 'write -P 1 0 3M')
    await qemu('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', source)
    await io(source, 'qcow2', 'write -P 2 1M 64k', 'write -z 2M 128k', 'write -P 1 512k 64k')
    const [ours, theirs] = [join(folder, 'images', 'ours.qcow2'), join(folder, 'images', 'theirs.qcow2')]
    for (const options of [
      ['-B', 'base.qcow2', '-F', 'qcow2'],
      ['-o', 'backing_file=base.qcow2,backing_fmt=qcow2'],
      ['-c', '-B', 'base.qcow2', '-F', 'qcow2'],
    ]) {
      await qemu('convert', '-O', 'qcow2', ...options, source, theirs)
      await cliOk('convert', '-O', 'qcow2', ...options, source, writes(ours, 'qcow2'))
      await qemu('compare', ours, source)
      expect(await info(ours)).toEqual(await info(theirs))
      expect(await allocation(ours), String(options)).toEqual(await allocation(theirs))
    }
    expect(await error('convert', '-B', 'base.qcow2', source, ours)).toMatch(/-F raw or -F qcow2/)
    expect(await error('convert', '-O', 'raw', '-B', 'base.qcow2', '-F', 'qcow2', source, ours)).toMatch(
      /raw image/,
    )
    expect(await error('convert', '-B', 'nix.qcow2', '-F', 'qcow2', source, ours)).toMatch(
      /nix\.qcow2: no such file/,
    )
    expect(await error('convert', '-B', 'base.qcow2', '-F', 'qcow2', source, source, ours)).toMatch(
      /one source/,
    )
    expect(await error('convert', '--backing', 'base.qcow2', source, ours)).toMatch(/-B, --backing-file/)
  })

  it('finds the format of the target by its name, and refuses what does not fit', async () => {
    const folder = temporaryFolder()
    const source = await mixedDisk(folder)
    const [qcow2, raw] = [writes(join(folder, 'target.qcow2'), 'qcow2'), join(folder, 'target.img')]
    await cliOk('convert', source, qcow2)
    await cliOk('convert', '-W', '-m', '16', '-t', 'none', '-T', 'none', source, raw)
    expect(await info(raw)).toMatchObject({ format: 'raw', 'virtual-size': 4 * MIB })
    await qemu('compare', qcow2, raw)
    for (const [args, message] of [
      [['-c', source, raw], /raw image cannot be compressed/],
      [['--compression', 'lz4', source, qcow2], /zlib or zstd/],
      [['-S', '3', source, qcow2], /multiple of 512/],
      [['-S', '17M', source, qcow2], /multiple of 512/],
      [['-n', source, qcow2], /-n writes into a target/],
      [['--bitmaps', source, qcow2], /bitmaps are not copied/],
      [['--salvage', source, qcow2], /zeros/],
      [['-O', 'vmdk', source, qcow2], /raw and qcow2/],
      [['-o', 'size=4M', source, qcow2], /size of the source/],
      [['-o', 'preallocation=full', source, qcow2], /preallocation/],
      [['-o', 'compat=0.10,extended_l2=on', source, qcow2], /version 2/],
      [[source], /a source image and a target/],
      [['-F', 'raw', source, qcow2], /none is named/],
      [[source, source], /is a source|source/],
      [['--json', '-O', 'raw', source, '-'], /standard output/],
      [['-O', 'qcow2', source, '-'], /goes raw/],
      [[join(folder, 'nix'), qcow2], /nix: no such file/],
      [[source, join(folder, 'nix', 'target.raw')], /folder .*nix does not exist/],
      [[source, folder], /is a folder/],
    ] as const) {
      const before = readdirSync(folder)
      expect(await error('convert', ...args), args.join(' ')).toMatch(message)
      expect(readdirSync(folder), args.join(' ')).toEqual(before)
    }
  })

  it('never writes over a source or what backs it, under whatever name', async () => {
    const folder = temporaryFolder()
    const base = await mixedDisk(folder)
    const top = join(folder, 'top.qcow2')
    await qemu('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top)
    symlinkSync(base, join(folder, 'link.qcow2'))
    const before = readFileSync(base)
    for (const target of [base, join(folder, 'link.qcow2'), top])
      expect(await error('convert', top, target)).toMatch(/source|backing/)
    expect(readFileSync(base).equals(before)).toBe(true)
  })

  it('replaces a target when it is complete, keeping its permissions', async () => {
    const folder = temporaryFolder()
    const source = await mixedDisk(folder)
    const [target, linkPath] = [join(folder, 'target.qcow2'), join(folder, 'link.qcow2')]
    writeFileSync(target, 'old')
    chmodSync(target, 0o600)
    symlinkSync('target.qcow2', linkPath)
    await cliOk('convert', source, linkPath)
    await qemu('compare', source, target)
    expect(statSync(target).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder).sort()).toEqual(['link.qcow2', 'source.qcow2', 'target.qcow2'])
  })

  it('prints events and a result with --json, and one line without', async () => {
    const folder = temporaryFolder()
    const [source, target] = [await mixedDisk(folder), join(folder, 'target.qcow2')]
    const lines = (await cliOk('convert', '--json', source, target)).trimEnd().split('\n')
    const events = lines.map(line => JSON.parse(line))
    for (const event of events.slice(0, -1))
      expect(event).toEqual({
        event: 'progress',
        operation: 'convert',
        done: expect.any(Number),
        total: 4 * MIB,
        written: expect.any(Number),
      })
    expect(events.length).toBeGreaterThan(1)
    expect(events.at(-2).done).toBe(4 * MIB)
    expect(events.at(-1)).toEqual({
      event: 'result',
      filename: target,
      format: 'qcow2',
      'virtual-size': 4 * MIB,
      'actual-size': statSync(target).blocks * 512,
      warnings: [],
    })
    expect(await cliOk('convert', source, target)).toMatch(
      /^.*target\.qcow2: qcow2, 4 MiB, .* on the host\n$/,
    )
    expect(await cliOk('convert', '-q', source, target)).toBe('')
    const { status, stdout } = await cli('convert', '--json', join(folder, 'nix'), target)
    expect([status, JSON.parse(stdout).error.code]).toEqual([1, 'ENOENT'])
  })
})

describe.skipIf(!haveTool('qemu-img'))('drydisk convert, as a process', () => {
  const folder = temporaryFolder()
  const big = join(folder, 'big.raw')
  let main = ''
  const convert = (...args: string[]) => start(process.execPath, [main, 'convert', ...args])

  beforeAll(async () => {
    main = await builtCli()
    // A raw file's holes read as zeros; with -S 0 they are written as such, for much longer than any test takes.
    await qemu('create', '-q', '-f', 'raw', big, '32G')
  }, 60_000)

  it('streams to standard output, in order and whole', { timeout: 60_000 }, async () => {
    const small = temporaryFolder()
    const source = await mixedDisk(small)
    const [piped, direct] = [join(small, 'piped'), join(small, 'direct')]
    await qemu('convert', '-O', 'raw', source, direct)
    const command = `'${process.execPath}' '${main}' convert -p '${source}' - | cat > '${piped}'`
    const { stderr } = await start('bash', ['-o', 'pipefail', '-ec', command]).ended
    expect(stderr).toMatch(/100 %/)
    expect(readFileSync(piped).equals(readFileSync(direct))).toBe(true)
    await start('bash', [
      '-ec',
      `'${process.execPath}' '${main}' convert '${source}' '${source}' - > '${piped}'`,
    ]).ended
    expect(statSync(piped).size).toBe(8 * MIB)
    // A reader that has seen enough is no error.
    const enough = `'${process.execPath}' '${main}' convert '${big}' - | head -c 100000 | wc -c; echo "\${PIPESTATUS[0]}"`
    expect(await start('bash', ['-c', enough]).ended).toMatchObject({ stdout: '100000\n0\n', stderr: '' })
  })

  it('hears a signal while the reader of a pipe sleeps', { timeout: 30_000, retry: 2 }, async () => {
    const child = spawn(process.execPath, [main, 'convert', big, '-'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await sleep(1000)
    const ended = new Promise(settle => child.on('exit', (_, signal) => settle(signal)))
    const told = performance.now()
    child.kill('SIGINT')
    expect(await ended).toBe('SIGINT')
    expect(performance.now() - told).toBeLessThan(1000)
    child.stdout.destroy()
  })

  it('stops at Ctrl-C within a second, and leaves the target as it was', {
    timeout: 60_000,
    retry: 2,
  }, async () => {
    for (const [format, ...options] of [['raw'], ['qcow2'], ['qcow2', '-c']] as const) {
      const target = join(temporaryFolder(), 'target.qcow2')
      writeFileSync(target, 'precious')
      const { child, ended } = convert('-S', '0', '-O', format, ...options, big, target)
      const beside = () => readdirSync(join(target, '..')).filter(name => name !== 'target.qcow2')
      const size = () => Math.max(0, ...beside().map(name => statSync(join(target, '..', name)).blocks))
      while (size() === 0 && child.exitCode === null) await sleep(5)
      const told = performance.now()
      child.kill('SIGINT')
      const { status, signal, stderr } = await ended
      expect([status, signal, stderr]).toEqual([null, 'SIGINT', ''])
      expect(performance.now() - told).toBeLessThan(1000)
      expect(beside()).toEqual([])
      expect(readFileSync(target, 'utf8')).toBe('precious')
    }
  })

  it('says what a full disk lacks, and leaves nothing', { timeout: 60_000 }, async context => {
    const small = temporaryFolder()
    const { status } = await run('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', small])
    if (status !== 0) {
      process.stderr.write('SKIPPED CHECKS: a full disk (no tmpfs may be mounted)\n')
      return context.skip()
    }
    try {
      for (const format of ['raw', 'qcow2']) {
        const target = join(small, 'target')
        const { status, stderr } = await convert('-S', '0', '-O', format, big, target).ended
        expect([status, stderr]).toEqual([
          1,
          expect.stringMatching(
            /^drydisk: cannot write .*\/target: no space left where it lies: 20 MiB are free there; up to 32 GiB are needed\. Nothing is left of it\n$/,
          ),
        ])
        expect(readdirSync(small)).toEqual([])
      }
    } finally {
      await runOk('umount', [small])
    }
  })

  it('does not replace an image that a machine runs from', { timeout: 30_000 }, async context => {
    if (!haveTool('qemu-nbd')) return context.skip()
    const small = temporaryFolder()
    const [source, target] = [await mixedDisk(small), join(small, 'target.qcow2')]
    copyFileSync(source, target)
    const socket = join(small, 'socket')
    const { child, ended } = start('qemu-nbd', ['-k', socket, '-t', '-f', 'qcow2', target])
    while (!existsSync(socket)) await sleep(20)
    expect(await error('convert', source, target)).toMatch(/in use.*qemu-nbd/)
    await cliOk('convert', '--force', source, target)
    child.kill()
    await ended
  })
})
