import { writeSync } from 'node:fs'

/** Writes all of the bytes, however many one call takes. Throws what node:fs does. */
export function writeAll(fd: number, offset: number, from: Uint8Array): void {
  for (let done = 0; done < from.length; )
    done += writeSync(fd, from, done, from.length - done, offset + done)
}
