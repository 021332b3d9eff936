import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { BlobStorage } from '../../src/device/blob-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { NbdListener } from '../../src/device/nbd/node-listener.ts'
import { NbdServer } from '../../src/device/nbd/server.ts'
import { PatchedStorage } from '../../src/device/patched-storage.ts'
import {
  apply,
  convert,
  createImage,
  demoGuest,
  doctor,
  type GuestChange,
  Image,
  makeFs,
  openDisk,
  openImage,
  operate,
  operations,
  sparsify,
} from '../../src/index.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'
import { webServer } from '../support/web-server.ts'

checkWrittenImages()

const UUID = '6f1c3b1e-5a3f-4a57-9d0e-7a4b8d1c2e3f'
const folder = temporaryFolder()
let made: Promise<string> | undefined

/** A small disk with a guest, as the demo has it. */
function demo(): Promise<string> {
  made ??= (async () => {
    const path = join(folder, 'demo.qcow2')
    await createImage(path, { format: 'qcow2', size: 64 << 20 })
    await using image = await openImage(path, { writable: true })
    await makeFs(image.disk, demoGuest(UUID), { uuid: UUID })
    await image.commit()
    return path
  })()
  return made
}

async function copyOf(name: string, format: 'raw' | 'qcow2' = 'qcow2'): Promise<string> {
  const path = join(temporaryFolder(), name)
  if (format === 'raw') await convert(await demo(), path, { format })
  else copyFileSync(await demo(), path)
  return writes(path, 'disk')
}

async function listed(changes: AsyncIterable<GuestChange>): Promise<string[]> {
  const told: string[] = []
  for await (const { path, kind } of changes) told.push(`${kind} ${new TextDecoder().decode(path)}`)
  return told
}

