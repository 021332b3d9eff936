import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryStorage } from '../../src/device/memory-storage.ts'
import type { Storage } from '../../src/device/storage.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { type CreateQcow2Options, createQcow2 } from '../../src/image/qcow2/create.ts'
import { MAX_DEPTH, openQcow2 } from '../../src/image/qcow2/open.ts'
import { checkWrittenImages, haveTool, run, runOk, temporaryFolder, writes } from '../support/native.ts'
import { openAlone, openFile, qemuCheck, readAll } from '../support/qcow2.ts'

checkWrittenImages()

const refuse = (): Promise<never> => Promise.reject(new Error('no other file was expected'))

async function newImage(options: CreateQcow2Options): Promise<MemoryStorage> {
  const storage = new MemoryStorage()
  await createQcow2(storage, options)
  return storage
}

async function bytesOf(storage: Storage): Promise<Uint8Array> {
  const bytes = new Uint8Array(storage.size)
  await storage.read(0, bytes)
  return bytes
}

function expectCode(work: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> {
  return expect(work).rejects.toMatchObject({
    code,
    ...(message && { message: expect.stringMatching(message) }),
  })
}

interface QemuInfo {
  readonly 'virtual-size': number
  readonly 'cluster-size': number
  readonly snapshots?: readonly { id: string; name: string; 'date-sec': number; 'vm-state-size': number }[]
  readonly 'format-specific': { readonly data: Record<string, unknown> }
}

async function qemuInfo(path: string): Promise<QemuInfo> {
  return JSON.parse(await runOk('qemu-img', ['info', '-U', '--output=json', path])) as QemuInfo
}

describe.skipIf(!haveTool('qemu-img'))('qcow2 against qemu-img', () => {
  it('createQcow2 makes images that qemu checks, describes and writes to', async () => {
    const folder = temporaryFolder()
    const cases: (CreateQcow2Options & { readonly compat: string })[] = [
      { size: 1 << 30, compat: '1.1' },
      { size: 0, compat: '1.1' },
      { size: 10_000_000, clusterSize: 512, compat: '1.1' },
      { size: 5 * 2 ** 40, clusterSize: 2 << 20, refcountBits: 64, compat: '1.1' },
      { size: 8 << 30, clusterSize: 512, refcountBits: 1, compat: '1.1' },
      { size: 100 << 20, extendedL2: true, compressionType: 'zstd', compat: '1.1' },
      { size: 100 << 20, version: 2, compat: '0.10' },
      { size: 100 << 20, lazyRefcounts: true, refcountBits: 32, compat: '1.1' },
    ]
    for (const [index, { compat, ...options }] of cases.entries()) {
      const path = join(folder, `${index}.qcow2`)
      const storage = await FileStorage.open(path, 'create')
      await createQcow2(storage, options)
      await storage.close()
      expect(await qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 })
      const info = await qemuInfo(path)
      expect(info['virtual-size']).toBe(Math.ceil(options.size / 512) * 512)
      expect(info['cluster-size']).toBe(options.clusterSize ?? 65_536)
      expect(info['format-specific'].data.compat).toBe(compat)
      const image = await openFile(path, false)
      expect(info['format-specific'].data).toEqual(image.info)
      await image.close()
      if (options.size > 0) await runOk('qemu-io', ['-c', 'write -P 1 4096 100k', path])
      expect(await qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 })
    }
  })

  it('describes snapshots and bitmaps as qemu-img info does, and marks bitmaps that a write outdates', async () => {
    const folder = temporaryFolder()
    const path = writes(join(folder, 'i.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, '64M'])
    await runOk('qemu-io', ['-c', 'write -P 1 1M 1M', path])
    await runOk('qemu-img', ['snapshot', '-c', 'größer', path])
    await runOk('qemu-img', ['bitmap', '--add', path, 'tracking'])
    await runOk('qemu-img', ['bitmap', '--add', '--disable', '-g', '131072', path, 'still'])
    const image = await openFile(path, true)
    const info = await qemuInfo(path)
    expect(info['format-specific'].data).toEqual(image.info)
    expect(
      image.snapshots.map(({ id, name, date, vmStateSize }) => ({ id, name, date, vmStateSize })),
    ).toEqual(
      info.snapshots?.map(snapshot => ({
        id: snapshot.id,
        name: snapshot.name,
        date: snapshot['date-sec'],
        vmStateSize: snapshot['vm-state-size'],
      })),
    )
    await image.write(3 << 20, new Uint8Array(5000).fill(9))
    await image.commit()
    await image.close()
    const { bitmaps } = (await qemuInfo(path))['format-specific'].data as {
      bitmaps: { name: string; flags: string[] }[]
    }
    expect(bitmaps.map(({ name, flags }) => ({ name, flags }))).toEqual([
      { name: 'tracking', flags: ['in-use', 'auto'] },
      { name: 'still', flags: [] },
    ])
  })

  it('gives back at the next writable open what a crash leaked, durably, and nothing that is in use', async () => {
    const folder = temporaryFolder()
    const path = writes(join(folder, 'i.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4096', path, '4M'])
    await runOk('qemu-io', ['-c', 'write -P 1 0 1M', path])
    const clean = await qemuCheck(path)
    expect(clean.leaks).toBe(0)
    // The refcount block is the third cluster: raise the counts of free clusters.
    const bytes = readFileSync(path)
    for (let cluster = 600; cluster < 650; cluster++) bytes[2 * 4096 + cluster * 2 + 1] = 1
    writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(Math.max(0, 700 * 4096 - bytes.length))]))
    expect(await qemuCheck(path)).toMatchObject({ leaks: 50, corruptions: 0 })
    const image = await openFile(path, true)
    await image.close()
    expect(await qemuCheck(path)).toMatchObject({ leaks: 0, corruptions: 0 })
    expect(statSync(path).size).toBeLessThanOrEqual(bytes.length)
  })

  it('refuses to write where a refcount is too low or the corrupt bit is set, and still reads', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'i.qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4096', path, '4M'])
    await runOk('qemu-io', ['-c', 'write -P 5 0 64k', path])
    const good = readFileSync(path)
    const low = Buffer.from(good)
    low[2 * 4096 + 10 * 2 + 1] = 0
    const marked = Buffer.from(good)
    marked[79] = 2
    for (const bytes of [low, marked]) {
      await expectCode(openAlone(new MemoryStorage(bytes), true), 'ERR_CORRUPT', /drydisk check --repair all/)
      const reader = await openAlone(new MemoryStorage(bytes), false)
      expect((await readAll(reader)).subarray(0, 65_536).every(byte => byte === 5)).toBe(true)
    }
  })

  it('reads what qemu preallocated and did not write yet, past the end of the file', async () => {
    const folder = temporaryFolder()
    const path = writes(join(folder, 'i.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', path, '8M'])
    const image = await openFile(path, true)
    expect((await readAll(image)).every(byte => byte === 0)).toBe(true)
    await image.write(7 << 20, new Uint8Array(1 << 20).fill(3))
    await image.commit()
    await image.close()
    await runOk('qemu-io', ['-r', '-c', 'read -P 3 7M 1M', '-c', 'read -P 0 0 7M', path])
  })
})

