import { parentPort, workerData } from 'node:worker_threads'
import { writeAll } from './node-write-all.ts'
import {
  CLOSED,
  DEPTH,
  DONE,
  GIVEN,
  type SharedWrites,
  WRITE_FIELDS,
  type WriteAnswer,
} from './shared-writes.ts'

/** A thread that does nothing but write. It imports next to nothing: it is there while the first clusters are read. */
function serve(port: NonNullable<typeof parentPort>, { fd, counts, writes, memory }: SharedWrites): void {
  const answer = (message: WriteAnswer): void => port.postMessage(message)
  for (let done = 0; ; ) {
    Atomics.wait(counts, GIVEN, done)
    const given = Atomics.load(counts, GIVEN)
    if (given === CLOSED) return
    for (; done < given; done++) {
      const at = (done % DEPTH) * WRITE_FIELDS
      const [offset = 0, start = 0, length = 0] = writes.subarray(at, at + WRITE_FIELDS)
      try {
        writeAll(fd, offset, memory.subarray(start, start + length))
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : ''
        answer({ code, message: String(error) })
        return
      }
      Atomics.store(counts, DONE, done + 1)
      answer(undefined)
    }
  }
}

if (parentPort !== null) serve(parentPort, workerData as SharedWrites)
