import type { SingleBar } from 'cli-progress'
import { humanSize } from './output.ts'

/** Where a bar goes: standard error, or what a test reads. */
export type BarStream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }

/** Milliseconds between two lines where the bar cannot be drawn over. */
const LINE_INTERVAL = 2000

/** `1 h 02 min`, `3 min 20 s`, `15 s`. */
export function humanTime(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  const two = (value: number): string => String(value).padStart(2, '0')
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`
}

/**
 * A bar with bytes, rate and time left. On a terminal it is drawn over and gone when it ends; elsewhere it is a line every now
 * and then.
 */
export class ProgressBar {
  readonly #bar: SingleBar
  readonly #start = Date.now()
  #state: 'new' | 'drawn' | 'gone' = 'new'

  private constructor(bar: SingleBar) {
    this.#bar = bar
  }

  /** The library is loaded only when there is a bar to draw. */
  static async create(operation: string, stream: BarStream): Promise<ProgressBar> {
    const { default: library } = await import('cli-progress')
    return new ProgressBar(
      new library.SingleBar({
        stream,
        format: `${operation} {percentage} % [{bar}] {value} of {total}, {rate}, {eta_formatted}`,
        formatValue: (value, _options, type) =>
          type === 'percentage' ? String(value).padStart(3) : humanSize(value),
        formatTime: seconds =>
          Number.isFinite(seconds) ? `${humanTime(seconds)} left` : 'time left unknown',
        barCompleteChar: '#',
        barIncompleteChar: '.',
        barsize: 24,
        // The bar's own clock redraws; what is reported in between costs no more than a few assignments.
        synchronousUpdate: false,
        etaBuffer: 100,
        clearOnComplete: true,
        // Signals are the command line's to handle: it stops the bar itself.
        gracefulExit: false,
        noTTYOutput: stream.isTTY !== true,
        notTTYSchedule: LINE_INTERVAL,
      }),
    )
  }

  /** Work that is being stopped may still tell of progress: a bar that is gone stays away. */
  update(done: number, total: number): void {
    if (this.#state === 'gone') return
    if (this.#state === 'new') this.#bar.start(total, 0, { rate: '0 B/s' })
    this.#state = 'drawn'
    const seconds = (Date.now() - this.#start) / 1000
    if (this.#bar.getTotal() !== total) this.#bar.setTotal(total)
    this.#bar.update(done, { rate: `${humanSize(Math.round(done / Math.max(seconds, 0.001)))}/s` })
  }

  stop(): void {
    if (this.#state === 'drawn') this.#bar.stop()
    this.#state = 'gone'
  }
}
