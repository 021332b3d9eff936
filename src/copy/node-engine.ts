import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { BlockDevice } from '../device/block-device.ts'
import { FileStorage } from '../device/file-storage.ts'
import type { Storage } from '../device/storage.ts'
import { DrydiskError } from '../errors.ts'
import type { WorkerAnswer, WorkerRequest, WorkerSetup } from './node-messages.ts'
import { SharedWriter } from './node-shared-writer.ts'
import { TASK_BYTES } from './plan.ts'
import type { ClusterSettings, Engine, Loaded, Task } from './task.ts'
import { CAPACITY, ThreadEngine } from './thread-engine.ts'

/** Tasks of one worker at once: one that it works at, one behind it, and one that waits for its place. */
const PER_WORKER = 3
/** Each takes some 20 MB. */
const MAX_WORKERS = 8

/** Which workers there are, for tests. */
export interface WorkerChoice {
  readonly url: URL
  readonly count: number
  /** Of the thread that writes; without it, what is copied plainly is written by this thread. */
  readonly writer: URL | undefined
}

/** The workers' files beside this one. TypeScript as it is (in tests) does not run in a worker. */
function defaultWorkers(): WorkerChoice | undefined {
  if (import.meta.url.endsWith('.ts')) return undefined
  const url = new URL('./node-worker.js', import.meta.url)
  if (!existsSync(fileURLToPath(url))) return undefined
  const count = Math.min(MAX_WORKERS, availableParallelism())
  return { url, count, writer: count > 1 ? new URL('./node-write-thread.js', import.meta.url) : undefined }
}

/** What an engine works on. */
export interface EngineParts {
  /** What the segments of tasks number; they may grow. */
  readonly storages: readonly Storage[]
  readonly devices: readonly BlockDevice[]
  readonly target: Storage
  readonly settings: ClusterSettings
  /** Clusters that are equal to it are left out. */
  readonly backing: BlockDevice | undefined
}

/** The fastest engine for it: codecs run in workers, and a plain copy is written by two threads. */
export function createEngine(parts: EngineParts, workers = defaultWorkers()): Engine {
  const { storages, devices, target, settings, backing } = parts
  // A comparison with the backing file reads through it, which only this thread can.
  if (
    workers === undefined ||
    workers.count === 0 ||
    backing !== undefined ||
    !(target instanceof FileStorage)
  )
    return new ThreadEngine(storages, devices, target, settings, backing)
  return new WorkerEngine(storages, devices, target, settings, workers)
}

/** Sends tasks with something to compress or to decompress to workers; others stay here. */
class WorkerEngine implements Engine {
  readonly capacity: number
  readonly #thread: ThreadEngine
  readonly #writer: SharedWriter | undefined
  readonly #storages: readonly Storage[]
  readonly #setup: WorkerSetup
  readonly #choice: WorkerChoice
  readonly #workers: TaskWorker[] = []
  readonly #placed = new Map<Task, { readonly worker: TaskWorker; readonly id: number }>()
  #next = 0

  constructor(
    storages: readonly Storage[],
    devices: readonly BlockDevice[],
    target: FileStorage,
    settings: ClusterSettings,
    choice: WorkerChoice,
  ) {
    this.capacity = Math.max(CAPACITY, choice.count * PER_WORKER)
    if (choice.writer !== undefined)
      this.#writer = new SharedWriter(target, this.capacity, TASK_BYTES, choice.writer)
    this.#thread = new ThreadEngine(storages, devices, this.#writer ?? target, settings)
    this.#storages = storages
    this.#setup = { target: target.fd, targetName: target.name, settings }
    this.#choice = choice
  }

  load(task: Task): Promise<Loaded> {
    const worker = this.#workerFor(task)
    if (worker === undefined) return this.#thread.load(task)
    const id = this.#next++
    this.#placed.set(task, { worker, id })
    return worker.send({ id, kind: 'load', task, files: [] }).then(({ loaded }) => {
      if (loaded === undefined) throw new TypeError('a worker answered something else')
      return loaded
    })
  }

  async store(task: Task, hosts: Float64Array): Promise<number> {
    const placed = this.#placed.get(task)
    if (placed === undefined) return this.#thread.store(task, hosts)
    this.#placed.delete(task)
    const { written = 0 } = await placed.worker.send({ id: placed.id, kind: 'store', hosts })
    placed.worker.tasks--
    return written
  }

  async copy(task: Task): Promise<number> {
    const worker = this.#workerFor(task)
    if (worker === undefined) return this.#thread.copy(task)
    const { written = 0 } = await worker.send({ id: this.#next++, kind: 'copy', task, files: [] })
    worker.tasks--
    return written
  }

  /** The one with the least to do; a new one while there may be more. */
  #workerFor(task: Task): TaskWorker | undefined {
    if (!this.#isWork(task)) return undefined
    let chosen: TaskWorker | undefined
    for (const worker of this.#workers)
      if (chosen === undefined || worker.tasks < chosen.tasks) chosen = worker
    if (this.#workers.length < this.#choice.count && (chosen === undefined || chosen.tasks > 0)) {
      chosen = new TaskWorker(this.#choice.url, this.#setup, this.#storages)
      this.#workers.push(chosen)
    }
    if (chosen !== undefined) chosen.tasks++
    return chosen
  }

  /** Whether it is worth a worker, and one can do it: it sees nothing but files. */
  #isWork(task: Task): boolean {
    const { compress } = this.#setup.settings
    const compresses = compress !== undefined && task.length > 0
    if (!compresses && !task.segments.some(({ kind }) => kind === 'compressed')) return false
    return task.segments.every(
      ({ kind, file }) => kind !== 'device' && this.#storages[file] instanceof FileStorage,
    )
  }

  async close(): Promise<void> {
    this.#writer?.close()
    await Promise.all(this.#workers.map(worker => worker.close()))
  }
}

interface Waiting {
  readonly resolve: (answer: WorkerAnswer) => void
  readonly reject: (error: unknown) => void
}

class TaskWorker {
  /** Tasks that it has. */
  tasks = 0
  readonly #worker: Worker
  readonly #storages: readonly Storage[]
  readonly #waiting = new Map<number, Waiting>()
  #told = 0
  #failure: unknown

  constructor(url: URL, setup: WorkerSetup, storages: readonly Storage[]) {
    this.#storages = storages
    this.#worker = new Worker(url, { workerData: setup })
    this.#worker.on('message', (answer: WorkerAnswer) => this.#settle(answer))
    this.#worker.on('error', error => this.#fail(error))
    this.#worker.on('exit', () => this.#fail(new DrydiskError('EIO', 'a worker thread ended too early')))
  }

  send(request: WorkerRequest): Promise<WorkerAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure)
        return
      }
      this.#waiting.set(request.id, { resolve, reject })
      this.#worker.postMessage(request.kind === 'store' ? request : { ...request, files: this.#news() })
    })
  }

  /** Files that came up since the last task. */
  #news(): { fd: number; name: string }[] {
    const news = this.#storages.slice(this.#told)
    this.#told = this.#storages.length
    // What is no file has a number too, and is never asked for.
    return news.map(storage => ({
      fd: storage instanceof FileStorage ? storage.fd : -1,
      name: storage.name,
    }))
  }

  #settle(answer: WorkerAnswer): void {
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if (answer.error === undefined) waiting?.resolve(answer)
    else {
      const { code, message, context } = answer.error
      waiting?.reject(code === undefined ? new Error(message) : new DrydiskError(code, message, context))
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }
}
