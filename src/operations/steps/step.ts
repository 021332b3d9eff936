import { fileProblem } from '../../device/file-error.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import type { Operation, OperationReport } from '../operation.ts'
import type { HostAccess } from './host-access.ts'

/** One edit, ready to be made: all that could be wrong with its value was found. */
export type Planned = (guest: GuestFs) => Promise<OperationReport>

/**
 * An operation as text: an option of `customize`, a line of a file of commands, a step of a recipe. Starting the command line
 * loads every step, so a step's module imports its operations when it plans (`library()`), not before.
 */
export interface Step {
  /** Without dashes. */
  readonly name: string
  /** The form of the value, as in help; left out for a step without one. */
  readonly value?: string
  /** The value may be left out: on the command line it is then only taken from `--name=value`. */
  readonly optional?: true
  readonly help: string
  /**
   * Reads the value (the empty text where there is none) and fetches what it refers to on the host. `ERR_INVALID_ARGUMENT` says what is
   * wrong with it; the caller puts the step's name before the message.
   */
  plan(value: string, host: HostAccess): Planned | Promise<Planned>
}

/** An operation with arguments that were found good. */
export function planned<Arguments>(operation: Operation<Arguments>, args: Arguments): Planned {
  operation.check?.(args)
  return guest => operation.run(guest, args)
}

/** Every operation, loaded when the first step is planned. */
export const library = () => import('../../operations/index.ts')

/** What is wrong with a step's value. */
export function invalid(message: string): DrydiskError {
  return new DrydiskError('ERR_INVALID_ARGUMENT', message)
}

/** The two sides of the first colon. */
export function split(value: string, form: string): [string, string] {
  const colon = value.indexOf(':')
  if (colon < 1) throw invalid(`"${value}" is not of the form ${form}`)
  return [value.slice(0, colon), value.slice(colon + 1)]
}

/** A path on the host may hold a colon itself; what follows it in the guest begins with a slash. */
export function hostAndGuest(value: string, form: string): [string, string] {
  const colon = value.lastIndexOf(':/')
  return colon < 1 ? split(value, form) : [value.slice(0, colon), value.slice(colon + 1)]
}

/** A file of the host that is read later only: that it is not there is told before anything is opened. */
export async function checkThere(path: string, host: HostAccess): Promise<void> {
  try {
    await host.mode(path)
  } catch (error) {
    throw invalid(`the file ${path} cannot be read: ${fileProblem(error)}`)
  }
}
