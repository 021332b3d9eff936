import { readDiskFacts } from '../operations/doctor/disk-facts.ts'
import { type Diagnosis, type DoctorOptions, diagnose } from '../operations/doctor/doctor.ts'
import { Image } from './image.ts'
import type { OpenDiskOptions } from './open-disk.ts'
import { openImage } from './open-image.ts'

/** What `doctor` takes. */
export interface DoctorImageOptions extends Omit<DoctorOptions, 'disk'> {
  /** As in `Image.guest`. */
  readonly root?: string
  /** How an image that is a path or a URI is opened. */
  readonly open?: Omit<OpenDiskOptions, 'writable'>
}

/** What `doctor` found, and with `fix` what it mended. */
export interface ImageDiagnosis extends Diagnosis {
  /** Nothing failed, or what did is mended. */
  readonly ready: boolean
}

/**
 * Whether an image is ready for where it is to go, and with `fix`, makes it so. Of a path or a URI, what was mended is committed, all or
 * nothing; of an image that is open, the commit is left to the caller.
 * Errors: those of `openImage` and `Image.guest`; `ERR_ABORTED`, with nothing changed; `ERR_INVALID_ARGUMENT` for a profile or a check that
 * there is not.
 */
export async function doctor(
  source: string | URL | Image,
  options: DoctorImageOptions = {},
): Promise<ImageDiagnosis> {
  if (source instanceof Image) return examine(source, options)
  const image = await openImage(source, { ...options.open, writable: options.fix ?? false })
  try {
    const found = await examine(image, options)
    if (options.fix) await image.commit()
    return found
  } finally {
    await image.close()
  }
}

async function examine(image: Image, options: DoctorImageOptions): Promise<ImageDiagnosis> {
  const { root, open: _open, ...asked } = options
  const { fs } = await image.guest(root === undefined ? {} : { root })
  await image.sync()
  const disk = await readDiskFacts(image.disk, root)
  const found = await diagnose(fs, { ...asked, disk })
  return { ...found, ready: found.findings.every(({ status }) => status !== 'failed') }
}
