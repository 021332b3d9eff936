import { DrydiskError } from '../errors.ts'
import { detectFormat } from './detect.ts'
import { lookAgain, maintainFile } from './maintain-file.ts'
import { neighbourOpeners, type OpenImageOptions } from './open.ts'
import type { AmendOptions } from './qcow2/amend.ts'
import type { Job } from './qcow2/amend-zeros.ts'

/** What `amendImage` takes. */
export interface AmendImageOptions
  extends AmendOptions,
    Job,
    Pick<OpenImageOptions, 'force' | 'allowBacking'> {}

/**
 * Changes what a qcow2 image is (its version, the width of its refcounts, …) without changing what it holds.
 * Errors: as opening for writing, and as `qcow2/amend` says; `ERR_UNSUPPORTED` for a raw image, which has nothing to amend.
 */
export function amendImage(path: string, options: AmendImageOptions): Promise<void> {
  return maintainFile(path, options, async (storage, place) => {
    if ((await detectFormat(storage)) !== 'qcow2')
      throw new DrydiskError('ERR_UNSUPPORTED', `${path} is raw, and a raw image has nothing to amend`, {
        path,
      })
    const { amendQcow2 } = await import('./qcow2/amend.ts')
    const openers = await neighbourOpeners(storage, place, options)
    try {
      await amendQcow2(storage, options, openers, {
        ...options,
        beforeSwitch: lookAgain(storage, options),
      })
    } finally {
      await openers.release()
    }
  })
}
