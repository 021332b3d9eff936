import { DrydiskError, type ErrorContext } from '../../errors.ts'

/** `ERR_CORRUPT` for an image that contradicts itself. */
export function corrupt(name: string, what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `${name}: ${what}`, { path: name, ...context })
}

/** `ERR_UNSUPPORTED` for a valid image that asks for what drydisk does not do. */
export function unsupported(name: string, what: string, context: ErrorContext = {}): DrydiskError {
  return new DrydiskError('ERR_UNSUPPORTED', `${name}: ${what}`, { path: name, ...context })
}
