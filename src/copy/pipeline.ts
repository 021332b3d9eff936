import { DrydiskError } from '../errors.ts'
import type { TargetLayout } from './target-layout.ts'
import type { Engine, Task } from './task.ts'

export interface PipelineOptions {
  /** Where clusters go; without it each byte has its place in the target. */
  readonly layout: TargetLayout | undefined
  readonly signal: AbortSignal | undefined
  /** @param end how far the target is planned. @param written bytes in all. */
  readonly onTask: (end: number, written: number) => void
}

/** Carries the tasks out, as many at once as the engine takes. After an error nothing is under way any more. */
export async function runTasks(
  tasks: AsyncIterable<Task>,
  engine: Engine,
  { layout, signal, onTask }: PipelineOptions,
): Promise<{ readonly written: number }> {
  const underWay = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | undefined
  let written = 0
  let furthest = 0
  let placed: Promise<unknown> = Promise.resolve()
  const one = async (task: Task): Promise<void> => {
    let bytes: number
    if (layout === undefined) bytes = await engine.copy(task)
    else {
      const loading = engine.load(task)
      // Clusters are placed in the order of the tasks: the same input gives the same bytes.
      const placing = placed.then(async () => layout.place(task, await loading))
      placed = placing.catch(() => undefined)
      const [, hosts] = await Promise.all([loading, placing])
      bytes = await engine.store(task, hosts)
    }
    written += bytes
    // A task may end before the one in front of it.
    furthest = Math.max(furthest, task.end)
    onTask(furthest, written)
  }
  try {
    for await (const task of tasks) {
      while (underWay.size >= engine.capacity) await Promise.race(underWay)
      if (failure !== undefined) break
      checkNotAborted(signal)
      const work: Promise<void> = one(task)
        .catch((error: unknown) => {
          failure ??= { error }
        })
        .finally(() => underWay.delete(work))
      underWay.add(work)
    }
  } finally {
    await Promise.all(underWay)
  }
  if (failure !== undefined) throw failure.error
  checkNotAborted(signal)
  return { written }
}

export function checkNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new DrydiskError('ERR_ABORTED', 'stopped before it was done')
}
