import type { BlockDevice, DiskImage } from '../device/block-device.ts'
import { FileFolder } from '../device/file-folder.ts'
import { FileStorage } from '../device/file-storage.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import { type BackingPolicy, foldersBeside, type ImagePlace, placeOf, resolveBeside } from './beside-file.ts'
import { detectFormat, type ImageFormat } from './detect.ts'
import { checkNotInUse } from './in-use.ts'
import { WriterLock } from './lock-file.ts'
import { RawImage } from './raw.ts'

export interface OpenImageOptions {
  /** For writing; false when left out. Only one drydisk at a time opens an image for writing. */
  readonly writable?: boolean
  /** Opens an image although something else holds it. */
  readonly force?: boolean
  /**
   * Found from the content when left out. Say `raw` for a raw image that comes from somebody who may have written another format's
   * header to its beginning.
   */
  readonly format?: ImageFormat
  /** Which backing and data files may be opened; `beside` when left out. */
  readonly allowBacking?: BackingPolicy
  /**
   * qcow2: stores compressed what is written over compressed clusters, and what is new where most clusters are compressed; true when
   * left out.
   */
  readonly keepCompressed?: boolean
  /** Stops the look through all tables that opening a qcow2 image for writing begins with: `ERR_ABORTED`. */
  readonly signal?: AbortSignal | undefined
}

/** What one call of `openImage` shares along the chain of files that it opens. */
interface Opening {
  readonly force: boolean
  readonly keepCompressed: boolean
  readonly signal: AbortSignal | undefined
  readonly policy: BackingPolicy
  readonly folders: ReadonlySet<string>
  /** Locks to release when the image is closed. */
  readonly locks: WriterLock[]
  /** Files held for writing: looked at again before a commit. */
  readonly written: FileStorage[]
}

/**
 * Opens a disk image: raw or qcow2, with its backing files. Nothing on disk changes before `commit()`, except that what an
 * interrupted commit left behind is put right where the image is opened for writing.
 *
 * Errors: POSIX codes for the file itself; `ERR_IN_USE` when a running machine or another drydisk holds it; `ERR_UNSUPPORTED`
 * for other formats, by name; `ERR_NOT_ALLOWED` for a backing file elsewhere; `ERR_CORRUPT`.
 */
export async function openImage(path: string, options: OpenImageOptions = {}): Promise<DiskImage> {
  const place = await placeOf(path)
  const opening: Opening = {
    force: options.force ?? false,
    keepCompressed: options.keepCompressed ?? true,
    signal: options.signal,
    policy: options.allowBacking ?? 'beside',
    folders: await foldersBeside(place),
    locks: [],
    written: [],
  }
  try {
    const storage = await openFile(place, options.writable ?? false, opening)
    const image = await openFormat(storage, place, options.format, 0, new Set(), opening)
    return guarded(image, opening)
  } catch (error) {
    await releaseAll(opening)
    throw error
  }
}

/** Opens a file of the chain; for writing only when nothing else holds it. */
async function openFile(place: ImagePlace, writable: boolean, opening: Opening): Promise<FileStorage> {
  const storage = await FileStorage.open(place.path, writable ? 'write' : 'read')
  try {
    if (writable) {
      if (!opening.force) await checkNotInUse(identityOf(storage), 'write')
      opening.locks.push(await WriterLock.take(place.path, opening.force))
      opening.written.push(storage)
    }
    return storage
  } catch (error) {
    await storage.close()
    throw error
  }
}

function identityOf(storage: FileStorage) {
  return { path: storage.name, device: storage.device, inode: storage.inode }
}

/** @param chain the files above this one, by device and inode. */
async function openFormat(
  storage: FileStorage,
  place: ImagePlace,
  format: ImageFormat | undefined,
  depth: number,
  chain: ReadonlySet<string>,
  opening: Opening,
): Promise<DiskImage> {
  try {
    const identity = `${storage.device}:${storage.inode}`
    if (chain.has(identity))
      throw new DrydiskError('ERR_CORRUPT', `${place.path} is its own backing file, directly or by others`, {
        path: place.path,
        depth,
      })
    const folder = new FileFolder(place.folder)
    const found = format ?? (await detectFormat(storage))
    if (!storage.writable && !opening.force)
      await checkNotInUse(identityOf(storage), found === 'raw' ? 'read raw' : 'read tables')
    if (found === 'raw') return await RawImage.open(storage, folder, place.name)
    const { openQcow2 } = await import('./qcow2/open.ts')
    const below = new Set([...chain, identity])
    return await openQcow2(storage, {
      writable: storage.writable,
      depth,
      redo: { folder, imageName: place.name },
      keepCompressed: opening.keepCompressed,
      signal: opening.signal,
      openBacking: (name, backingFormat, backingDepth) =>
        openBacking(name, backingFormat, place, backingDepth, below, opening),
      openDataFile: (name, writable) => openDataFile(name, place, writable, opening),
    })
  } catch (error) {
    await storage.close()
    throw error
  }
}

