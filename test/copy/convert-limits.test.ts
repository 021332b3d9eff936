import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { convertImage, convertInto } from '../../src/copy/convert.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { MemoryStorage } from '../../src/device/memory-storage.ts'
import type { Storage } from '../../src/device/storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { openImage } from '../../src/image/open.ts'
import {
  checkWrittenImages,
  haveTool,
  oracle,
  peersFolder,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { openFile, sha256Of } from '../support/qcow2.ts'

checkWrittenImages()

/** A storage that has no room beyond some bytes. */
function limited(storage: Storage, room: number): Storage {
  return {
    name: storage.name,
    writable: true,
    get size() {
      return storage.size
    },
    read: (offset, into) => storage.read(offset, into),
    write: (offset, from) =>
      offset + from.length > room
        ? Promise.reject(new DrydiskError('ENOSPC', 'no space left'))
        : storage.write(offset, from),
    truncate: size => storage.truncate(size),
    flush: () => storage.flush(),
    close: () => storage.close(),
  }
}

function patterned(bytes: number): BlockDevice {
  const content = Uint8Array.from({ length: bytes }, (_, at) => ((at >> 9) & 0xff) + 1)
  return new StorageDevice(new MemoryStorage(content))
}

describe('convert, at its limits', () => {
  it('tells of a full disk, whenever it is full', async () => {
    const size = 5 << 20
    const source = patterned(size)
    for (const format of ['raw', 'qcow2'] as const)
      for (const room of [0, 70_000, 3 << 20, ...(format === 'raw' ? [] : [size + 100_000])])
        await expect(
          convertInto([source], limited(new MemoryStorage(), room), { format }),
          `${format} ${room}`,
        ).rejects.toMatchObject({ code: 'ENOSPC' })
  })

  it.skipIf(!haveTool('prlimit'))(
    'leaves the target and its folder as they were when the file cannot grow',
    async () => {
      const folder = temporaryFolder()
      const [raw, path] = [join(folder, 'source.raw'), join(folder, 'target.qcow2')]
      writeFileSync(raw, Buffer.alloc(20 << 20, 'data that fills the disk '))
      writeFileSync(path, 'what was there')
      const source = await openImage(raw)
      const before = readdirSync(folder).sort()
      const limitTo = (bytes: string): void => {
        spawnSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`])
      }
      limitTo('8388608')
      try {
        await expect(convertImage([source], path, { format: 'qcow2' })).rejects.toMatchObject({
          code: 'EFBIG',
        })
      } finally {
        limitTo('unlimited')
      }
      expect(readFileSync(path, 'utf8')).toBe('what was there')
      expect(readdirSync(folder).sort()).toEqual(before)
      await source.close()
    },
  )

  it.skipIf(!haveTool('qemu-img'))(
    'keeps memory and time to what is allocated, and has refcounts of every width',
    async () => {
      const folder = temporaryFolder()
      const source = join(folder, 'large.qcow2')
      await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', source, '8T'])
      await runOk('qemu-io', ['-c', 'write -P 1 4T 64k', '-c', 'write -P 2 8796093001728 20k', source])
      const image = await openImage(source)
      for (const clusterSize of [65_536, 2 << 20]) {
        const path = writes(join(folder, `${clusterSize}.qcow2`), 'qcow2')
        await convertImage([image], path, {
          format: 'qcow2',
          compress: true,
          qcow2: { clusterSize, refcountBits: 1 },
        })
        expect(statSync(path).size).toBeLessThan(20 << 20)
        await runOk('qemu-img', ['compare', source, path])
      }
      await image.close()
    },
  )

  it.skipIf(!haveTool('qemu-img'))('writes many small tables and refcount blocks', async () => {
    const folder = temporaryFolder()
    const raw = join(folder, 'source.raw')
    const content = Buffer.alloc(24 << 20)
    for (let at = 0; at < content.length; at += 512) content.writeUInt32LE((at * 2_654_435_761) % 2 ** 32, at)
    writeFileSync(raw, content)
    const source = await openImage(raw, { format: 'raw' })
    for (const [compress, refcountBits] of [
      [false, 64],
      [true, 4],
    ] as const) {
      const path = writes(join(folder, `${refcountBits}.qcow2`), 'qcow2')
      await convertImage([source], path, {
        format: 'qcow2',
        compress,
        qcow2: { clusterSize: 512, refcountBits },
      })
      await runOk('qemu-img', ['compare', '-f', 'raw', raw, path])
    }
    await source.close()
  })
})

const peers = peersFolder()
/** Hashing the empty gigabytes of some images takes long and says little. */
const MAX_HASHED = Number(process.env.DRYDISK_RUNS === undefined ? 8 << 20 : 2 ** 40)

describe.skipIf(peers === undefined)('convert, image states of qemu-iotests', () => {
  it('gives what the guest sees, raw and qcow2', async () => {
    const folder = temporaryFolder()
    await runOk('tar', ['-xJf', join(peers ?? '', 'iotests.tar.xz'), '-C', folder])
    const answers = JSON.parse(readFileSync(join(folder, 'answers/iotests.json'), 'utf8')) as Record<
      string,
      { readonly fmt: string; readonly guest_sha256: string }
    >
    mkdirSync(join(folder, 'out'))
    let converted = 0
    for (const [name, { fmt, guest_sha256 }] of Object.entries(answers)) {
      if (fmt !== 'qcow2' || guest_sha256 === '-' || guest_sha256.startsWith('ERR')) continue
      const image = await openFile(join(folder, name), false).catch(() => undefined)
      if (image === undefined) continue
      try {
        if (image.size > MAX_HASHED) continue
        for (const format of ['raw', 'qcow2'] as const) {
          const path = join(folder, 'out', `${converted}.${format}`)
          const compress = format === 'qcow2' && converted % 2 === 0
          await convertImage([image], path, { format, compress, sparseSize: converted % 5 === 0 ? 0 : 4096 })
          const result = await openImage(path, { format })
          expect((await sha256Of(result)).slice(0, 16), `${name} ${format}`).toBe(guest_sha256)
          await result.close()
          if (format === 'qcow2' && converted % 4 === 0) await oracle(path, 'qcow2')
          rmSync(path)
        }
        converted++
      } finally {
        await image.close()
      }
    }
    expect(converted).toBeGreaterThan(20)
  })
})
