import { Worker } from 'node:worker_threads'
import { fileError } from '../device/file-error.ts'
import type { FileStorage } from '../device/file-storage.ts'
import { DrydiskError } from '../errors.ts'
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
import type { TaskTarget } from './thread-engine.ts'

/** Shorter writes are done before another thread would know of them. */
const WORTH_GIVING = 128 << 10
/** Bytes of a target that are not worth a thread. */
const START = 8 << 20
/** Milliseconds that a write to the page cache hardly ever takes. */
const SLOW = 50
/** Writes that go through the thread pool after one that took longer: they wait for the medium. */
const WAITS = 16

interface Waiting {
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * Writes a file with two threads: another one writes what lies in memory that it sees too, and this one what comes while that one
 * has enough to do. A filesystem lets one write to a file at a time, so more threads would wait for each other.
 */
export class SharedWriter implements TaskTarget {
  readonly #target: FileStorage
  readonly #url: URL
  readonly #shared: SharedWrites
  readonly #bufferBytes: number
  readonly #waiting: Waiting[] = []
  #worker: Worker | undefined
  /** Bytes of the memory that tasks have. */
  #allocated = 0
  #written = 0
  #given = 0
  #settled = 0
  #failure: unknown
  #waits = 0

  /**
   * @param buffers that both threads see, of so many bytes each.
   * @param url of `node-write-thread.js`.
   */
  constructor(target: FileStorage, buffers: number, bufferBytes: number, url: URL) {
    this.#target = target
    this.#bufferBytes = bufferBytes
    this.#url = url
    this.#shared = {
      fd: target.fd,
      counts: new Int32Array(new SharedArrayBuffer(8)),
      writes: new Float64Array(new SharedArrayBuffer(DEPTH * WRITE_FIELDS * 8)),
      memory: new Uint8Array(new SharedArrayBuffer(buffers * bufferBytes)),
    }
  }

  allocate(length: number): Uint8Array {
    const { memory } = this.#shared
    const start = this.#allocated
    if (length > this.#bufferBytes || start === memory.length) return new Uint8Array(length)
    this.#allocated += this.#bufferBytes
    return memory.subarray(start, this.#allocated)
  }

  write(offset: number, from: Uint8Array): Promise<void> | void {
    this.#settle()
    if (this.#failure !== undefined) throw this.#failure
    this.#written += from.length
    if (
      from.buffer === this.#shared.memory.buffer &&
      from.length >= WORTH_GIVING &&
      this.#written > START &&
      this.#given - this.#settled < DEPTH
    )
      return this.#give(offset, from)
    if (this.#waits > 0) {
      this.#waits--
      return this.#target.write(offset, from)
    }
    const start = performance.now()
    try {
      writeAll(this.#target.fd, offset, from)
    } catch (error) {
      throw fileError(error, this.#target.name, 'write')
    }
    if (performance.now() - start > SLOW) this.#waits = WAITS
  }

  #give(offset: number, from: Uint8Array): Promise<void> {
    const { counts, writes } = this.#shared
    this.#worker ??= this.#start()
    writes.set([offset, from.byteOffset, from.length], (this.#given % DEPTH) * WRITE_FIELDS)
    Atomics.store(counts, GIVEN, ++this.#given)
    Atomics.notify(counts, GIVEN)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
    })
  }

  #start(): Worker {
    const worker = new Worker(this.#url, { workerData: this.#shared })
    worker.on('message', (answer: WriteAnswer) => {
      if (answer === undefined) this.#settle()
      else this.#fail(fileError(Object.assign(new Error(answer.message), answer), this.#target.name, 'write'))
    })
    worker.on('error', error => this.#fail(error))
    worker.on('exit', () => this.#fail(new DrydiskError('EIO', 'a worker thread ended too early')))
    return worker
  }

  /** Whoever waits for writes that are done goes on. */
  #settle(): void {
    const done = Atomics.load(this.#shared.counts, DONE)
    for (; this.#settled < done; this.#settled++) this.#waiting.shift()?.resolve()
  }

  #fail(error: unknown): void {
    this.#settle()
    this.#failure ??= error
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  /** Nothing is under way any longer when this is called. */
  close(): void {
    const { counts } = this.#shared
    Atomics.store(counts, GIVEN, CLOSED)
    Atomics.notify(counts, GIVEN)
    this.#worker?.unref()
  }
}
