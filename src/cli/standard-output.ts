import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const STANDARD_OUTPUT = 1

const writeFd = promisify(write)

/** Nobody reads standard output any more: there is nothing to say about it. */
export class ReaderGone extends Error {}

/**
 * Writes bytes to standard output and waits until they are taken. `process.stdout` would block the whole process at a pipe whose
 * reader is slow, and no signal would be heard.
 * Errors: `ReaderGone`; as node:fs.
 */
export async function writeStandardOutput(bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; )
    try {
      done += (await writeFd(STANDARD_OUTPUT, bytes, done, bytes.length - done, null)).bytesWritten
    } catch (error) {
      const { code } = error as { code?: string }
      if (code === 'EPIPE') throw new ReaderGone()
      // Somebody who shares the pipe has made it non-blocking.
      if (code !== 'EAGAIN') throw error
      await sleep(5)
    }
}
