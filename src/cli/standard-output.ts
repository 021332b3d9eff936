import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { DrydiskError } from '../errors.ts'

const STANDARD_OUTPUT = 1

const writeFd = promisify(write)

/** Nobody reads standard output any more: there is nothing to say about it. */
export class ReaderGone extends Error {}

/**
 * A way to write bytes to standard output that waits until they are taken. `process.stdout` would block the whole process at a pipe
 * whose reader is slow, and no signal would be heard.
 * @param signal aborted: what is not taken yet is not waited for (`ERR_ABORTED`).
 * Errors of the way: `ReaderGone`; as node:fs.
 */
export function standardOutput(signal: AbortSignal): (bytes: Uint8Array) => Promise<void> {
  const aborted = new Promise<never>((_, reject) => {
    const abort = (): void =>
      reject(new DrydiskError('ERR_ABORTED', 'writing to standard output was stopped'))
    signal.addEventListener('abort', abort, { once: true })
  })
  aborted.catch(() => undefined)
  return bytes => Promise.race([writeAll(bytes), aborted])
}

async function writeAll(bytes: Uint8Array): Promise<void> {
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
