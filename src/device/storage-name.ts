import { DrydiskError } from '../errors.ts'

/** Throws `ERR_INVALID_ARGUMENT` unless `name` is a plain file name, which cannot lead out of its folder. */
export function checkPlainName(name: string): void {
  if (name === '' || name === '.' || name === '..' || /[/\\\0]/.test(name))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(name)} is not a plain file name: it must have no separator and not be "." or ".."`,
      { name },
    )
}
