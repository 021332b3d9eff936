import { stoppable } from './interruption.ts'
import { printEvent } from './output.ts'
import { type BarStream, ProgressBar } from './progress-bar.ts'

/** How far a long command is, in bytes. */
export interface Progress {
  readonly done: number
  readonly total: number
  /** Bytes that went into the target so far. */
  readonly written?: number
}

/** What a long command hands on to the function behind it. */
export interface Job {
  /** Aborted when the command is interrupted. */
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
}

export interface ProgressOptions {
  readonly json?: boolean
  readonly quiet?: boolean
  /** `-p`: also where standard error is no terminal. */
  readonly progress?: boolean
}

/** Milliseconds between two events: often enough to follow, seldom enough to cost nothing. */
const EVENT_INTERVAL = 500
const BAR_INTERVAL = 50

interface Display {
  readonly interval: number
  show(progress: Progress): void
  end(): void
}

/**
 * Runs a long piece of work so that an interruption stops it, and tells how far it is: by a bar where standard error is a
 * terminal, by events on standard output with `--json`, else not at all.
 * @param operation the command's name, for the bar and the events.
 */
export async function withProgress<T>(
  operation: string,
  options: ProgressOptions,
  work: (job: Job) => Promise<T>,
  stream: BarStream = process.stderr,
): Promise<T> {
  const display = await displayOf(operation, options, stream)
  if (display === undefined) return stoppable(signal => work({ signal, onProgress: () => undefined }))
  let last: Progress | undefined
  let shown = Number.NEGATIVE_INFINITY
  const onProgress = (progress: Progress): void => {
    last = progress
    const now = performance.now()
    if (now - shown < display.interval) return
    shown = now
    last = undefined
    display.show(progress)
  }
  try {
    const result = await stoppable(signal => work({ signal, onProgress }), display.end)
    if (last !== undefined) display.show(last)
    return result
  } finally {
    display.end()
  }
}

async function displayOf(
  operation: string,
  options: ProgressOptions,
  stream: BarStream,
): Promise<Display | undefined> {
  if (options.json)
    return {
      interval: EVENT_INTERVAL,
      // Not waited for: what a reader that hangs would leave here is two short lines a second.
      show: progress => void printEvent({ event: 'progress', operation, ...progress }).catch(() => undefined),
      end: () => undefined,
    }
  if (options.quiet || (stream.isTTY !== true && !options.progress)) return undefined
  const bar = await ProgressBar.create(operation, stream)
  return { interval: BAR_INTERVAL, show: ({ done, total }) => bar.update(done, total), end: () => bar.stop() }
}
