#!/usr/bin/env node
import { FEW_COMPILATIONS, setCompileBudget } from './compile-budget.ts'
import { handleSignals } from './interruption.ts'
import { run } from './run.ts'

setCompileBudget(FEW_COMPILATIONS)
handleSignals()
process.exitCode = await run(process.argv.slice(2))
