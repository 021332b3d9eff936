import type { BlockDevice } from '../device/block-device.ts'
import { zeros } from '../device/zeros.ts'
import { checkNotAborted } from './pipeline.ts'
import { type CopyOptions, planned, TASK_BYTES, totalSize } from './plan.ts'
import { Planner } from './planner.ts'
import type { Task } from './task.ts'
import { ThreadEngine } from './thread-engine.ts'

/**
 * Hands the bytes of the disks, one behind the other, to `write` in order, zeros too. What comes next is read while `write` is busy.
 * @param write has the bytes until its promise settles.
 * Errors: `ERR_ABORTED`; what reading the sources and `write` throw.
 */
export async function streamRaw(
  sources: readonly BlockDevice[],
  write: (bytes: Uint8Array) => Promise<void>,
  options: CopyOptions = {},
): Promise<{ readonly size: number }> {
  const { signal, onProgress } = options
  const size = totalSize(sources)
  const planner = new Planner({
    unit: 1,
    size,
    taskBytes: TASK_BYTES,
    zeros: 'entries',
    keep: undefined,
  })
  const nowhere = { write: () => Promise.reject(new TypeError('a stream has no storage')) }
  const engine = new ThreadEngine(planner.storages, planner.devices, nowhere, {
    clusterSize: 1,
    subclusters: 1,
    sparseSize: 0,
    compress: undefined,
  })
  let written = 0
  const send = async (bytes: Uint8Array): Promise<void> => {
    checkNotAborted(signal)
    await write(bytes)
    written += bytes.length
    onProgress?.({ done: written, total: size, written })
  }
  const sendTask = async (task: Task, bytes: Uint8Array): Promise<void> => {
    let at = 0
    for (const { kind, length } of task.runs) {
      if (kind === 'zero')
        for (let done = 0; done < length; ) {
          const chunk = zeros(length - done)
          await send(chunk)
          done += chunk.length
        }
      else await send(bytes.subarray(at, at + length))
      if (kind !== 'zero') at += length
    }
  }
  const underWay = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | undefined
  let sent: Promise<void> = Promise.resolve()
  try {
    // Everything is allocated in a stream: zeros count as content.
    for await (const task of planned(sources, planner, { ...options, sparseSize: 0 }, undefined)) {
      while (underWay.size >= engine.capacity) await Promise.race(underWay)
      if (failure !== undefined) break
      checkNotAborted(signal)
      const before = sent
      const work: Promise<void> = engine
        .withBytes(task, async bytes => {
          await before
          if (failure === undefined) await sendTask(task, bytes)
        })
        .catch((error: unknown) => {
          failure ??= { error }
        })
        .finally(() => underWay.delete(work))
      sent = work
      underWay.add(work)
    }
  } finally {
    await Promise.all(underWay)
  }
  if (failure !== undefined) throw failure.error
  return { size }
}
