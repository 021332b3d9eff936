import type { BlockDevice, DiskImage } from '../device/block-device.ts'
import { isDrydiskError } from '../errors.ts'
import { ChangeRecorder } from '../guest/change-recorder.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { type Guest, openGuest } from '../guest/open-guest.ts'
import type { BackingPolicy } from '../image/beside-file.ts'
import { readVolumes } from '../volume/read-volumes.ts'
import { UsageError } from './errors.ts'
import { countFetched } from './fetched.ts'
import { openImages, uninterrupted } from './interruption.ts'
import type { ImageOptions, WriteOptions } from './options.ts'
import { warn } from './output.ts'

/** What `--backing` says. */
export function backingPolicy(value: string | undefined): BackingPolicy {
  if (value === undefined || value === 'beside') return 'beside'
  if (value !== 'any' && value !== 'none')
    throw new UsageError(
      `--backing is ${value}; expected beside, any or none. (It says where backing files may lie; a backing file itself is ` +
        'named with -b or -B, --backing-file)',
    )
  return value
}

export async function openDisk(path: string, options: ImageOptions, writable: boolean): Promise<DiskImage> {
  const { force } = options
  const allowBacking = backingPolicy(options.backing)
  const format = options.format === 'auto' ? undefined : options.format
  if (format !== undefined && format !== 'raw' && format !== 'qcow2')
    throw new UsageError(`--format is ${format}; expected raw, qcow2 or auto`)
  const chosen: { format?: 'raw' | 'qcow2' } = format === undefined ? {} : { format }
  if (writable && /^https?:/i.test(path))
    throw new UsageError(
      'an image on a web server is only read. Bring it here first: drydisk convert URL FILE',
    )
  const library = await import('../library/open-disk.ts')
  const { disk, fetched } = await library.openDisk(path, {
    writable,
    force: force ?? false,
    keepCompressed: options.keepCompressed ?? true,
    ...chosen,
    allowBacking,
  })
  if (fetched !== undefined) countFetched(path, fetched)
  if (writable) openImages.add(disk)
  return disk
}

export async function closeDisk(image: DiskImage): Promise<void> {
  openImages.delete(image)
  await image.close()
}

async function guestOn(
  disk: BlockDevice,
  options: ImageOptions,
  writable: boolean,
  tell: (message: string) => void = warn,
): Promise<Guest> {
  const { volumes, warnings } = await readVolumes(disk)
  for (const warning of warnings) tell(`warning: ${warning}`)
  const guest = await openGuest(volumes, {
    writable,
    ...(options.root === undefined ? {} : { root: options.root }),
  })
  return guest
}

/** Opens an image's guest for reading, for as long as `step` runs. */
export async function readGuest<T>(
  path: string,
  options: ImageOptions,
  step: (guest: Guest, image: DiskImage) => Promise<T>,
): Promise<T> {
  const image = await openDisk(path, options, false)
  try {
    const guest = await guestOn(image, options, false)
    try {
      return await step(guest, image)
    } finally {
      await guest.close()
    }
  } finally {
    await closeDisk(image)
  }
}

/**
 * Opens an image's guest for writing, lets `step` edit it, and commits once. An error of `step` leaves the image as it
 * was. A dry run edits an overlay of the image, which is open for reading only; `after` sees the edited guest before it goes.
 * @param tell says what is to be known of the image; on standard error when left out.
 */
export async function editGuest<T>(
  path: string,
  options: WriteOptions,
  step: (fs: GuestFs, guest: Guest, disk: BlockDevice) => Promise<T>,
  after?: (result: T, recorder: ChangeRecorder | undefined) => Promise<void>,
  tell: (message: string) => void = warn,
): Promise<T> {
  const dryRun = options.dryRun ?? false
  const image = await openDisk(path, options, !dryRun)
  try {
    const disk = dryRun ? await overlay(image) : image
    const guest = await guestOn(disk, options, true, tell)
    for (const warning of guest.warnings) tell(`warning: ${warning}`)
    const recorder = dryRun ? new ChangeRecorder(guest.fs) : undefined
    const result = await step(recorder ?? guest.fs, guest, disk)
    if (!recorder) {
      await guest.sync()
      await guest.close()
      await uninterrupted(() => image.commit())
    }
    await after?.(result, recorder)
    return result
  } finally {
    await closeDisk(image).catch((error: unknown) => {
      if (!isDrydiskError(error)) throw error
      tell(`warning: ${error.message}`)
    })
  }
}

/** What is written to it stays beside the image, and goes with it. */
export async function overlay(image: DiskImage): Promise<BlockDevice> {
  const { OverlayDevice } = await import('../device/overlay-device.ts')
  const { temporaryStorage } = await import('../device/file-temporary.ts')
  return new OverlayDevice(image, { spill: temporaryStorage })
}
