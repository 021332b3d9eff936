import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { MemoryDevice } from '../../../src/device/memory-device.ts'
import { NbdListener } from '../../../src/device/nbd/node-listener.ts'
import { NbdServer, type ServeOptions } from '../../../src/device/nbd/server.ts'
import { openNbd, openNbdStorage, parseNbdUri } from '../../../src/image/open-nbd.ts'
import { pattern } from '../../support/filesystem-contract.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../../support/native.ts'

const MIB = 1 << 20

/** Serves a device on a socket for as long as the test runs. */
async function served(device: MemoryDevice, options: ServeOptions = {}): Promise<string> {
  const socket = join(temporaryFolder(), 'nbd.sock')
  const listener = await NbdListener.listen({ socket }, new NbdServer(device, options))
  onTestFinished(() => listener.close())
  return listener.uri(options.name)
}

/** A server of another project, until the test ends. */
async function foreign(command: string, socket: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const gone = new Promise(resolve => child.once('exit', resolve))
  onTestFinished(async () => {
    child.kill()
    await gone
  })
  for (let tries = 0; !existsSync(socket) && tries < 200; tries++)
    await new Promise(resolve => setTimeout(resolve, 25))
  return `nbd+unix:///?socket=${socket}`
}

describe('drydisk with itself over NBD', () => {
  test('an export is what its device is, whatever is written and read at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            write: fc.boolean(),
            at: fc.nat(3 * MIB - 1),
            length: fc.oneof(fc.nat(3000), fc.nat(MIB)),
            seed: fc.nat(50),
          }),
          { maxLength: 15 },
        ),
        async steps => {
          const device = new MemoryDevice(3 * MIB)
          const uri = await served(device)
          const storage = await openNbdStorage(uri, true)
          const model = new Uint8Array(3 * MIB)
          for (const { write, at, length, seed } of steps) {
            const bytes = pattern(Math.min(length, 3 * MIB - at), seed)
            if (seed < 5) bytes.fill(0)
            if (write) {
              await storage.write(at, bytes)
              model.set(bytes, at)
            } else {
              await storage.read(at, bytes)
              expect(Buffer.compare(bytes, model.subarray(at, at + bytes.length))).toBe(0)
            }
          }
          const whole = new Uint8Array(3 * MIB)
          await Promise.all(
            Array.from({ length: 6 }, (_, index) =>
              storage.read(index * (MIB / 2), whole.subarray(index * (MIB / 2), (index + 1) * (MIB / 2))),
            ),
          )
          expect(Buffer.compare(whole, model)).toBe(0)
          let at = 0
          for await (const { offset, length, zero } of storage.stored(0, 3 * MIB)) {
            expect(offset).toBe(at)
            if (zero) expect(model.subarray(offset, offset + length).every(byte => byte === 0)).toBe(true)
            at += length
          }
          expect(at).toBe(3 * MIB)
          await storage.close()
          expect(Buffer.compare(device.toBytes(), model)).toBe(0)
        },
      ),
      propertySettings(15),
    )
  })

  test('what is written is published at a flush and when a client takes its leave, one after another', async () => {
    const device = new MemoryDevice(MIB)
    const commits: number[] = []
    let underWay = 0
    const uri = await served(device, {
      commit: async () => {
        expect(underWay++).toBe(0)
        await new Promise(resolve => setTimeout(resolve, 5))
        underWay--
        commits.push(device.toBytes()[0] ?? 0)
      },
    })
    const storage = await openNbdStorage(uri, true)
    await storage.write(0, Uint8Array.of(7))
    expect(commits).toEqual([])
    await Promise.all([storage.flush(), storage.flush()])
    expect(commits).toEqual([7, 7])
    await storage.write(0, Uint8Array.of(9))
    await storage.close()
    await expect.poll(() => commits.at(-1)).toBe(9)
  })

  test('a read-only device is exported read-only; other names are refused', async () => {
    const uri = await served(new MemoryDevice(MIB, { writable: false }), { name: 'disk' })
    await expect(openNbd(uri, { writable: true })).rejects.toMatchObject({ code: 'EROFS' })
    await expect(openNbd(uri.replace('disk', 'other'))).rejects.toMatchObject({ code: 'ENOENT' })
    const image = await openNbd(uri.replace('disk', ''))
    expect(image.size).toBe(MIB)
    await image.close()
  })

  test('a client that says nothing is let go', async () => {
    const warnings: string[] = []
    const { address } = parseNbdUri(
      await served(new MemoryDevice(MIB), { patience: 20, warn: message => warnings.push(message) }),
    )
    const socket = connect('socket' in address ? address.socket : '')
    socket.resume()
    await new Promise(resolve => socket.once('end', resolve))
    socket.destroy()
    await expect.poll(() => warnings).toHaveLength(1)
  })

  test('URIs', () => {
    expect(parseNbdUri('nbd://host/a%20b')).toEqual({
      address: { host: 'host', port: 10_809 },
      exportName: 'a b',
    })
    expect(parseNbdUri('nbd://[::1]:99')).toEqual({ address: { host: '::1', port: 99 }, exportName: '' })
    expect(parseNbdUri('nbd+unix:///x?socket=/a/b')).toEqual({ address: { socket: '/a/b' }, exportName: 'x' })
    for (const uri of ['nbds://host', 'nbd+vsock://3', 'nbds+unix:///?socket=/a'])
      expect(() => parseNbdUri(uri)).toThrow(/speaks nbd: and nbd\+unix:/)
    for (const uri of ['nbd+unix:///x', 'nbd:///x']) expect(() => parseNbdUri(uri)).toThrow(/names no/)
  })
})

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-nbd'))('with QEMU', () => {
  test('qemu-img reads and writes an export, holes and all', async () => {
    const device = new MemoryDevice(64 * MIB)
    await device.write(MIB, pattern(3 * MIB, 1))
    const uri = await served(device)
    const copy = join(temporaryFolder(), 'copy.qcow2')
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri, copy])
    await runOk('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', uri, copy])
    const map = JSON.parse(await runOk('qemu-img', ['map', '-f', 'raw', '--output=json', uri])) as {
      start: number
      zero: boolean
    }[]
    expect(map[0]).toMatchObject({ start: 0, zero: true })
    await runOk('qemu-io', [
      '-f',
      'raw',
      '-c',
      'write -P 5 20M 1M',
      '-c',
      'write -z 2M 1M',
      '-c',
      'discard 40M 1M',
      '-c',
      'flush',
      uri,
    ])
    expect(device.toBytes()[20 * MIB]).toBe(5)
    expect(
      device
        .toBytes()
        .subarray(2 * MIB, 3 * MIB)
        .every(byte => byte === 0),
    ).toBe(true)
    await runOk('qemu-img', ['convert', '-n', '-f', 'qcow2', '-O', 'raw', copy, uri])
    await runOk('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', uri, copy])
  })

  test('qemu-nbd serves what drydisk reads and writes', async () => {
    const folder = temporaryFolder()
    const [disk, socket] = [join(folder, 'disk.raw'), join(folder, 's')]
    writeFileSync(disk, pattern(5 * MIB, 4))
    const uri = await foreign('qemu-nbd', socket, [
      '-f',
      'raw',
      '-k',
      socket,
      '-t',
      '-e',
      '8',
      '--discard=unmap',
      disk,
    ])
    const image = await openNbd(uri, { writable: true })
    await image.write(MIB + 3, pattern(MIB, 9))
    const before = new Uint8Array(5 * MIB)
    const raw = await openNbd(uri)
    await raw.read(0, before)
    expect(Buffer.compare(before, pattern(5 * MIB, 4))).toBe(0)
    await image.commit()
    await raw.read(0, before)
    expect(Buffer.compare(before.subarray(MIB + 3, 2 * MIB + 3), pattern(MIB, 9))).toBe(0)
    await raw.close()
    await image.close()
  })
})