describe('an image of the library', () => {
  test('tells what it is', async () => {
    await using image = await openImage(await copyOf('info.qcow2'))
    const { format, virtualSize, volumes, guest, table } = await image.info()
    expect({ format, virtualSize, table, root: guest?.root, hostname: guest?.hostname }).toEqual({
      ...{ format: 'qcow2', virtualSize: 64 << 20, table: 'gpt', root: '/dev/sda1', hostname: 'demo' },
    })
    expect(volumes.map(({ name, filesystem }) => [name, filesystem?.type])).toEqual([['/dev/sda1', 'ext4']])
    expect((await image.volumes()).volumes.map(({ name }) => name)).toEqual(['/dev/sda1'])
  })

  test.each(['raw', 'qcow2'] as const)('of %s changes at the commit, and not before', async format => {
    const path = await copyOf(`image.${format}`, format)
    const before = readFileSync(path)
    {
      await using image = await openImage(path, { writable: true })
      const { fs } = await image.guest()
      await fs.writeFile('/etc/motd', 'dropped\n')
      expect(await listed(image.diff())).toEqual(['changed /etc/motd'])
    }
    {
      await using image = await openImage(path)
      const { fs } = await image.guest()
      expect(await fs.readText('/etc/motd')).toContain('demo of drydisk')
    }
    if (format === 'raw') expect(readFileSync(path).equals(before)).toBe(true)
    await using image = await openImage(path, { writable: true })
    const { fs } = await image.guest()
    await fs.writeFile('/etc/motd', 'kept\n')
    await fs.rm('/etc/machine-id')
    expect(await listed(image.diff())).toEqual(['removed /etc/machine-id', 'changed /etc/motd'])
    await image.commit()
    expect(await listed(image.diff())).toEqual([])
    // The guest stays open over a commit.
    await fs.writeFile('/etc/issue', 'later\n')
    await image.rollback()
    const again = await image.guest()
    expect(await again.fs.exists('/etc/issue')).toBe(false)
    expect(await again.fs.readText('/etc/motd')).toBe('kept\n')
    await again.fs.writeFile('/etc/issue', 'last\n')
    await image.commit()
    await image.close()
    await using other = await openImage(await demo())
    await using changed = await openImage(path)
    expect(await listed(other.diff(changed))).toEqual([
      ...['created /etc/issue', 'removed /etc/machine-id', 'changed /etc/motd'],
    ])
    expect(await listed(changed.diff(other, { path: '/etc/motd' }))).toEqual(['changed /etc/motd'])
  })

  test('gives a filesystem by its volume, but not beside a guest that is written', async () => {
    const path = await copyOf('volumes.qcow2')
    {
      await using image = await openImage(path, { writable: true })
      const fs = await image.fileSystem('/dev/sda1')
      expect(fs.type).toBe('ext4')
      expect(await image.fileSystem('/dev/sda1')).toBe(fs)
      await fs.setAttributes(fs.root, { mode: 0o700 })
      await expect(image.guest()).rejects.toMatchObject({ code: 'ERR_IN_USE' })
      await expect(image.fileSystem('/dev/sdb1')).rejects.toMatchObject({ code: 'ENOENT' })
      await image.commit()
    }
    await using image = await openImage(path)
    const { fs } = await image.guest()
    expect((await fs.stat('/')).mode & 0o777).toBe(0o700)
    expect((await image.fileSystem('/dev/sda1')).writable).toBe(false)
  })

  test('comes from a Blob, and what is patched can be saved', async () => {
    const patched = new PatchedStorage(new BlobStorage(new Blob([readFileSync(await demo())]), 'demo.qcow2'))
    await using image = await openImage(patched)
    expect(image).toBeInstanceOf(Image)
    const { fs } = await image.guest()
    await fs.writeFile('/etc/motd', 'patched\n')
    expect(await listed(image.diff())).toEqual(['changed /etc/motd'])
    await image.commit()
    expect(await listed(image.diff())).toEqual([])
    await using read = await openImage(new Blob([readFileSync(await demo())]))
    expect(await listed(read.diff(image))).toEqual(['changed /etc/motd'])
    await expect((await read.guest()).fs.writeFile('/x', '')).rejects.toMatchObject({ code: 'EROFS' })
  })

  test('comes from a web server, of which it reads what it needs', async () => {
    await demo()
    const { url } = await webServer(folder)
    await using image = await openImage(new URL(`${url.replace('//', '//me:word@')}/demo.qcow2?signature=1`))
    const { fs } = await image.guest()
    expect(await fs.readText('/etc/hostname')).toBe('demo\n')
    // Messages name it.
    expect(image.name).toBe(`${url}/demo.qcow2`)
    expect(image.fetched?.requests).toBeGreaterThan(0)
    await expect(openImage(`${url}/demo.qcow2`, { writable: true })).rejects.toMatchObject({ code: 'EROFS' })
  })

  test('comes from an NBD server, and is committed there', async () => {
    const path = await copyOf('served.raw', 'raw')
    const device = new MemoryDevice(readFileSync(path))
    const socket = join(temporaryFolder(), 'nbd.sock')
    const listener = await NbdListener.listen({ socket }, new NbdServer(device))
    try {
      const uri = listener.uri()
      {
        await using image = await openImage(uri, { writable: true })
        const { fs } = await image.guest()
        await fs.writeFile('/etc/motd', 'far away\n')
        expect(await listed(image.diff())).toEqual(['changed /etc/motd'])
        await image.commit()
        expect(await listed(image.diff())).toEqual([])
      }
      await using image = await openImage(uri)
      const { fs } = await image.guest()
      expect(await fs.readText('/etc/motd')).toBe('far away\n')
    } finally {
      await listener.close()
    }
  })

  test('is served, and keeps what a client commits', async () => {
    const path = await copyOf('serving.qcow2')
    {
      await using image = await openImage(path, { writable: true })
      const listener = await NbdListener.listen(
        { socket: join(temporaryFolder(), 'nbd.sock') },
        new NbdServer(image.disk),
      )
      try {
        await using far = await openImage(listener.uri(), { writable: true })
        const { fs } = await far.guest()
        await fs.writeFile('/etc/motd', 'by a client\n')
        await far.commit()
      } finally {
        await listener.close()
      }
    }
    await using image = await openImage(path)
    expect(await (await image.guest()).fs.readText('/etc/motd')).toBe('by a client\n')
  })

  test('behind an NBD server gives up what its filesystems do not use, and nothing else', async () => {
    const path = await copyOf('trimmed.raw', 'raw')
    const device = new MemoryDevice(readFileSync(path))
    const listener = await NbdListener.listen(
      { socket: join(temporaryFolder(), 'nbd.sock') },
      new NbdServer(device),
    )
    const uri = listener.uri()
    const needle = new TextEncoder().encode('what was deleted '.repeat(1000))
    const contents = async () => {
      const bytes = Buffer.alloc(device.size)
      await device.read(0, bytes)
      return bytes
    }
    try {
      for (const change of ['write', 'remove']) {
        await using image = await openImage(uri, { writable: true })
        const { fs } = await image.guest()
        await (change === 'write' ? fs.writeFile('/big', needle) : fs.rm('/big'))
        await image.commit()
      }
      expect((await contents()).includes('what was deleted')).toBe(true)
      const planned = await sparsify(uri, { dryRun: true })
      await expect(sparsify(uri, { signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: 'ERR_ABORTED',
      })
      await expect(sparsify(uri, { dropZeros: true })).rejects.toMatchObject({ code: 'ENOTSUP' })
      expect((await contents()).includes('what was deleted')).toBe(true)
      const { dropped, before, after } = await sparsify(uri)
      expect(dropped).toBe(planned.dropped)
      expect(dropped).toBeGreaterThan(20 << 20)
      expect([before, after]).toEqual([device.size, device.size])
      expect((await contents()).includes('what was deleted')).toBe(false)
      writeFileSync(path, await contents())
      await using one = await openImage(await demo())
      await using other = await openImage(path)
      expect(await listed(one.diff(other))).toEqual([])
    } finally {
      await listener.close()
    }
    const qcow2 = await copyOf('stored.qcow2')
    const served = await NbdListener.listen(
      { socket: join(temporaryFolder(), 'nbd.sock') },
      new NbdServer(new MemoryDevice(readFileSync(qcow2))),
    )
    try {
      await expect(sparsify(served.uri())).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
    } finally {
      await served.close()
    }
  })

  test('is told from other places by its scheme', async () => {
    await expect(openDisk(new URL('ftp://example.org/disk.qcow2'))).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
    })
    const { disk } = await openDisk(new URL(`file://${encodeURI(await demo())}`))
    expect(disk.format).toBe('qcow2')
    await disk.close()
    await expect(openImage('no:such/file')).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('operations as functions', () => {
  test('have the names of the command line', async () => {
    expect(Object.keys(operate).length).toBe(Object.keys(operations).length)
    await using image = await openImage(await copyOf('operate.qcow2'), { writable: true })
    const { fs } = await image.guest()
    const { operation, changes } = await operate.hostname(fs, { hostname: 'web1' })
    expect(operation).toBe('hostname')
    expect(changes.length).toBeGreaterThan(0)
    expect((await operate.hostname(fs, { hostname: 'web1' })).changes).toEqual([])
    await operate.appendLine(fs, { path: '/etc/motd', line: 'more' })
    expect(await fs.readText('/etc/motd')).toMatch(/\nmore\n$/)
    await image.commit()
  })
})

describe('whole jobs', () => {
  test('convert tells how far it is, and stops', async () => {
    const target = writes(join(temporaryFolder(), 'small.qcow2'), 'disk')
    const seen: number[] = []
    const { size, fileSize, free } = await convert(await demo(), target, {
      ...{ compress: true, sparsify: true },
      onProgress: ({ done }) => seen.push(done),
    })
    expect(size).toBe(64 << 20)
    expect(fileSize).toBe(readFileSync(target).length)
    expect(free?.bytes).toBeGreaterThan(32 << 20)
    expect(seen.at(-1)).toBe(size)
    if (haveTool('qemu-img')) await runOk('qemu-img', ['compare', await demo(), target])
    const aborted = join(temporaryFolder(), 'never.qcow2')
    await expect(convert(await demo(), aborted, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    })
    expect(() => readFileSync(aborted)).toThrow('ENOENT')
  })

  test('sparsify in place', async () => {
    const path = await copyOf('sparse.qcow2')
    const { after, before, volumes } = await sparsify(path)
    expect(after).toBeLessThanOrEqual(before)
    expect(volumes.map(({ name }) => name)).toEqual(['/dev/sda1'])
  })

  test('doctor looks, mends, and stops', async () => {
    const path = await copyOf('doctor.qcow2')
    const told: unknown[] = []
    const checks = ['serial-console', 'machine-id']
    const found = await doctor(path, { checks, onProgress: progress => told.push(progress) })
    expect(told).toEqual([
      { check: 'serial-console', done: 1, total: 2 },
      { check: 'machine-id', done: 2, total: 2 },
    ])
    expect(found.ready).toBe(false)
    await expect(doctor(path, { fix: true, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    })
    const mended = await doctor(path, { checks: ['serial-console'], fix: true })
    expect(mended.findings.map(({ status }) => status)).toContain('mended')
    expect((await doctor(path, { checks: ['serial-console'] })).ready).toBe(true)
    await using image = await openImage(path)
    expect((await doctor(image, { checks: ['serial-console'] })).findings.length).toBeGreaterThan(0)
  })

  test('apply edits many images, each by itself', async () => {
    const images = [await copyOf('one.qcow2'), await copyOf('two.raw', 'raw')]
    const recipe = join(temporaryFolder(), 'web.yaml')
    const { writeFileSync } = await import('node:fs')
    writeFileSync(
      recipe,
      [
        'variables:',
        '  NAME:',
        '    required: yes',
        'steps:',
        '  - hostname: $' + '{NAME}',
        '  - delete: /etc/motd',
        '',
      ].join('\n'),
    )
    const seen: string[] = []
    const preview = await apply(recipe, images, { variables: { NAME: 'web1' }, dryRun: true })
    for (const one of preview)
      expect(one.status === 'done' && one.changes?.some(({ kind }) => kind === 'removed')).toBe(true)
    const results = await apply(recipe, [...images, join(folder, 'missing.qcow2')], {
      variables: { NAME: 'web1' },
      jobs: 1,
      onProgress: ({ status, done, total }) => seen.push(`${status} ${done}/${total}`),
    })
    expect(results.map(({ status }) => status)).toEqual(['done', 'done', 'failed'])
    expect(seen).toContain('editing 1/2')
    expect(seen).toContain('done 2/2')
    for (const path of images) {
      await using image = await openImage(path)
      expect(await (await image.guest()).fs.readText('/etc/hostname')).toBe('web1\n')
    }
    const stopped = await apply(recipe, images, { variables: { NAME: 'x' }, signal: AbortSignal.abort() })
    expect(stopped.map(({ status }) => status)).toEqual(['not started', 'not started'])
    await expect(apply(recipe, images)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  })
})

test('apply takes a recipe that a program made', async () => {
  const path = await copyOf('made.qcow2')
  const text = JSON.stringify({ steps: [{ hostname: 'made-in-code' }] })
  expect((await apply({ text }, path)).map(({ status }) => status)).toEqual(['done'])
  await using image = await openImage(path)
  expect((await (await image.guest()).fs.readText('/etc/hostname')).trim()).toBe('made-in-code')
  await expect(apply({ text: '{"steps": [{"no": "such"}]}', name: 'mine' }, path)).rejects.toThrow(/mine/)
})
