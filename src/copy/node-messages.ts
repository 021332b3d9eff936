import type { ErrorCode, ErrorContext } from '../errors.ts'
import type { ClusterSettings, Loaded, Task } from './task.ts'

/** What a worker is started with. */
export interface WorkerSetup {
  /** File descriptor and name of the target. */
  readonly target: number
  readonly targetName: string
  readonly settings: ClusterSettings
}

/** `files`: what was not told to this worker before, in the order of their numbers. */
export type WorkerRequest =
  | {
      readonly id: number
      readonly kind: 'load' | 'copy'
      readonly task: Task
      readonly files: readonly { readonly fd: number; readonly name: string }[]
    }
  | { readonly id: number; readonly kind: 'store'; readonly hosts: Float64Array }

export interface WorkerAnswer {
  readonly id: number
  readonly loaded?: Loaded
  readonly written?: number
  readonly error?: {
    readonly code: ErrorCode | undefined
    readonly message: string
    readonly context: ErrorContext
  }
}
