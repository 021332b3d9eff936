import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { compactImage } from '../../src/copy/compact.ts'
import { sparsifyInPlace } from '../../src/copy/sparsify-in-place.ts'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import type { Storage } from '../../src/device/storage.ts'
import { amendImage } from '../../src/image/amend.ts'
import { checkFile } from '../../src/image/check-file.ts'
import { commitImage } from '../../src/image/commit-down.ts'
import { repairImage } from '../../src/image/qcow2/repair.ts'
import { resizeQcow2 } from '../../src/image/qcow2/resize.ts'
import * as tables from '../../src/image/qcow2/snapshots.ts'
import { rebaseImage } from '../../src/image/rebase.ts'
import { resizeImage } from '../../src/image/resize.ts'
import { applySnapshot, createSnapshot, deleteSnapshot } from '../../src/image/snapshots.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'
import { fileOf } from '../support/power-loss.ts'

checkWrittenImages()

/** A disk with data, a snapshot and what was written after it, over a backing file. */
async function make(folder: string): Promise<string> {
  writeFileSync(join(folder, 'base.raw'), new Uint8Array(1 << 20).fill(3))
  const path = writes(join(folder, 'disk.qcow2'), 'qcow2')
  const options = ['-o', 'cluster_size=4k', '-b', 'base.raw', '-F', 'raw']
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, path, '1M'])
  await runOk('qemu-io', ['-c', 'write -P 1 0 200k', path])
  await runOk('qemu-img', ['snapshot', '-c', 'one', path])
  await runOk('qemu-io', ['-c', 'write -P 2 100k 200k', path])
  return path
}

/** Adds a cluster to the file that nothing uses and whose refcount says otherwise. */
function leak(path: string): void {
  const bytes = Buffer.concat([readFileSync(path), Buffer.alloc(4096)])
  const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))))
  bytes.writeUInt16BE(1, block + 2 * (Math.ceil(bytes.length / 4096) - 1))
  writeFileSync(path, bytes)
}

/** Counts reads and writes, and aborts before the `stopAt`th. */
function counting(storage: Storage, controller: AbortController, stopAt: number): { calls: number } {
  const found = { calls: 0 }
  const read = storage.read.bind(storage)
  const write = storage.write.bind(storage)
  const count = (): void => {
    if (found.calls++ === stopAt) controller.abort()
  }
  Object.assign(storage, {
    readPieces: undefined,
    read: (offset: number, into: Uint8Array) => {
      count()
      return read(offset, into)
    },
    write: (offset: number, from: Uint8Array) => {
      count()
      return write(offset, from)
    },
  })
  return found
}

const openers = {
  openBacking: async () => {
    throw new TypeError('no backing file is needed')
  },
  openDataFile: async () => {
    throw new TypeError('there is no data file')
  },
}

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('work that is stopped', () => {
  const signal = AbortSignal.abort()
  const WORK: Record<string, (path: string) => Promise<unknown>> = {
    'snapshot create': path => createSnapshot(path, { name: 'two' }, { signal }),
    'snapshot apply': path => applySnapshot(path, 'one', { signal }),
    'snapshot delete': path => deleteSnapshot(path, 'one', { signal }),
    amend: path => amendImage(path, { refcountBits: 64, signal }),
    'amend of the size too': path => amendImage(path, { refcountBits: 64, size: 4 << 20, signal }),
    resize: path => resizeImage(path, 2 << 20, { signal }),
    'resize --shrink': path => resizeImage(path, 1 << 18, { shrink: true, signal }),
    compact: path => compactImage(path, { signal }),
    sparsify: path => sparsifyInPlace(path, { signal }),
    rebase: path => rebaseImage(path, { backingFile: '', signal }),
    commit: path => commitImage(path, { signal }),
    'check --repair all': path => checkFile(path, { repair: 'all', signal }),
  }
  for (const [name, work] of Object.entries(WORK))
    it(`${name} looks at the signal before it has gone through the tables`, async () => {
      const path = await make(temporaryFolder())
      if (name.startsWith('check')) leak(path)
      const before = readFileSync(path)
      await expect(work(path)).rejects.toMatchObject({ code: 'ERR_ABORTED' })
      expect(Buffer.compare(readFileSync(path), before)).toBe(0)
      if (name.startsWith('check')) await checkFile(path, { repair: 'all' })
    })

  const CHANGES: Record<string, (storage: Storage, signal: AbortSignal) => Promise<unknown>> = {
    'snapshot create': (storage, signal) => tables.createSnapshot(storage, { name: 'two' }, { signal }),
    'snapshot apply': (storage, signal) => tables.applySnapshot(storage, 'one', { signal }),
    'snapshot delete': (storage, signal) => tables.deleteSnapshot(storage, 'one', { signal }),
    resize: (storage, signal) => resizeQcow2(storage, 1 << 18, { shrink: true, signal, ...openers }),
    repair: (storage, signal) => repairImage(storage, 'all', signal),
  }
  for (const [name, change] of Object.entries(CHANGES))
    it(`${name}, stopped at any read or write, leaves the file as it was, or is done`, async () => {
      const folder = temporaryFolder()
      const made = join(folder, 'disk.qcow2')
      await runOk('qemu-img', [
        'create',
        '-q',
        '-f',
        'qcow2',
        '-o',
        'cluster_size=4k',
        writes(made, 'qcow2'),
        '1M',
      ])
      await runOk('qemu-io', ['-c', 'write -P 1 0 200k', made])
      await runOk('qemu-img', ['snapshot', '-c', 'one', made])
      await runOk('qemu-io', ['-c', 'write -P 2 100k 200k', made])
      let image = readFileSync(made)
      if (name === 'repair') {
        leak(made)
        image = readFileSync(made)
        await checkFile(made, { repair: 'all' })
      }
      // What has leaked may be written over.
      const used = image.length - (name === 'repair' ? 4096 : 0)
      let stopped = 0
      for (let at = 0; ; at++) {
        const medium = new FaultMedium({ 'disk.qcow2': image })
        const controller = new AbortController()
        const storage = await fileOf(medium, 'disk.qcow2', 'write')
        const counted = counting(storage, controller, at)
        const error = await change(storage, controller.signal).catch((thrown: unknown) => thrown)
        const failed = error instanceof Error
        if (failed) expect(error, `call ${at}`).toMatchObject({ code: 'ERR_ABORTED' })
        const left = medium.content('disk.qcow2') ?? new Uint8Array()
        const same =
          left.length === image.length &&
          Buffer.compare(left.subarray(0, used), image.subarray(0, used)) === 0
        expect(same, `call ${at}`).toBe(failed)
        if (failed) stopped++
        if (counted.calls <= at) break
      }
      expect(stopped).toBeGreaterThan(5)
    })

  it('of a full disk, the error says that the image is as before', async () => {
    const made = await make(temporaryFolder())
    const medium = new FaultMedium(
      { 'disk.qcow2': readFileSync(made) },
      { failAt: { operation: 0, code: 'ENOSPC' } },
    )
    const storage = await fileOf(medium, 'disk.qcow2', 'write')
    await expect(tables.createSnapshot(storage, { name: 'two' })).rejects.toMatchObject({
      code: 'ENOSPC',
      message: expect.stringContaining('the image is as before'),
    })
  })
})
