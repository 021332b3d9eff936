import type { GuestFs } from '../guest/guest-fs.ts'

/** One value that an operation looked at or changed. */
export interface Change {
  /** What a person would call it: `PermitRootLogin`, `kernel arguments of Debian GNU/Linux, with Linux 6.1`. */
  readonly setting: string
  /** The effective value before; `null` when there was none. Secrets are shown as `(hidden)`. */
  readonly before: string | null
  /** The effective value at the next boot; `null` when there is none. */
  readonly after: string | null
  /** The guest path of the file that decides. */
  readonly file: string
  /** The 1-based line that decides, in the file as it is now. */
  readonly line?: number
  /** What else the person should know: another place that was changed too, a limit of this guest family. */
  readonly note?: string
  /** `after` is a secret that was made just now and is told nowhere else: to be shown whatever else is kept quiet. */
  readonly newSecret?: true
}

/** A value that an operation found as it was to be. */
export interface Unchanged {
  readonly setting: string
  readonly value: string | null
  /** The guest path of the file that decides. */
  readonly file: string
  readonly line?: number
}

/** What an operation did. */
export interface OperationReport {
  readonly operation: string
  readonly changes: readonly Change[]
  /** What was as wanted already. */
  readonly unchanged?: readonly Unchanged[]
  /** What could not be done as asked but does no harm. */
  readonly warnings: readonly string[]
}

/**
 * What a person wants done to a guest, as data: the command line, recipes and the library run the same list.
 * `run` changes nothing outside `guest`, is idempotent (a second run reports no changes), and throws
 * `ERR_NOT_EFFECTIVE` when something that it cannot change still decides the value.
 */
export interface Operation<Arguments> {
  /** As on the command line, without dashes: `root-password`. */
  readonly name: string
  /** One line of help. */
  readonly summary: string
  /**
   * Throws `ERR_INVALID_ARGUMENT` for arguments that no guest could take. `run` does it too; whoever plans does it before an image is
   * opened. Left out where each argument will do.
   */
  check?(args: Arguments): void
  run(guest: GuestFs, args: Arguments): Promise<OperationReport>
}
