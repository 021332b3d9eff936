import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { link, open, readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { openImage } from '../../src/image/open.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

const MIB = 1 << 20
const failsWith =
  (...codes: Parameters<typeof isDrydiskError>[1][]) =>
  (error: unknown) =>
    isDrydiskError(error, ...codes)

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = (at * 7 + (at >> 9)) & 0xff
  return bytes
}

async function firstBytes(
  path: string,
  options: Parameters<typeof openImage>[1] = {},
  count = 4,
): Promise<number[]> {
  const image = await openImage(path, options)
  try {
    const bytes = new Uint8Array(count)
    await image.read(0, bytes)
    return [...bytes]
  } finally {
    await image.close()
  }
}

test('a raw image: staged, committed, nothing left beside it', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'disk.img')
  const content = pattern(3 * MIB + 77)
  writeFileSync(path, content)
  const image = await openImage(path, { writable: true })
  expect(image.format).toBe('raw')
  expect(image.size).toBe(content.length)
  expect(readdirSync(folder).sort()).toEqual(['disk.img', 'disk.img.drydisk-lock'])
  await image.write(MIB - 1, new Uint8Array(5).fill(9))
  expect(Buffer.compare(readFileSync(path), content)).toBe(0)
  await image.commit()
  content.fill(9, MIB - 1, MIB + 4)
  expect(Buffer.compare(readFileSync(path), content)).toBe(0)
  await image.write(0, new Uint8Array([1, 2, 3]))
  await image.close()
  expect(Buffer.compare(readFileSync(path), content)).toBe(0)
  expect(readdirSync(folder)).toEqual(['disk.img'])
  await expect(openImage(join(folder, 'none'))).rejects.toSatisfy(failsWith('ENOENT'))
  await expect(openImage(folder)).rejects.toSatisfy(failsWith('ERR_INVALID_ARGUMENT', 'EISDIR'))
})

test('a hole in a sparse raw file stays one where zeros are written over it by erase', async () => {
  const path = join(temporaryFolder(), 'sparse.img')
  const file = await open(path, 'w')
  await file.truncate(64 * MIB)
  await file.write(new Uint8Array(8192).fill(1), 0, 8192, 32 * MIB)
  await file.close()
  const image = await openImage(path, { writable: true })
  await image.erase(0, 64 * MIB)
  await image.write(5 * MIB, new Uint8Array(4096).fill(2))
  await image.commit()
  await image.close()
  expect((await readFile(path)).subarray(32 * MIB, 32 * MIB + 8192).every(byte => byte === 0)).toBe(true)
  const blocks = Number((await runOk('stat', ['-c', '%b', path])).trim())
  expect(blocks * 512).toBeLessThan(MIB)
})

test('two writers exclude each other, a reader goes on', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'disk.img')
  writeFileSync(path, pattern(MIB))
  symlinkSync(path, join(folder, 'alias'))
  const first = await openImage(path, { writable: true })
  for (const name of ['disk.img', 'alias'])
    await expect(openImage(join(folder, name), { writable: true })).rejects.toSatisfy(
      error => isDrydiskError(error, 'ERR_IN_USE') && error.message.includes(`pid ${process.pid}`),
    )
  expect(await firstBytes(path)).toEqual([0, 7, 14, 21])
  await first.close()
  const second = await openImage(join(folder, 'alias'), { writable: true })
  await second.close()
})

test('a lock that a dead holder left is taken over, one that may be alive is not', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'disk.img')
  const lock = `${path}.drydisk-lock`
  writeFileSync(path, pattern(MIB))
  const image = await openImage(path, { writable: true })
  const mine = JSON.parse(readFileSync(lock, 'utf8')) as Record<string, unknown>
  await image.close()
  expect(mine).toMatchObject({ pid: process.pid, host: hostname() })
  const dead = spawn('true')
  await new Promise(resolve => dead.on('exit', resolve))
  for (const stale of [
    { ...mine, pid: dead.pid },
    { ...mine, start: '1' },
    { ...mine, boot: '00000000-0000-0000-0000-000000000000' },
  ]) {
    writeFileSync(lock, JSON.stringify(stale))
    await (await openImage(path, { writable: true })).close()
    expect(readdirSync(folder)).toEqual(['disk.img'])
  }
  for (const alive of [
    JSON.stringify(mine),
    JSON.stringify({ ...mine, host: 'elsewhere' }),
    JSON.stringify({ ...mine, namespace: 'pid:[1]' }),
    '',
    'something else',
  ]) {
    writeFileSync(lock, alive)
    await expect(openImage(path, { writable: true })).rejects.toSatisfy(failsWith('ERR_IN_USE'))
    expect(readFileSync(lock, 'utf8')).toBe(alive)
    await (await openImage(path, { writable: true, force: true })).close()
    expect(existsSync(lock)).toBe(false)
  }
})

