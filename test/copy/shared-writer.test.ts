import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { convertImage } from '../../src/copy/convert.ts'
import { SharedWriter } from '../../src/copy/node-shared-writer.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { openImage } from '../../src/image/open.ts'
import { bundledThread } from '../support/bundled-thread.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const MIB = 1 << 20
const BUFFER = 256 << 10
const thread = bundledThread('node-write-thread')

async function opened(mode: 'read' | 'write', bytes = 0): Promise<{ path: string; storage: FileStorage }> {
  const path = join(temporaryFolder(), 'target')
  writeFileSync(path, Buffer.alloc(bytes))
  return { path, storage: await FileStorage.open(path, mode) }
}

describe('a writer with a thread of its own', () => {
  it('writes everything to its place, whoever does it', async () => {
    const { path, storage } = await opened('write')
    const writer = new SharedWriter(storage, 6, BUFFER, await thread)
    const content = randomBytes(40 * MIB)
    const free = Array.from({ length: 8 }, () => writer.allocate(BUFFER))
    const underWay: Promise<void>[] = []
    let given = 0
    for (let at = 0; at < content.length; at += BUFFER) {
      const buffer = free.shift() ?? new Uint8Array(BUFFER)
      buffer.set(content.subarray(at, at + BUFFER))
      const writing = writer.write(at, buffer)
      if (writing === undefined) free.push(buffer)
      else {
        given++
        underWay.push(writing.then(() => void free.push(buffer)))
      }
      if (free.length === 0 || at % (5 * BUFFER) === 0) await Promise.all(underWay)
    }
    await Promise.all(underWay)
    writer.close()
    await storage.close()
    expect(given).toBeGreaterThan(10)
    expect(Buffer.compare(readFileSync(path), content)).toBe(0)
  })

  it('tells what failed in the thread, and does nothing after it', async () => {
    const { path, storage } = await opened('read', MIB)
    const writer = new SharedWriter(storage, 4, 12 * MIB, await thread)
    const writing = writer.write(0, writer.allocate(12 * MIB).fill(1))
    await expect(writing).rejects.toMatchObject({ code: 'EIO', context: { path } })
    await expect(async () => writer.write(0, writer.allocate(12 * MIB))).rejects.toMatchObject({
      code: 'EIO',
    })
    writer.close()
    await storage.close()
    expect(readFileSync(path).equals(Buffer.alloc(MIB))).toBe(true)
  })

  it('does not wait for a thread that ended', async () => {
    const { storage } = await opened('write')
    const file = join(temporaryFolder(), 'ends.mjs')
    writeFileSync(file, '')
    const writer = new SharedWriter(storage, 2, 12 * MIB, pathToFileURL(file))
    await expect(writer.write(0, writer.allocate(12 * MIB))).rejects.toMatchObject({ code: 'EIO' })
    writer.close()
    await storage.close()
  })
})

describe.skipIf(!haveTool('qemu-img'))('a plain copy of some size', () => {
  it('is what it was, without a thread and with one', async () => {
    const folder = temporaryFolder()
    const raw = join(folder, 'source.raw')
    const content = randomBytes(48 * MIB)
    for (let at = 0; at < content.length; at += 3 * MIB) content.fill(0, at, at + 300_000)
    writeFileSync(raw, content)
    const source = await openImage(raw, { format: 'raw' })
    for (const format of ['qcow2', 'raw'] as const) {
      const path = join(folder, `target.${format}`)
      if (format === 'qcow2') writes(path, 'qcow2')
      const url = await bundledThread('node-worker')
      await convertImage([source], path, { format, workers: { url, count: 2, writer: undefined } })
      const before = readFileSync(path)
      await convertImage([source], path, { format, workers: { url, count: 2, writer: await thread } })
      expect(Buffer.compare(readFileSync(path), before)).toBe(0)
      await runOk('qemu-img', ['compare', '-f', 'raw', '-F', format, raw, path])
    }
    await source.close()
  })

  it('leaves nothing behind when it is stopped while the thread writes', async () => {
    const folder = temporaryFolder()
    const raw = join(folder, 'source.raw')
    writeFileSync(raw, randomBytes(48 * MIB))
    const source = await openImage(raw, { format: 'raw' })
    const abort = new AbortController()
    const stopped = convertImage([source], join(folder, 'target.raw'), {
      format: 'raw',
      signal: abort.signal,
      workers: { url: await bundledThread('node-worker'), count: 2, writer: await thread },
      onProgress: ({ written }) => {
        if (written > 20 * MIB) abort.abort()
      },
    })
    await expect(stopped).rejects.toMatchObject({ code: 'ERR_ABORTED' })
    expect(existsSync(join(folder, 'target.raw'))).toBe(false)
    expect(readdirSync(folder)).toEqual(['source.raw'])
    await source.close()
  })
})
