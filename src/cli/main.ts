#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8'
import { handleSignals } from './interruption.ts'
import { run } from './run.ts'

// The V8 of Node 20 compiles a function for speed after half as much work as the one of Node 18 (interrupt_budget in its
// flag-definitions.h: 66 KiB of bytecode at a time, before it 132). A command is over in a second, in which that costs more than
// the faster code saves: of `apply`, a quarter of all instructions. Later V8s count calls, and know no such setting.
if (process.versions.v8.startsWith('11.3.')) setFlagsFromString(`--interrupt-budget=${132 * 1024}`)

handleSignals()
process.exitCode = await run(process.argv.slice(2))
