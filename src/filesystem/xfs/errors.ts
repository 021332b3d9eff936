import { DrydiskError, type ErrorContext } from '../../errors.ts'

/** An on-disk structure that contradicts itself or what refers to it. `what` follows `xfs: `. */
export function corrupt(structure: string, what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `xfs: ${what}; run \`xfs_repair -n\` on a copy to see what is wrong`,
    {
      structure,
      ...context,
    },
  )
}

/** A sound filesystem with something that drydisk does not read. */
export function unsupported(what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError('ERR_UNSUPPORTED', `xfs: ${what}`, context)
}
