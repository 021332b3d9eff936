import { mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'
import { describe, expect, test } from 'vitest'
import { oracle, run, temporaryFolder } from '../support/native.ts'
import { LEFT_OUT } from './left-out.ts'

const tests = resolve('node_modules/@zenfs/core/tests')

interface Told {
  readonly passed: boolean
  readonly name: string
  readonly nesting: number
  readonly file?: string
  readonly skip?: string | boolean
  readonly suite: boolean
  readonly failure?: string
  readonly error?: string
}

/** `zenfs-test` needs Node 22 and loads TypeScript as it is: its tests and our setup as JavaScript for any Node. */
async function built(): Promise<string> {
  const folder = temporaryFolder()
  const names = readdirSync(join(tests, 'fs')).filter(name => name.endsWith('.test.ts'))
  const bundle = await rolldown({
    input: {
      ...Object.fromEntries(names.map(name => [`fs/${name.slice(0, -3)}`, join(tests, 'fs', name)])),
      'suite-setup': resolve('test/zenfs/suite-setup.ts'),
    },
    external: id => /^(node:|@zenfs\/|kerium|utilium|buffer$)/.test(id),
    platform: 'node',
    transform: { target: 'es2022' },
    plugins: [
      {
        name: 'promises-in-setup',
        // What this file prepares before its tests is all that it needs synchronous calls for.
        transform: (code, id) =>
          id.endsWith('/dir.test.ts')
            ? code.replace(/^(\t?)fs\.(\w+)Sync\(/gm, '$1await fs.promises.$2(')
            : null,
      },
    ],
    logLevel: 'silent',
  })
  await bundle.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].mjs',
    chunkFileNames: '[name].mjs',
  })
  await bundle.close()
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  for (const beside of ['.', 'fs']) symlinkSync(join(tests, 'data'), join(folder, beside, 'data'))
  return folder
}

describe("ZenFS's own tests", () => {
  test.each(['ext4', 'xfs'] as const)(
    'pass over %s, but for those that are named with their reason',
    async type => {
      const folder = await built()
      const out = join(folder, 'out')
      mkdirSync(out)
      const files = readdirSync(join(folder, 'fs')).filter(name => name.endsWith('.test.mjs'))
      const { stdout } = await run('env', [
        `DRYDISK_SUITE_TYPE=${type}`,
        `DRYDISK_SUITE_OUT=${out}`,
        `DRYDISK_SUITE_DATA=${join(tests, 'data')}`,
        `SETUP=${join(folder, 'suite-setup.mjs')}`,
        'NODE_OPTIONS=',
        process.execPath,
        '--test',
        '--test-concurrency=2',
        `--test-reporter=${resolve('test/zenfs/json-reporter.mjs')}`,
        ...files.map(name => join(folder, 'fs', name)),
      ])
      const told = stdout
        .split('\n')
        .filter(line => line.startsWith('{'))
        .map(line => JSON.parse(line) as Told)
      const failed = told.filter(
        ({ passed, failure, suite }) => !passed && failure !== 'subtestsFailed' && !suite,
      )
      const passed = told
        .filter(one => one.passed && one.skip === undefined && !one.suite)
        .map(({ name }) => name)
      const unexpected = failed
        .filter(({ name }) => !LEFT_OUT.has(name))
        .map(({ name, error }) => `${name}: ${error}`)
      expect(unexpected).toEqual([])
      expect(new Set(failed.map(({ name }) => name))).toEqual(new Set(LEFT_OUT.keys()))
      expect(passed.length).toBeGreaterThan(100)
      expect(readdirSync(out).length).toBe(files.length)
      for (const name of readdirSync(out)) await oracle(join(out, name), type)
    },
  )
})