describe('qcow2', () => {
  it('refuses unknown incompatible features by the name that the image gives them, and encryption', async () => {
    const unknown = await bytesOf(await newImage({ size: 1 << 20 }))
    unknown[72 + 6] = 4
    await expectCode(openAlone(new MemoryStorage(unknown), false), 'ERR_UNSUPPORTED', /bit 10/)
    // The first name of the table, after the header and the extension's type and length, now belongs to bit 10.
    unknown[112 + 8 + 1] = 10
    await expectCode(openAlone(new MemoryStorage(unknown), false), 'ERR_UNSUPPORTED', /dirty bit/)
    const luks = await bytesOf(await newImage({ size: 1 << 20 }))
    luks[35] = 2
    await expectCode(openAlone(new MemoryStorage(luks), false), 'ERR_UNSUPPORTED', /LUKS/)
  })

  it.skipIf(!haveTool('qemu-img'))('refuses a raw data file that is none, as qemu does', async () => {
    const bytes = await bytesOf(await newImage({ size: 1 << 20 }))
    bytes[95] = 2
    const path = join(temporaryFolder(), 'raw-data.qcow2')
    writeFileSync(path, bytes)
    expect((await run('qemu-img', ['check', path])).status).not.toBe(0)
    await expect(openAlone(new MemoryStorage(bytes), false)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  })

  it('keeps compatible bits and header extensions that it does not know, and clears such autoclear bits', async () => {
    const bytes = await bytesOf(await newImage({ size: 1 << 20 }))
    bytes[80] = 0x80
    bytes[88] = 0x40
    // Turns the feature names into an extension that nobody knows.
    bytes.set([0x12, 0x34, 0x56, 0x78], 112)
    const storage = new MemoryStorage(bytes)
    const image = await openAlone(storage, true)
    await image.write(0, Uint8Array.of(1))
    await image.commit()
    const after = await bytesOf(storage)
    expect([after[80], after[88]]).toEqual([0x80, 0])
    expect(Buffer.compare(after.subarray(96, 4096), bytes.subarray(96, 4096))).toBe(0)
  })

  it('writes nothing for a commit without changes, and leaves the file as it was after a rollback or a close', async () => {
    const bytes = await bytesOf(await newImage({ size: 8 << 20, clusterSize: 4096 }))
    const medium = new FaultMedium({ i: bytes })
    const storage = await medium.open('i', 'write')
    if (storage === undefined) throw new Error('the file is there')
    const image = await openQcow2(storage, { writable: true, openBacking: refuse, openDataFile: refuse })
    await image.commit()
    await image.erase(0, 8 << 20)
    await image.commit()
    expect(medium.operations).toBe(0)
    await image.write(5, new Uint8Array(3 << 20).fill(1))
    await image.rollback()
    expect(Buffer.compare(medium.content('i') ?? new Uint8Array(), bytes)).toBe(0)
    await image.write(5, new Uint8Array(3 << 20).fill(1))
    await image.close()
    expect(Buffer.compare(medium.content('i') ?? new Uint8Array(), bytes)).toBe(0)
  })

  it('answers for an unallocated petabyte in one extent, and reads the far end of it', async () => {
    const storage = await newImage({ size: 2 ** 50, clusterSize: 2 << 20 })
    const image = await openAlone(storage, true)
    const before: unknown[] = []
    for await (const extent of image.extents(0, image.size)) before.push(extent)
    expect(before).toEqual([{ offset: 0, length: 2 ** 50, kind: 'zero', depth: 0 }])
    await image.write(2 ** 50 - 10, new Uint8Array(10).fill(8))
    await image.commit()
    const end = new Uint8Array(20)
    await image.read(2 ** 50 - 20, end)
    expect([...end]).toEqual([...new Array<number>(10).fill(0), ...new Array<number>(10).fill(8)])
    expect(storage.size).toBeLessThan(64 << 20)
  })

  it('follows long chains of backing files and refuses endless ones', async () => {
    const overlay = await bytesOf(
      await newImage({ size: 1 << 20, clusterSize: 512, backingFile: 'below', backingFormat: 'qcow2' }),
    )
    const base = new MemoryStorage(await bytesOf(await newImage({ size: 1 << 20, clusterSize: 512 })))
    const bottom = await openAlone(base, true)
    await bottom.write(1000, Uint8Array.of(42))
    await bottom.commit()
    const chain = (depth: number, length: number): ReturnType<typeof openQcow2> =>
      openQcow2(depth === length ? base : new MemoryStorage(overlay), {
        writable: false,
        depth,
        openBacking: (_name, _format, next) => chain(next, length),
        openDataFile: refuse,
      })
    const image = await chain(0, 150)
    const byte = new Uint8Array(1)
    await image.read(1000, byte)
    expect(byte[0]).toBe(42)
    for await (const extent of image.extents(1000, 1))
      expect(extent).toMatchObject({ kind: 'data', depth: 150 })
    await expectCode(chain(0, MAX_DEPTH + 50), 'ERR_CORRUPT', /loops/)
  })

  it('serves reads and writes that overlap in time', async () => {
    const storage = await newImage({ size: 4 << 20, clusterSize: 4096 })
    const image = await openAlone(storage, true)
    const model = new Uint8Array(4 << 20)
    const jobs: Promise<void>[] = []
    for (let round = 0; round < 200; round++) {
      const at = (round * 37_123) % (4 << 20)
      const length = Math.min(9000, (4 << 20) - at)
      model.fill(round, at, at + length)
      jobs.push(image.write(at, new Uint8Array(length).fill(round)))
      if (round % 40 === 39) jobs.push(image.commit())
      jobs.push(image.read(at, new Uint8Array(length)))
    }
    await Promise.all(jobs)
    await image.commit()
    expect(Buffer.compare(await readAll(image), model)).toBe(0)
    expect(await image.check()).toMatchObject({ corruptions: 0, leaks: 0 })
  })

  it('is not usable after close, and is not writable when opened for reading', async () => {
    const image = await openAlone(await newImage({ size: 1 << 20 }), false)
    await expectCode(image.write(0, new Uint8Array(1)), 'EROFS')
    await expectCode(image.read((1 << 20) - 1, new Uint8Array(2)), 'ERR_INVALID_ARGUMENT')
    await image.close()
    await expectCode(image.read(0, new Uint8Array(1)), 'EINVAL')
  })
})