test('of many that find a dead lock at once, one gets it', async () => {
  const path = join(temporaryFolder(), 'disk.img')
  writeFileSync(path, pattern(MIB))
  for (let round = 0; round < 10; round++) {
    writeFileSync(
      `${path}.drydisk-lock`,
      JSON.stringify({ pid: 1, start: 'x', host: hostname(), boot: 'earlier', namespace: '' }),
    )
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, () => openImage(path, { writable: true })),
    )
    const opened = results.filter(result => result.status === 'fulfilled')
    expect(opened).toHaveLength(1)
    for (const result of results)
      if (result.status === 'rejected') expect(isDrydiskError(result.reason, 'ERR_IN_USE')).toBe(true)
    await opened[0]?.value.close()
  }
})

test('formats that are neither raw nor qcow2 are refused by name', async () => {
  const folder = temporaryFolder()
  const cases: [string, RegExp][] = []
  if (haveTool('qemu-img'))
    for (const [format, name] of [
      ['vmdk', /VMDK/],
      ['vdi', /VDI/],
      ['vhdx', /VHDX/],
      ['vpc', /VHD/],
      ['qed', /QED/],
      ['qcow', /version 1/],
      ['parallels', /Parallels/],
    ] as const) {
      const path = join(folder, format)
      const made = await run('qemu-img', ['create', '-q', '-f', format, path, '8M'])
      if (made.status === 0) cases.push([path, name])
    }
  const fixed = join(folder, 'fixed.vhd')
  if (
    haveTool('qemu-img') &&
    (await run('qemu-img', ['create', '-q', '-f', 'vpc', '-o', 'subformat=fixed', fixed, '8M'])).status === 0
  )
    cases.push([fixed, /VHD/])
  for (const [name, head, pattern] of [
    ['a.gz', '\x1f\x8b\x08', /gzip/],
    ['a.xz', '\xfd7zXZ\0', /xz/],
    ['a.zst', '\x28\xb5\x2f\xfd', /zstd/],
  ] as const) {
    const bytes = new Uint8Array(4096)
    bytes.set(Buffer.from(head, 'latin1'))
    writeFileSync(join(folder, name), bytes)
    cases.push([join(folder, name), pattern])
  }
  for (const [path, name] of cases)
    await expect(openImage(path), path).rejects.toSatisfy(
      error => isDrydiskError(error, 'ERR_UNSUPPORTED') && name.test(error.message),
    )
  expect(cases.length).toBeGreaterThan(2)
})

test.skipIf(!haveTool('qemu-img'))('a format that is given is respected', async () => {
  const path = join(temporaryFolder(), 'disk')
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, '8M'])
  expect(await firstBytes(path)).toEqual([0, 0, 0, 0])
  expect(await firstBytes(path, { format: 'raw' })).toEqual([0x51, 0x46, 0x49, 0xfb])
  writeFileSync(path, pattern(MIB))
  await expect(openImage(path, { format: 'qcow2' })).rejects.toSatisfy(
    failsWith('ERR_CORRUPT', 'ERR_UNSUPPORTED'),
  )
})

