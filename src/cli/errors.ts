import { type DrydiskError, isDrydiskError } from '../errors.ts'
import { freeSpace } from './disk-full.ts'
import { humanSize, printEvent, warn } from './output.ts'

/** Exit statuses; docs/cli.md tells users of them. A signal gives 128 and its number. */
export const STATUS = { ok: 0, error: 1, usage: 2 } as const

/** What a command ends with instead, where its own results have these numbers. */
export interface ErrorStatuses {
  readonly error?: number
  readonly usage?: number
}

/** The command line itself is wrong: exit status 2. */
export class UsageError extends Error {
  readonly code = 'ERR_INVALID_ARGUMENT'
}

/** Some of several things could not be done, and it was said already: exit status 1 and no further message. */
export class AlreadyReported extends Error {}

/** All was done and said; the exit status is the result. */
export class Finished extends Error {
  readonly status: number

  constructor(status: number) {
    super(`exit status ${status}`)
    this.status = status
  }
}

/** Says what went wrong in one line, or as JSON on standard output, and gives the exit status. */
export async function reportError(
  error: unknown,
  json: boolean,
  statuses: ErrorStatuses = {},
): Promise<number> {
  if (error instanceof Finished) return error.status
  const status =
    error instanceof UsageError ? (statuses.usage ?? STATUS.usage) : (statuses.error ?? STATUS.error)
  if (error instanceof AlreadyReported) return status
  const { code, message, context } = describe(error)
  // On one line: it may end a stream of events.
  if (json) await printEvent({ error: { code, message, context } })
  else warn(message)
  if (process.env.DRYDISK_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  return status
}

export function describe(error: unknown): {
  code: string
  message: string
  context: Record<string, unknown>
} {
  if (isDrydiskError(error)) return withRoom(error)
  const message = error instanceof Error ? error.message : String(error)
  const code = (error as { code?: unknown } | undefined)?.code
  if (error instanceof UsageError || typeof code === 'string')
    return { code: String(code), message: message.replace(/^E[A-Z]+: /, ''), context: {} }
  // Neither bad input nor a refusal of the system: a bug, worth its stack.
  return { code: 'ERR_INTERNAL', message: `internal error: ${message}`, context: {} }
}

/** A full disk of the host says how much room there is. That is asked here, when what was staged is gone again. */
function withRoom({ code, message, context }: DrydiskError): ReturnType<typeof describe> {
  const { full, path, free = undefined } = context
  const room = full === 'host' && free === undefined && typeof path === 'string' ? freeSpace(path) : undefined
  return room === undefined
    ? { code, message, context: { ...context } }
    : { code, message: `${message}: ${humanSize(room)} are free there`, context: { ...context, free: room } }
}
