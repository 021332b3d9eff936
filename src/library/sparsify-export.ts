import { freeRanges } from '../copy/free-ranges.ts'
import type { SparsifyInPlaceOptions, SparsifyInPlaceResult } from '../copy/sparsify-in-place.ts'
import { NbdStorage } from '../device/nbd/nbd-storage.ts'
import { DrydiskError } from '../errors.ts'
import { openNbd } from '../image/open-nbd.ts'
import { RawImage } from '../image/raw.ts'

/** Bytes that are given up between two looks at the signal. */
const STEP = 1 << 30

/**
 * Gives up what the filesystems of a raw disk behind an NBD server do not use: the server is told to trim it, and what it keeps the disk
 * in (Ceph, LVM thin, a sparse file) becomes smaller. What is used is neither read nor written; a crash, or an abort midway, leaves
 * the same files.
 *
 * Errors: those of `openNbd`; `ENOTSUP` for a server that does not trim; `ERR_UNSUPPORTED` for qcow2 in an export; `ERR_ABORTED`.
 */
export async function sparsifyExport(
  uri: string,
  options: Omit<SparsifyInPlaceOptions, 'force' | 'allowBacking'> = {},
): Promise<SparsifyInPlaceResult> {
  const { ignore = [], dryRun = false, dropZeros = false, signal } = options
  if (dropZeros)
    throw new DrydiskError(
      'ENOTSUP',
      `${uri}: zeros that files hold are not given up over NBD, for what is trimmed need not read as zeros`,
      { path: uri },
    )
  const image = await openNbd(uri, { writable: !dryRun })
  try {
    if (!(image instanceof RawImage && image.storage instanceof NbdStorage))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `${uri} holds a qcow2 image, whose file does not become shorter in an export: serve the disk in it (drydisk serve, qemu-nbd -f qcow2), or make a smaller copy with "drydisk sparsify ${uri} COPY"`,
        { path: uri },
      )
    const { storage, size } = image
    if (!dryRun && !storage.discards)
      throw new DrydiskError(
        'ENOTSUP',
        `${uri}: the server does not take requests to trim (qemu-nbd has --discard=unmap for that); make a smaller copy with "drydisk sparsify ${uri} COPY"`,
        { path: uri },
      )
    const { ranges, volumes, warnings } = await freeRanges(image, { ignore })
    let dropped = 0
    for (const { start, end } of ranges.ranges())
      for (let at = start; at < end; at += STEP) {
        if (signal?.aborted)
          throw new DrydiskError('ERR_ABORTED', `${uri}: stopped; its files are as before`, { path: uri })
        const length = Math.min(STEP, end - at)
        dropped += dryRun ? length : await storage.discard(at, length)
      }
    if (!dryRun) await storage.flush()
    return { free: ranges.total, dropped, moved: 0, before: size, after: size, volumes, warnings }
  } finally {
    await image.close()
  }
}
