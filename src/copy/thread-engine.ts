import type { BlockDevice } from '../device/block-device.ts'
import type { Storage } from '../device/storage.ts'
import { readPadded } from '../image/qcow2/padded-read.ts'
import type { ClusterSettings, Engine, Loaded, Task } from './task.ts'
import { type Buffers, TaskRunner } from './task-runner.ts'

/** As many as libuv has threads for files. */
export const CAPACITY = 4

/** Where the bytes go. */
export interface TaskTarget {
  write(offset: number, from: Uint8Array): Promise<void> | void
  /** Memory of so many bytes or more that it writes faster than other. */
  allocate?(length: number): Uint8Array
}

/** Carries tasks out in this thread, over any storages. */
export class ThreadEngine implements Engine {
  readonly capacity = CAPACITY
  readonly #runner: TaskRunner

  /**
   * @param storages,devices what segments number; they may grow.
   * @param backing clusters that are equal to it are left out.
   */
  constructor(
    storages: readonly Storage[],
    devices: readonly BlockDevice[],
    target: TaskTarget,
    settings: ClusterSettings,
    backing?: BlockDevice,
  ) {
    this.#runner = new TaskRunner(
      {
        read: async (file, offset, into) => {
          const storage = storages[file]
          if (storage !== undefined) await readPadded(storage, offset, into)
        },
        name: file => storages[file]?.name ?? '',
        readDevice: async (device, offset, into) => devices[device]?.read(offset, into),
        write: (offset, from) => target.write(offset, from),
        allocate: length => target.allocate?.(length) ?? new Uint8Array(length),
        ...(backing === undefined
          ? {}
          : { readBacking: (offset: number, into: Uint8Array) => readBacking(backing, offset, into) }),
      },
      settings,
    )
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

  /** Everything that it works on is somebody else's. */
  close(): Promise<void> {
    return Promise.resolve()
  }
}

async function readBacking(backing: BlockDevice, offset: number, into: Uint8Array): Promise<void> {
  const present = Math.max(0, Math.min(into.length, backing.size - offset))
  if (present > 0) await backing.read(offset, into.subarray(0, present))
  into.fill(0, present)
}
