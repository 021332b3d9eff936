import { DrydiskError, type ErrorContext } from '../../errors.ts'

/** An on-disk structure that contradicts itself or what refers to it. `what` follows `btrfs: `. */
export function corrupt(structure: string, what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError(
    'ERR_CORRUPT',
    `btrfs: ${what}; run \`btrfs check\` on a copy, or \`btrfs restore\` to save files`,
    { structure, ...context },
  )
}

/** A sound filesystem with something that drydisk does not read. */
export function unsupported(what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError('ERR_UNSUPPORTED', `btrfs: ${what}`, context)
}
