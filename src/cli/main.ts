#!/usr/bin/env node
import { handleSignals } from './interruption.ts'
import { run } from './run.ts'

handleSignals()
process.exitCode = await run(process.argv.slice(2))
