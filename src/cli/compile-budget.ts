import { setFlagsFromString } from 'node:v8'

/** For a command that is over in a second: what Node 18's V8 had. */
export const FEW_COMPILATIONS = 132 << 10
/** For one that moves bytes: next to nothing of its own code runs often. */
export const FEWEST_COMPILATIONS = 1 << 20

/**
 * Bytes of bytecode that a function runs before V8 compiles it for speed. The V8 of Node 20 does so after half as much as the one of
 * Node 18 (interrupt_budget in its flag-definitions.h: 66 KiB at a time, before it 132), which costs a short process more than the
 * faster code saves: of `apply`, a quarter of all instructions. Later V8s count calls, and know no such setting.
 */
export function setCompileBudget(bytes: number): void {
  if (process.versions.v8.startsWith('11.3.')) setFlagsFromString(`--interrupt-budget=${bytes}`)
}
