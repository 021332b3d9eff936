import { setTimeout as sleep } from 'node:timers/promises'
import { isDrydiskError } from '../errors.ts'
import { warn } from './output.ts'

/** What an interruption has to give back: the images that are open for writing. */
export const openImages = new Set<{ close(): Promise<void> }>()

/** Long work that is under way: told to stop before the images that it uses are closed. */
const running = new Set<() => Promise<void>>()

/** Steps under way that no signal interrupts. */
let busy = 0
let dying = false
let pending: NodeJS.Signals | undefined
let inChild = false

/** Ctrl-C before the commit is a rollback; during the commit, which is short and atomic, it waits for its end. */
export function handleSignals(): void {
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (inChild && signal === 'SIGINT') return
      if (busy > 0) pending = signal
      else void dieOf(signal)
    })
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // The reader of a pipe has seen enough.
    void closeImages().then(() => process.exit(error.code === 'EPIPE' ? 0 : 1))
  })
}

/** Runs a step that no signal interrupts; one that came meanwhile ends the process afterwards. */
export async function uninterrupted(step: () => Promise<void>): Promise<void> {
  busy++
  try {
    await step()
  } finally {
    busy--
  }
  if (pending !== undefined && busy === 0) await dieOf(pending)
}

/**
 * Runs long work that an interruption stops: the signal is aborted, and the process ends when the work has taken back what it
 * had begun.
 * @param stopping called at the interruption, before the work is told.
 */
export async function stoppable<T>(
  work: (signal: AbortSignal) => Promise<T>,
  stopping?: () => void,
): Promise<T> {
  const controller = new AbortController()
  const working = work(controller.signal)
  const stop = async (): Promise<void> => {
    stopping?.()
    controller.abort()
    await working.catch(tellWhatIsDone)
  }
  running.add(stop)
  try {
    return await working
  } finally {
    running.delete(stop)
    // What was interrupted has no result and no error: the process is about to end.
    if (dying) await new Promise(() => undefined)
  }
}

/** Of work in several steps, what the finished ones changed stays, and has to be known. */
function tellWhatIsDone(error: unknown): void {
  if (isDrydiskError(error, 'ERR_ABORTED') && error.context.published === true) warn(error.message)
}

/** As `uninterrupted`, for a program that has the terminal: Ctrl-C there is meant for that program alone. */
export async function withTerminal(step: () => Promise<void>): Promise<void> {
  inChild = true
  try {
    await uninterrupted(step)
  } finally {
    inChild = false
  }
}

/** Milliseconds for work to take back what it had begun, and for all that an interruption waits for. */
const WORK_PATIENCE = 250
const PATIENCE = 3000

async function closeImages(): Promise<void> {
  dying = true
  const patience = sleep(PATIENCE)
  if (running.size > 0) {
    const stopped = Promise.all([...running].map(stop => stop()))
    await Promise.race([stopped, sleep(WORK_PATIENCE)])
    // What is made anew can go while it is still written to; changes of an image have to be taken back in order.
    const { removeUnfinished } = await import('../image/new-file.ts')
    if (!removeUnfinished()) await Promise.race([stopped, patience])
  }
  const closed = Promise.all([...openImages].map(image => image.close().catch(() => undefined)))
  await Promise.race([closed, patience])
}

/** Ends as the shell expects it: by the signal itself. process.exit() would wait for a thread that waits for a pipe. */
async function dieOf(signal: NodeJS.Signals): Promise<void> {
  await closeImages()
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
}
