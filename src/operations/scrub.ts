import { isZero } from '../bytes/compare.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestPath } from '../guest/guest-fs.ts'
import { displayPath, statOrUndefined } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { byteCount, ReportBuilder } from './report.ts'

/** Arguments of the operation `scrub`. */
export interface ScrubArguments {
  readonly path: GuestPath
}

const CHUNK = 1 << 20

/**
 * Overwrites the content with zeros, so that the guest cannot get it back from free space, and deletes the file. Holes stay holes.
 * What is not there is scrubbed already.
 */
export const scrub: Operation<ScrubArguments> = {
  name: 'scrub',
  summary: 'Overwrite a file with zeros and delete it, so that the guest cannot recover it',
  async run(guest, { path }) {
    const report = new ReportBuilder('scrub')
    const stats = await statOrUndefined(guest, path)
    if (!stats) {
      report.keep('file', null, displayPath(path))
      return report.build()
    }
    if (!stats.isFile())
      throw new DrydiskError(
        'EINVAL',
        `${displayPath(path)} is a ${stats.type}; only files can be scrubbed`,
        {
          path: displayPath(path),
        },
      )
    const real = await guest.realpath(path)
    const zeros = new Uint8Array(CHUNK)
    const buffer = new Uint8Array(CHUNK)
    for (let offset = 0; offset < stats.size; ) {
      const length = await guest.readAt(
        real,
        offset,
        buffer.subarray(0, Math.min(CHUNK, stats.size - offset)),
      )
      if (length === 0) break
      if (!isZero(buffer.subarray(0, length))) await guest.writeAt(real, offset, zeros.subarray(0, length))
      offset += length
    }
    await guest.unlink(real)
    report.always('file', byteCount(stats.size), null, displayPath(real), {
      note: stats.nlink > 1 ? `its ${stats.nlink - 1} other names now hold zeros` : undefined,
    })
    report.warn(
      'The guest can no longer read it. Snapshots and backing files still hold it, and so may clusters of the image file that are free ' +
        'now: convert the image to a new file before you give it away',
    )
    return report.build()
  },
}
