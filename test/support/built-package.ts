import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { run, runOk, temporaryFolder } from './native.ts'

const PARTS = [
  'src',
  'recipes',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'rolldown.config.mjs',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
]

let building: Promise<string> | undefined

/** A folder with the package as `npm run build` makes it of the sources as they are: made once for a test file. */
export function builtPackage(): Promise<string> {
  building ??= build()
  return building
}

async function build(): Promise<string> {
  const folder = join(temporaryFolder(), 'drydisk')
  mkdirSync(folder)
  for (const name of PARTS) cpSync(name, join(folder, name), { recursive: true })
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  // Emits whatever the types say; whether they are right is the linter's to tell.
  await run(process.execPath, [
    resolve('node_modules/typescript/bin/tsc'),
    '-p',
    join(folder, 'tsconfig.build.json'),
  ])
  await runOk('npm', ['--prefix', folder, 'run', '--silent', 'build:cli'])
  return folder
}
