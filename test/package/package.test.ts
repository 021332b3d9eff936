import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'
import { beforeAll, describe, expect, test } from 'vitest'
import { builtPackage } from '../support/built-package.ts'
import { haveTool, run, runOk, temporaryFolder } from '../support/native.ts'

const manifest: {
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>
} = JSON.parse(readFileSync('package.json', 'utf8'))

/** A folder that holds the package as npm would install it, and of other packages only those that it depends on. */
const folder = temporaryFolder()
const installed = join(folder, 'node_modules/drydisk')
let files: readonly string[] = []
let packedBytes = 0

beforeAll(async () => {
  // A package.json in a folder above would be asked for the name first.
  writeFileSync(join(folder, 'package.json'), '{}')
  const source = await builtPackage()
  const packed = await runOk('npm', [
    'pack',
    source,
    '--ignore-scripts',
    '--json',
    '--silent',
    '--pack-destination',
    folder,
  ])
  const [pack] = Object.values(
    JSON.parse(packed) as Record<string, { filename: string; size: number; files: { path: string }[] }>,
  )
  files = pack?.files.map(({ path }) => path) ?? []
  packedBytes = pack?.size ?? 0
  mkdirSync(installed, { recursive: true })
  await runOk('tar', ['xzf', join(folder, pack?.filename ?? ''), '-C', installed, '--strip-components=1'])
  for (const name of dependencies()) {
    const place = join(folder, 'node_modules', name)
    mkdirSync(join(place, '..'), { recursive: true })
    symlinkSync(resolve('node_modules', name), place)
  }
}, 300_000)

/** Those of package.json, and what they depend on in turn. */
function dependencies(): Set<string> {
  const found = new Set<string>()
  const add = (names: Readonly<Record<string, string>> = {}) => {
    for (const name of Object.keys(names)) {
      if (found.has(name)) continue
      found.add(name)
      add(JSON.parse(readFileSync(join('node_modules', name, 'package.json'), 'utf8')).dependencies)
    }
  }
  add(manifest.dependencies)
  // Of ZenFS, the importer brings its own.
  add(manifest.peerDependencies)
  return found
}

test('holds what it needs, and nothing of its tests', () => {
  expect(files).toEqual(
    expect.arrayContaining([
      'README.md',
      'LICENSE',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/bin/main.js',
      'recipes/openstack-ubuntu.yaml',
    ]),
  )
  expect(
    files.filter(path => !/^(dist|recipes)\/|^(README|CHANGELOG)\.md$|^LICENSE$|^package\.json$/.test(path)),
  ).toEqual([])
  // README tells of the size.
  expect(packedBytes).toBeLessThan(2_500_000)
})

test('the command line runs', async () => {
  const main = join(installed, 'dist/bin/main.js')
  // What V8 does not know of the settings that it is given, it tells on standard error.
  expect(await run(process.execPath, [main, '--version'])).toMatchObject({
    status: 0,
    stdout: `${manifest.version}\n`,
    stderr: '',
  })
  const image = join(folder, 'demo.qcow2')
  await runOk(process.execPath, [main, 'make-fs', '--demo', '--size', '64M', '--quiet', image])
  await runOk(process.execPath, [main, 'customize', '--quiet', image, '--hostname', 'packed.example'])
  expect(await runOk(process.execPath, [main, 'cat', image, '/etc/hostname'])).toBe('packed.example\n')
  // zlib in worker threads, which are files of the package of their own.
  const small = join(folder, 'small.qcow2')
  await runOk(process.execPath, [main, 'sparsify', '-q', '-c', image, small])
  if (haveTool('qemu-img')) await runOk('qemu-img', ['check', '-q', small])
})

describe('every entry', () => {
  const entries = Object.entries(manifest.exports).filter(([, target]) => typeof target !== 'string')
  test.each(entries)('%s is there, and can be imported', async (entry, target) => {
    if (typeof target === 'string') throw new Error('filtered')
    expect(existsSync(join(installed, target.types))).toBe(true)
    const name = join('drydisk', entry)
    const script = join(folder, 'import.mjs')
    writeFileSync(script, `console.log(Object.keys(await import(${JSON.stringify(name)})).length > 0)\n`)
    expect(await runOk(process.execPath, [script])).toBe('true\n')
  })
})

test.each([
  ['isDrydiskError', 'drydisk'],
  ['getIniValue', 'drydisk/config'],
])('one small function does not bring in the rest: %s of %s', async (name, module) => {
  const entry = join(folder, 'entry.mjs')
  writeFileSync(entry, `import { ${name} } from '${module}'\nconsole.log(${name})\n`)
  const bundle = await rolldown({ input: entry, platform: 'node', logLevel: 'silent' })
  const { output } = await bundle.generate({ format: 'esm', minify: true })
  expect(output.reduce((sum, part) => sum + ('code' in part ? part.code.length : 0), 0)).toBeLessThan(1000)
})
