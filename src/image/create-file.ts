import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { zeros } from '../device/zeros.ts'
import { DrydiskError } from '../errors.ts'
import { type BackingPolicy, newBackingPath, pathOfName } from './beside-file.ts'
import type { ImageFormat } from './detect.ts'
import { NewFile } from './new-file.ts'
import { openImage } from './open.ts'
import { type CreateQcow2Options, createQcow2 } from './qcow2/create.ts'

/** What `createImage` takes. Sizes are in bytes. */
export interface CreateImageOptions {
  readonly format: ImageFormat
  /** Bytes of the disk, rounded up to a whole sector; those of the backing file when left out. */
  readonly size?: number
  /** Only of a qcow2 image. */
  readonly qcow2?: Omit<CreateQcow2Options, 'size' | 'backingFile' | 'backingFormat' | 'preallocated'>
  /** Only of a qcow2 image. A relative name starts at the folder of the new image. */
  readonly backingFile?: string
  readonly backingFormat?: ImageFormat
  /** False: the backing file is not looked at, and need not exist. */
  readonly checkBacking?: boolean
  /** Which files the backing file may be backed by in its turn; `beside` when left out. */
  readonly allowBacking?: BackingPolicy
  /**
   * `metadata`: every cluster of a qcow2 image has its place from the beginning. `full`: its bytes are written too, so that no
   * write to the disk runs out of space. `falloc`: as `full`, for Node.js has no fallocate(2).
   */
  readonly preallocation?: 'off' | 'metadata' | 'falloc' | 'full'
  /** Replaces a file that is there, even one that is in use. */
  readonly force?: boolean
  readonly signal?: AbortSignal
  /** Bytes of the preallocation. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

/**
 * Makes an empty disk image. The file has its name only when it is complete.
 * Errors: `EEXIST`; `ERR_INVALID_ARGUMENT` for what cannot be; what opening the backing file throws; POSIX codes.
 * @returns bytes of the disk.
 */
export async function createImage(
  path: string,
  options: CreateImageOptions,
): Promise<{ readonly size: number }> {
  check(options)
  const size = await sizeFor(path, options)
  const file = await NewFile.create(path, { replace: options.force ?? false, force: options.force ?? false })
  try {
    const { dataStart, dataEnd } = await makeEmpty(file, options, size)
    if (options.preallocation === 'full' || options.preallocation === 'falloc')
      await writeZeros(file, dataStart, dataEnd, options)
    await file.publish()
    return { size: Math.ceil(size / 512) * 512 }
  } catch (error) {
    await file.discard()
    throw error
  }
}

function invalid(what: string): DrydiskError {
  return new DrydiskError('ERR_INVALID_ARGUMENT', what)
}

function check({ format, backingFile, backingFormat, qcow2, preallocation }: CreateImageOptions): void {
  if (format === 'raw' && backingFile !== undefined)
    throw invalid('a raw image has no backing file; make a qcow2 image')
  if (format === 'raw' && qcow2 !== undefined && Object.keys(qcow2).length > 0)
    throw invalid(`a raw image has no ${Object.keys(qcow2).join(', ')}`)
  if (format === 'raw' && preallocation === 'metadata') throw invalid('a raw image has no metadata')
  if (backingFormat !== undefined && backingFile === undefined)
    throw invalid(`the format of a backing file is ${backingFormat}, but no backing file is named`)
}

/** Bytes of the disk. The backing file is opened whether its size is wanted or not: a name that leads nowhere is found now. */
async function sizeFor(path: string, options: CreateImageOptions): Promise<number> {
  const { backingFile, backingFormat, size, checkBacking = true } = options
  let found: number | undefined
  if (backingFile !== undefined) {
    const backingPath = pathOfName(backingFile, dirname(resolve(path)))
    if (backingPath !== undefined && (await isSameFile(path, backingPath)))
      throw invalid(`${path} cannot be its own backing file; name another file`)
    if (checkBacking) found = await backingSize(newBackingPath(path, backingFile), backingFile, options)
    if (backingFormat === undefined)
      throw invalid(`the format of the backing file ${backingFile} is not named: raw or qcow2`)
  }
  const bytes = size ?? found
  if (bytes === undefined) throw invalid('a new image needs a size')
  return bytes
}

async function backingSize(path: string, name: string, options: CreateImageOptions): Promise<number> {
  const { backingFormat, allowBacking } = options
  const backing = await openImage(path, {
    ...(backingFormat === undefined ? {} : { format: backingFormat }),
    ...(allowBacking === undefined ? {} : { allowBacking }),
  })
  const { format, size } = backing
  await backing.close()
  if (backingFormat === undefined)
    throw invalid(
      `the format of the backing file ${name} is not named; its content looks like ${format}. Say so, if you know that it is`,
    )
  return size
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all(
    [one, other].map(path => stat(path, { bigint: true }).catch(() => undefined)),
  )
  return (
    resolve(one) === other || (first !== undefined && first.dev === second?.dev && first.ino === second.ino)
  )
}

/** The bytes of the file that hold the disk's own. */
async function makeEmpty(
  file: NewFile,
  options: CreateImageOptions,
  size: number,
): Promise<{ readonly dataStart: number; readonly dataEnd: number }> {
  if (options.format === 'raw') {
    const dataEnd = Math.ceil(size / 512) * 512
    await file.storage.truncate(dataEnd)
    return { dataStart: 0, dataEnd }
  }
  const { backingFile, backingFormat, preallocation = 'off' } = options
  return createQcow2(file.storage, {
    ...options.qcow2,
    size,
    preallocated: preallocation !== 'off',
    ...(backingFile === undefined ? {} : { backingFile }),
    ...(backingFormat === undefined ? {} : { backingFormat }),
  })
}

async function writeZeros(
  { storage }: NewFile,
  start: number,
  end: number,
  { signal, onProgress }: CreateImageOptions,
): Promise<void> {
  for (let at = start; at < end; ) {
    if (signal?.aborted)
      throw new DrydiskError('ERR_ABORTED', `making ${storage.name} was stopped`, { path: storage.name })
    const chunk = zeros(end - at)
    await storage.write(at, chunk)
    at += chunk.length
    onProgress?.({ done: at - start, total: end - start })
  }
}
