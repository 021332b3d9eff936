import { DrydiskError, type ErrorContext } from '../../../errors.ts'

/** A log that contradicts itself or the filesystem. */
export function corruptLog(what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `XFS log: ${what}; nothing was replayed. Run \`xfs_repair -L\` on a copy: it drops the log and what only the log holds`,
    { structure: 'XFS log', ...context },
  )
}

/** A sound log with something that drydisk does not replay. */
export function unsupportedLog(what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError(
    'ERR_UNSUPPORTED',
    `XFS log: ${what}; nothing was replayed. A Linux that mounts the filesystem replays the log`,
    { structure: 'XFS log', ...context },
  )
}
