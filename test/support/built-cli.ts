import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { copyFileSync, existsSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { run, temporaryFolder } from './native.ts'

let building: Promise<string> | undefined

/** The command line as JavaScript, for processes of its own: made once for a test file. */
export function builtCli(): Promise<string> {
  building ??= build(temporaryFolder())
  return building
}

async function build(folder: string): Promise<string> {
  // Emits whatever the types say; whether they are right is the linter's to tell.
  await run(process.execPath, [
    resolve('node_modules/typescript/bin/tsc'),
    '-p',
    'tsconfig.build.json',
    '--declaration',
    'false',
    '--outDir',
    join(folder, 'dist'),
  ])
  copyFileSync('package.json', join(folder, 'package.json'))
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  const main = join(folder, 'dist/cli/main.js')
  if (!existsSync(main)) throw new Error('the command line does not compile')
  return main
}

export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A process and how it ends; what it prints is kept unless `options` send it elsewhere. */
export function start(
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout?.on('data', (bytes: Buffer) => out.push(bytes))
  child.stderr?.on('data', (bytes: Buffer) => err.push(bytes))
  const ended = new Promise<Ended>((settle, reject) => {
    child.on('error', reject)
    child.on('close', (status, signal) =>
      settle({
        status,
        signal,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      }),
    )
  })
  return { child, ended }
}
