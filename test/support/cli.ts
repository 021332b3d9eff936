import { vi } from 'vitest'
import { run } from '../../src/cli/run.ts'
import type { RunResult } from './native.ts'

/** Runs a command line in this process; what it prints is kept. */
export async function cli(...args: string[]): Promise<RunResult> {
  const out: Buffer[] = []
  let stderr = ''
  type Done = (error?: Error | null) => void
  const done = (encoding: unknown, callback: unknown) => {
    const finish = (typeof encoding === 'function' ? encoding : callback) as Done | undefined
    finish?.()
    return true
  }
  const stdoutSpy = vi.spyOn(process.stdout, 'write').mockImplementation(((
    data: string | Uint8Array,
    encoding?: unknown,
    callback?: unknown,
  ) => {
    // The caller may use its buffer again.
    out.push(Buffer.from(data as Uint8Array))
    return done(encoding, callback)
  }) as typeof process.stdout.write)
  const stderrSpy = vi.spyOn(process.stderr, 'write').mockImplementation(((
    data: string | Uint8Array,
    encoding?: unknown,
    callback?: unknown,
  ) => {
    stderr += Buffer.from(data as Uint8Array).toString()
    return done(encoding, callback)
  }) as typeof process.stderr.write)
  try {
    const status = await run(args)
    return { status, stdout: Buffer.concat(out).toString(), stderr }
  } finally {
    stdoutSpy.mockRestore()
    stderrSpy.mockRestore()
  }
}

/** As `cli`; a status other than 0 is an error that shows what was printed. */
export async function cliOk(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await cli(...args)
  if (status !== 0) throw new Error(`drydisk ${args.join(' ')}: exit ${status}\n${stdout}${stderr}`)
  return stdout
}
