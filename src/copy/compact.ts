import { DrydiskError } from '../errors.ts'
import { detectFormat } from '../image/detect.ts'
import { checkNotInUse } from '../image/in-use.ts'
import { maintainFile } from '../image/maintain-file.ts'
import { type CompactOptions, type CompactResult, compactQcow2 } from '../image/qcow2/compact.ts'

/** What `compactImage` takes: `force` goes on with an image that is in use. */
export interface CompactImageOptions extends CompactOptions {
  /** Goes on although something else holds the image. */
  readonly force?: boolean
}

/**
 * Makes the file of a qcow2 image as short as what it holds, in place; the content stays: `drydisk compact IMAGE`.
 * Errors: those of opening an image for writing; `ERR_UNSUPPORTED` for another format; as `compactQcow2`.
 */
export async function compactImage(path: string, options: CompactImageOptions = {}): Promise<CompactResult> {
  return maintainFile(path, options, async storage => {
    const format = await detectFormat(storage)
    if (format !== 'qcow2')
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `${path} is a ${format} image, which has no clusters to move; only qcow2 images are made shorter in place`,
        { path, format },
      )
    return compactQcow2(storage, {
      ...options,
      // A machine that was started meanwhile does not see drydisk's lock.
      ...(options.force !== true && {
        beforeSwitch: () =>
          checkNotInUse({ path: storage.name, device: storage.device, inode: storage.inode }, 'write'),
      }),
    })
  })
}
