import { DrydiskError } from '../errors.ts'

/**
 * What any format asks of a new size.
 * @param name of the image, for messages.
 * @param before bytes of the disk as it is.
 * Errors: `ERR_INVALID_ARGUMENT`.
 */
export function checkSize(name: string, before: number, size: number, shrink: boolean): void {
  if (!Number.isSafeInteger(size) || size <= 0)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${name}: a disk of ${size} bytes cannot be; the new size must be positive and less than 2^53`,
      { path: name },
    )
  if (size < before && !shrink)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${name} has ${before} bytes; making it ${before - size} bytes smaller deletes all data beyond the new end. If there is nothing ` +
        'of importance there, say so with --shrink (option shrink)',
      { path: name, before, size },
    )
}