describe.skipIf(!haveTool('nbdkit') || !haveTool('nbdcopy') || !haveTool('nbdinfo'))(
  'with nbdkit and libnbd',
  () => {
    test('nbdinfo and nbdcopy know an export', async () => {
      const device = new MemoryDevice(16 * MIB)
      await device.write(MIB, pattern(MIB, 1))
      const uri = await served(device, { name: 'disk', description: 'a disk of a guest' })
      const info = JSON.parse(await runOk('nbdinfo', ['--json', uri])) as {
        exports: { 'export-name': string; 'export-size': number; description: string; contexts: string[] }[]
      }
      expect(info.exports[0]).toMatchObject({
        ...{ 'export-name': 'disk', 'export-size': 16 * MIB, description: 'a disk of a guest' },
        ...{ is_read_only: false, can_multi_conn: true, can_fua: true, can_df: true },
      })
      expect(info.exports[0]?.contexts).toContain('base:allocation')
      expect(await runOk('nbdinfo', ['--list', uri])).toContain('export="disk"')
      expect(await runOk('nbdinfo', ['--map', uri])).toMatch(/1048576\s+1048576\s+0\s+data/)
      const file = join(temporaryFolder(), 'file')
      await runOk('nbdcopy', [uri, file])
      expect(Buffer.compare(readFileSync(file), device.toBytes())).toBe(0)
      const target = new MemoryDevice(16 * MIB)
      await runOk('nbdcopy', ['--connections=4', '--flush', file, await served(target)])
      expect(Buffer.compare(target.toBytes(), device.toBytes())).toBe(0)
    })

    test('nbdkit serves with blocks of its own size, without structured replies, and with errors', async () => {
      const folder = temporaryFolder()
      const file = join(folder, 'file')
      writeFileSync(file, pattern(3 * MIB, 8))
      const kinds: readonly (readonly string[])[] = [
        ['--filter=blocksize-policy', 'file', file, 'blocksize-minimum=4096', 'blocksize-error-policy=error'],
        ['--no-sr', 'file', file],
        ['--mask-handshake=0', 'file', file],
      ]
      for (const [index, args] of kinds.entries()) {
        const socket = join(folder, `s${index}`)
        const uri = await foreign('nbdkit', socket, ['-f', '-U', socket, ...args])
        const opened = openNbdStorage(uri, true)
        if (index === 2) {
          await expect(opened).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
          continue
        }
        const storage = await opened
        await storage.write(100_001, pattern(5000, index))
        const into = new Uint8Array(5000)
        await storage.read(100_001, into)
        expect(Buffer.compare(into, pattern(5000, index))).toBe(0)
        // Neighbours in one of its blocks, at once.
        const small = Array.from({ length: 40 }, (_, piece) => pattern(100, piece))
        await Promise.all(small.map((bytes, piece) => storage.write(200_000 + piece * 100, bytes)))
        const all = new Uint8Array(4000)
        await storage.read(200_000, all)
        expect(Buffer.compare(all, Buffer.concat(small))).toBe(0)
        await storage.close()
      }
      const socket = join(folder, 'e')
      const broken = [
        '--filter=error',
        'file',
        file,
        'error=ENOSPC',
        'error-pwrite-rate=100%',
        'error-pread=EIO',
        'error-pread-rate=0%',
      ]
      const uri = await foreign('nbdkit', socket, ['-f', '-U', socket, ...broken])
      const storage = await openNbdStorage(uri, true)
      await expect(storage.write(0, pattern(10, 1))).rejects.toMatchObject({ code: 'ENOSPC' })
      await storage.close()
    })

    test('a client that says nonsense is let go, and others are served on', async () => {
      const warnings: string[] = []
      const uri = await served(new MemoryDevice(MIB), { warn: message => warnings.push(message) })
      const { address } = parseNbdUri(uri)
      for (const nonsense of ['GET / HTTP/1.1\r\n\r\n', '\0\0\0\x03IHAVEOPT\0\0\0\x07\xff\xff\xff\xff']) {
        const socket = connect('socket' in address ? address.socket : '')
        socket.end(Buffer.from(nonsense, 'latin1'))
        socket.resume()
        await new Promise(resolve => socket.once('close', resolve))
      }
      expect(warnings.length).toBe(2)
      const { status } = await run('nbdinfo', ['--size', uri])
      expect(status).toBe(0)
    })
  },
)
