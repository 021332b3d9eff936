import type { BlockDevice } from '../device/block-device.ts'
import type { Storage } from '../device/storage.ts'
import { readPadded } from '../image/qcow2/padded-read.ts'
import type { ClusterSettings, Engine, Loaded, Task } from './task.ts'
import { type Buffers, TaskRunner } from './task-runner.ts'

/** A faster way to read some storages. */
export interface FastReads {
  /** Memory for it. */
  allocate(length: number): Uint8Array
  /**
   * Fills all of `into`, past the end with zeros; `undefined` for a storage that is read as usual.
   * @returns true where it was seen to be nothing but zeros.
   */
  read(storage: Storage, offset: number, into: Uint8Array): Promise<boolean> | undefined
  close(): Promise<void>
}

/** As many as libuv has threads for files. */
const CAPACITY = 4
/** A filesystem locks a file while it is written to, and a thread that waits for the lock keeps a core from those that read. */
const MAX_WRITERS = 2

/** Carries tasks out in this thread, over any storages. */
export class ThreadEngine implements Engine {
  readonly capacity = CAPACITY
  readonly #runner: TaskRunner
  readonly #fast: FastReads | undefined
  #writers = 0
  readonly #waiting: (() => void)[] = []

  /**
   * @param storages,devices what segments number; they may grow.
   * @param backing clusters that are equal to it are left out.
   */
  constructor(
    storages: readonly Storage[],
    devices: readonly BlockDevice[],
    target: Pick<Storage, 'write'>,
    settings: ClusterSettings,
    backing?: BlockDevice,
    fast?: FastReads,
  ) {
    this.#fast = fast
    this.#runner = new TaskRunner(
      {
        read: async (file, offset, into) => {
          const storage = storages[file]
          const done = storage && fast?.read(storage, offset, into)
          if (done !== undefined) return done
          if (storage !== undefined) await readPadded(storage, offset, into)
          return false
        },
        name: file => storages[file]?.name ?? '',
        readDevice: async (device, offset, into) => devices[device]?.read(offset, into),
        write: (offset, from) => this.#inTurn(() => target.write(offset, from)),
        ...(fast === undefined ? {} : { allocate: (length: number) => fast.allocate(length) }),
        ...(backing === undefined
          ? {}
          : { readBacking: (offset: number, into: Uint8Array) => readBacking(backing, offset, into) }),
      },
      settings,
    )
  }

  async #inTurn(write: () => Promise<void>): Promise<void> {
    while (this.#writers >= MAX_WRITERS) await new Promise<void>(resolve => this.#waiting.push(resolve))
    this.#writers++
    try {
      await write()
    } finally {
      this.#writers--
      this.#waiting.shift()?.()
    }
  }

  load(task: Task): Promise<Loaded> {
    return this.#runner.load(task)
  }

  store(task: Task, hosts: Float64Array): Promise<number> {
    return this.#runner.store(task, hosts)
  }

  copy(task: Task): Promise<number> {
    return this.#runner.copy(task)
  }

  /** The bytes of a task for the time of a step. */
  async withBytes(task: Task, step: (bytes: Uint8Array) => Promise<void>): Promise<void> {
    const buffers: Buffers = await this.#runner.read(task)
    try {
      await step(buffers.data)
    } finally {
      this.#runner.release(buffers)
    }
  }

  async close(): Promise<void> {
    await this.#fast?.close()
  }
}

async function readBacking(backing: BlockDevice, offset: number, into: Uint8Array): Promise<void> {
  const present = Math.max(0, Math.min(into.length, backing.size - offset))
  if (present > 0) await backing.read(offset, into.subarray(0, present))
  into.fill(0, present)
}