test.skipIf(!haveTool('qemu-img'))(
  'backing files: beside the image, elsewhere only where allowed',
  async () => {
    const folder = temporaryFolder()
    const elsewhere = temporaryFolder()
    writeFileSync(join(folder, 'base.raw'), pattern(MIB))
    writeFileSync(join(elsewhere, 'base.raw'), pattern(MIB))
    symlinkSync(join(elsewhere, 'base.raw'), join(folder, 'link.raw'))
    const make = async (backing: string, name = 'top.qcow2') => {
      const path = join(folder, name)
      await runOk('qemu-img', ['create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', backing, path, '1M'])
      return path
    }
    for (const beside of ['base.raw', './base.raw', 'file:base.raw', join(folder, 'base.raw')])
      expect(await firstBytes(await make(beside))).toEqual([0, 7, 14, 21])
    const outside = [join(elsewhere, 'base.raw'), 'link.raw', `../${elsewhere.split('/').pop()}/base.raw`]
    for (const backing of outside) {
      const path = await make(backing)
      for (const writable of [false, true])
        await expect(openImage(path, { writable })).rejects.toSatisfy(failsWith('ERR_NOT_ALLOWED'))
      expect(readdirSync(folder).filter(name => name.includes('lock'))).toEqual([])
      expect(await firstBytes(path, { allowBacking: 'any' })).toEqual([0, 7, 14, 21])
    }
    await expect(openImage(await make('base.raw'), { allowBacking: 'none' })).rejects.toSatisfy(
      failsWith('ERR_NOT_ALLOWED'),
    )
    await expect(openImage(await make('missing.raw'))).rejects.toSatisfy(
      error => isDrydiskError(error, 'ENOENT') && error.message.includes('missing.raw'),
    )
    for (const foreign of ['nbd://host/export', 'json:{"driver":"null-co"}', 'ssh://host/a', 'nbd:unix:/x'])
      await expect(openImage(await make(foreign), { allowBacking: 'any' })).rejects.toSatisfy(
        failsWith('ERR_UNSUPPORTED'),
      )
    // As with QEMU, a relative name starts from the path as given, not from where a link leads.
    const chain = join(folder, 'chain.qcow2')
    await runOk('qemu-img', [
      'create',
      '-q',
      '-u',
      '-f',
      'qcow2',
      '-F',
      'qcow2',
      '-b',
      'top.qcow2',
      chain,
      '1M',
    ])
    await make('base.raw')
    mkdirSync(join(elsewhere, 'links'))
    symlinkSync(chain, join(elsewhere, 'links', 'alias.qcow2'))
    expect(await firstBytes(chain)).toEqual([0, 7, 14, 21])
    await expect(openImage(join(elsewhere, 'links', 'alias.qcow2'))).rejects.toSatisfy(failsWith('ENOENT'))
  },
)

test.skipIf(!haveTool('qemu-img'))('a chain of backing files that bites its tail is refused', async () => {
  const folder = temporaryFolder()
  for (const [name, backing] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const)
    await runOk('qemu-img', [
      'create',
      '-q',
      '-u',
      '-f',
      'qcow2',
      '-F',
      'qcow2',
      '-b',
      backing,
      join(folder, name),
      '1M',
    ])
  await expect(openImage(join(folder, 'a'))).rejects.toSatisfy(failsWith('ERR_CORRUPT'))
})

test.skipIf(!haveTool('qemu-img'))('a qcow2 image is committed over its backing file', async () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'base.raw'), pattern(MIB))
  const path = writes(join(folder, 'top.qcow2'), 'qcow2')
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', path])
  const image = await openImage(path, { writable: true })
  await image.write(1, new Uint8Array([99]))
  await image.commit()
  await image.close()
  expect(await firstBytes(path)).toEqual([0, 99, 14, 21])
  expect(await firstBytes(join(folder, 'base.raw'))).toEqual([0, 7, 14, 21])
  expect(readdirSync(folder).sort()).toEqual(['base.raw', 'top.qcow2'])
})

/** Runs a process that holds the image, until `step` is done. */
async function whileHeld(
  command: string,
  args: readonly string[],
  path: string,
  step: () => Promise<void>,
): Promise<void> {
  const child: ChildProcess = spawn(command, args, { stdio: ['pipe', 'ignore', 'inherit'] })
  const gone = new Promise(resolve => child.on('exit', resolve))
  try {
    const inode = (await runOk('stat', ['-L', '-c', '%i', path])).trim()
    for (let wait = 0; !readFileSync('/proc/locks', 'utf8').includes(`:${inode} `); wait++) {
      if (wait > 200) throw new Error(`${command} takes no lock`)
      await sleep(25)
    }
    // The bytes are locked one after another.
    await sleep(100)
    await step()
  } finally {
    child.kill('SIGKILL')
    await gone
  }
}

