import type { GuestFs } from '../guest/guest-fs.ts'
import { type OperationName, operations } from '../operations/index.ts'
import type { Operation, OperationReport } from '../operations/operation.ts'

/** `root-password` → `rootPassword`. */
type CamelCase<Name extends string> = Name extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name

type ArgumentsOf<Name extends OperationName> =
  (typeof operations)[Name] extends Operation<infer Arguments> ? Arguments : never

/** Every operation as a function of the guest and its arguments. */
export type Operate = {
  readonly [Name in OperationName as CamelCase<Name>]: (
    guest: GuestFs,
    args: ArgumentsOf<Name>,
  ) => Promise<OperationReport>
}

/**
 * What a person wants done to a guest, as functions: `await operate.sshd(guest.fs, { settings: … })`. Their names are those of
 * the command line without dashes. Each changes nothing outside the guest and tells what was before and what is now; a second run
 * reports no changes.
 */
export const operate: Operate = functionsOf(operations)

function functionsOf(all: typeof operations): Operate {
  const functions = Object.entries(all).map(([name, operation]) => [
    name.replace(/-([a-z])/g, (_dash, letter: string) => letter.toUpperCase()),
    // The table's type says which arguments belong to which name.
    (guest: GuestFs, args: never) => (operation as Operation<never>).run(guest, args),
  ])
  return Object.fromEntries(functions) as Operate
}