/** What opens the files that an image refers to, for work on the image's own file. */
export interface NeighbourOpeners {
  openBacking(name: string, format: string | undefined, depth: number): Promise<BlockDevice>
  openDataFile(name: string | undefined, writable: boolean): Promise<Storage>
  /** Gives back the locks of files that were opened for writing. */
  release(): Promise<void>
}

/** Openers with the policy and the locks of `openImage`, for the image at `place`, which is open as `storage`. */
export async function neighbourOpeners(
  storage: FileStorage,
  place: ImagePlace,
  options: Pick<OpenImageOptions, 'force' | 'allowBacking'>,
): Promise<NeighbourOpeners> {
  const opening: Opening = {
    force: options.force ?? false,
    policy: options.allowBacking ?? 'beside',
    folders: await foldersBeside(place),
    locks: [],
    written: [],
    keepCompressed: true,
    signal: undefined,
  }
  const chain = new Set([`${storage.device}:${storage.inode}`])
  return {
    openBacking: (name, format, depth) => openBacking(name, format, place, depth, chain, opening),
    openDataFile: (name, writable) => openDataFile(name, place, writable, opening),
    release: () => releaseAll(opening),
  }
}

async function openBacking(
  name: string,
  format: string | undefined,
  from: ImagePlace,
  depth: number,
  chain: ReadonlySet<string>,
  opening: Opening,
): Promise<BlockDevice> {
  const place = await resolveBeside(name, 'backing file', from, opening.policy, opening.folders)
  return await openFormat(
    await openFile(place, false, opening),
    place,
    backingFormat(format, from, name),
    depth,
    chain,
    opening,
  )
}

/** The format that an image says its backing file has; an old image does not say, and then the content tells. */
function backingFormat(format: string | undefined, from: ImagePlace, name: string): ImageFormat | undefined {
  if (format === undefined || format === 'raw' || format === 'qcow2') return format
  // Names of QEMU's protocol drivers, which mean: as it is.
  if (format === 'file' || format === 'host_device') return 'raw'
  throw new DrydiskError(
    'ERR_UNSUPPORTED',
    `${from.path} has the backing file ${JSON.stringify(name)} in the format ${JSON.stringify(format)}; drydisk reads raw and ` +
      'qcow2. Flatten the image with a tool that reads it',
    { path: from.path, format },
  )
}

async function openDataFile(
  name: string | undefined,
  from: ImagePlace,
  writable: boolean,
  opening: Opening,
): Promise<Storage> {
  if (name === undefined)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${from.path} keeps its data in another file and does not name it. Name it with "qemu-img amend -o data_file=…"`,
      { path: from.path },
    )
  const place = await resolveBeside(name, 'data file', from, opening.policy, opening.folders)
  const storage = await openFile(place, writable, opening)
  try {
    if (!writable && !opening.force) await checkNotInUse(identityOf(storage), 'read raw')
    return storage
  } catch (error) {
    await storage.close()
    throw error
  }
}

/**
 * Has the image look for other users again before it commits (a machine may have been started meanwhile, and does not see
 * drydisk's lock), and release its locks when it is closed. The object stays of its format's class.
 */
function guarded(image: DiskImage, opening: Opening): DiskImage {
  const commit = image.commit.bind(image)
  const close = image.close.bind(image)
  return Object.assign(image, {
    async commit(): Promise<void> {
      if (!opening.force && image.dirty)
        for (const storage of opening.written) await checkNotInUse(identityOf(storage), 'write')
      await commit()
    },
    async close(): Promise<void> {
      try {
        await close()
      } finally {
        await releaseAll(opening)
      }
    },
  })
}

async function releaseAll(opening: Opening): Promise<void> {
  for (const lock of opening.locks.splice(0)) await lock.release()
}