test.skipIf(!haveTool('qemu-nbd') || !haveTool('qemu-io') || !haveTool('qemu-img'))(
  'an image that QEMU holds is refused for reading where qemu-img refuses, for writing always',
  async () => {
    const folder = temporaryFolder()
    const base = join(folder, 'base.raw')
    writeFileSync(base, pattern(MIB))
    for (const format of ['raw', 'qcow2'] as const) {
      const path = join(folder, `disk.${format}`)
      if (format === 'raw') writeFileSync(path, pattern(MIB))
      else await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', path])
      const node = (options: string) => [
        ...['--blockdev', `driver=file,node-name=f,filename=${path}${options}`],
        ...['--blockdev', `driver=${format},node-name=d,file=f${options}`],
      ]
      const exported = (writable: string) => [
        ...['--nbd-server', `addr.type=unix,addr.path=${join(folder, 'daemon')}`],
        ...['--export', `type=nbd,id=e,node-name=d,writable=${writable}`],
      ]
      const nbd = ['-k', join(folder, 'socket'), '-f', format]
      const holders: [string, string, string[]][] = [
        ['qemu-nbd', 'qemu-nbd', [...nbd, path]],
        ['qemu-nbd, any number of clients', 'qemu-nbd', [...nbd, '--shared=0', path]],
        ['qemu-nbd -r', 'qemu-nbd', [...nbd, '-r', path]],
        ['qemu-io', 'qemu-io', ['-f', format, path]],
        ['qemu-io -r', 'qemu-io', ['-r', '-f', format, path]],
        ['qemu-io -U', 'qemu-io', ['-r', '-U', '-f', format, path]],
        ['qemu-io, no cache', 'qemu-io', ['-n', '-f', format, path]],
        ['storage daemon', 'qemu-storage-daemon', [...node(''), ...exported('on')]],
        ['storage daemon, read-only export', 'qemu-storage-daemon', [...node(''), ...exported('off')]],
        ['storage daemon, read-only', 'qemu-storage-daemon', [...node(',read-only=on'), ...exported('off')]],
      ]
      let refusedReading = 0
      let refusedWriting = 0
      let refusedByQemu = 0
      for (const [name, tool, args] of holders) {
        if (!haveTool(tool)) continue
        await whileHeld(tool, args, path, async () => {
          const info = await run('qemu-img', ['info', '-f', format, path])
          const write = await run('qemu-io', ['-f', format, '-c', 'quit', path])
          const canRead = info.status === 0
          const canWrite = !/Failed to get/.test(write.stdout + write.stderr)
          const reading = await firstBytes(path, { format }).catch((error: unknown) => error)
          expect(Array.isArray(reading), `reading under ${name} (${format})`).toBe(canRead)
          if (!canRead) {
            refusedReading++
            expect(isDrydiskError(reading, 'ERR_IN_USE') && reading.message).toMatch(
              new RegExp(`${tool.slice(0, 15)}.*pid`),
            )
            expect(await firstBytes(path, { format, force: true })).toEqual([0, 7, 14, 21])
          }
          const writing = await openImage(path, { format, writable: true }).catch((error: unknown) => error)
          // Nothing writes beside a QEMU that has the image open, be it only as the base of an overlay.
          if (writing instanceof Error) refusedWriting++
          expect(isDrydiskError(writing, 'ERR_IN_USE'), `writing under ${name} (${format})`).toBe(true)
          if (!canWrite) refusedByQemu++
          expect(existsSync(`${path}.drydisk-lock`)).toBe(false)
        })
      }
      expect(refusedReading).toBeGreaterThan(format === 'raw' ? -1 : 1)
      expect(refusedByQemu).toBeGreaterThan(format === 'raw' ? -1 : 0)
      expect(refusedWriting).toBe(holders.length)
      // The backing file of an image that is written to is held too.
      if (format === 'qcow2')
        await whileHeld('qemu-io', ['-f', format, path], base, async () => {
          await expect(openImage(base, { format: 'raw', writable: true })).rejects.toSatisfy(
            failsWith('ERR_IN_USE'),
          )
          expect(await firstBytes(base, { format: 'raw' })).toEqual([0, 7, 14, 21])
        })
    }
  },
)

test.skipIf(!haveTool('qemu-io'))(
  'a machine that starts while an image is open stops the commit',
  async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    writeFileSync(path, pattern(MIB))
    const image = await openImage(path, { writable: true })
    await image.write(0, new Uint8Array([1]))
    await whileHeld('qemu-io', ['-f', 'raw', path], path, async () => {
      await expect(image.commit()).rejects.toSatisfy(failsWith('ERR_IN_USE'))
    })
    expect(readFileSync(path)[0]).toBe(0)
    await image.commit()
    await image.close()
    expect(readFileSync(path)[0]).toBe(1)
  },
)

test.skipIf(!haveLoopMounts())('an image under a loop device is not written to', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'disk.raw')
  writeFileSync(path, pattern(MIB))
  await link(path, join(folder, 'other-name.raw'))
  const loop = (await runOk('losetup', ['-f', '--show', '-r', path])).trim()
  try {
    for (const name of ['disk.raw', 'other-name.raw'])
      await expect(openImage(join(folder, name), { writable: true })).rejects.toSatisfy(
        error => isDrydiskError(error, 'ERR_IN_USE') && error.message.includes(loop),
      )
    expect(await firstBytes(path)).toEqual([0, 7, 14, 21])
    // A block device is an image to read.
    const device = await openImage(loop)
    expect(device.size).toBe(MIB)
    await device.close()
    expect(await firstBytes(loop)).toEqual([0, 7, 14, 21])
    await expect(openImage(loop, { writable: true })).rejects.toSatisfy(failsWith('ERR_UNSUPPORTED'))
  } finally {
    await runOk('losetup', ['-d', loop])
  }
})
