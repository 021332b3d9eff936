import { createHash } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileFolder } from '../../src/device/file-folder.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import type { Storage } from '../../src/device/storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { openQcow2 } from '../../src/image/qcow2/open.ts'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import { runOk } from './native.ts'

/** Opens an image file with its backing and data files, which lie beside it. */
export async function openFile(path: string, writable: boolean, depth = 0): Promise<Qcow2Image> {
  const folder = dirname(path)
  const storage = await FileStorage.open(path, writable ? 'write' : 'read')
  try {
    return await openQcow2(storage, {
      writable,
      depth,
      openBacking: async (name, format, level) => {
        const backing = join(folder, basename(name))
        if (format === 'qcow2') return openFile(backing, false, level)
        return new StorageDevice(await FileStorage.open(backing, 'read'))
      },
      openDataFile: (name, forWriting) =>
        FileStorage.open(join(folder, basename(name ?? '')), forWriting ? 'write' : 'read'),
      redo: { folder: new FileFolder(folder), imageName: basename(path) },
    })
  } catch (error) {
    await storage.close()
    throw error
  }
}

/** Opens an image that refers to no other file. */
export function openAlone(storage: Storage, writable: boolean): Promise<Qcow2Image> {
  const refuse = (): Promise<never> => Promise.reject(new Error('the image should stand alone'))
  return openQcow2(storage, { writable, openBacking: refuse, openDataFile: refuse })
}

export async function readAll(device: BlockDevice): Promise<Uint8Array> {
  const bytes = new Uint8Array(device.size)
  await device.read(0, bytes)
  return bytes
}

/** SHA-256 of all of a device, read a few megabytes at a time. */
export async function sha256Of(device: BlockDevice): Promise<string> {
  const hash = createHash('sha256')
  const buffer = new Uint8Array(4 << 20)
  for (let at = 0; at < device.size; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, device.size - at))
    await device.read(at, part)
    hash.update(part)
  }
  return hash.digest('hex')
}

/** What qemu-img check counts, whatever it thinks of it. */
export interface QemuCheck {
  readonly corruptions: number
  readonly leaks: number
  readonly errors: number
}

export async function qemuCheck(path: string): Promise<QemuCheck> {
  const { run } = await import('./native.ts')
  const { stdout, stderr } = await run('qemu-img', ['check', '--output=json', '-f', 'qcow2', path])
  if (!stdout.includes('{')) throw new Error(`qemu-img check ${path}: ${stderr}`)
  const answer = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    corruptions?: number
    leaks?: number
    'check-errors': number
  }
  return {
    corruptions: answer.corruptions ?? 0,
    leaks: answer.leaks ?? 0,
    errors: answer['check-errors'],
  }
}

/** The guest's view in a raw file, by qemu's word. */
export async function qemuRaw(path: string, raw: string, snapshot?: string): Promise<void> {
  await runOk('qemu-img', [
    'convert',
    '-f',
    'qcow2',
    '-O',
    'raw',
    ...(snapshot === undefined ? [] : ['-l', snapshot]),
    path,
    raw,
  ])
}
