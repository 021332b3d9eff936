import { DrydiskError } from '../errors.ts'

/** Throws `ERR_INVALID_ARGUMENT` unless the range lies inside a device of `size` bytes. */
export function checkRange(size: number, offset: number, length: number): void {
  if (!(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `a range of ${length} bytes at ${offset}: both must be whole numbers from 0`,
      { offset, length },
    )
  if (length > size - offset)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${length} bytes at offset ${offset} reach past the end of a device of ${size} bytes`,
      { offset, length, size },
    )
}

/** Throws `EROFS` unless `writable`. */
export function checkWritable(writable: boolean, name = 'the device'): void {
  if (!writable) throw new DrydiskError('EROFS', `${name} is open for reading only`, { name })
}
