import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
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

/**
 * `zenfs-test` needs Node 22, loads TypeScript as it is and starts a process for each file: its tests and our setup as JavaScript for any
 * Node, and one module that has each file run on a filesystem of its own.
 * @returns the folder, and the names of the files.
 */
async function built(): Promise<{ folder: string; names: readonly string[] }> {
  const folder = temporaryFolder()
  const names = readdirSync(join(tests, 'fs')).filter(name => name.endsWith('.test.ts'))
  const setup = resolve('test/zenfs/suite-setup.ts')
  for (const input of [setup, ...names.map(name => join(tests, 'fs', name))]) {
    const name = basename(input, '.ts')
    const bundle = await rolldown({
      input,
      external: id => /^(node:|@zenfs\/|kerium|utilium|buffer$)/.test(id),
      platform: 'node',
      transform: { target: 'es2022' },
      plugins: [
        {
          name: 'tests-of-zenfs',
          transform(code, id) {
            // What this file prepares before its tests is all that it needs synchronous calls for.
            if (id.endsWith('/dir.test.ts'))
              return code.replace(/^(\t?)fs\.(\w+)Sync\(/gm, '$1await fs.promises.$2(')
            // A module that is asked for by another name is another module, with a filesystem of its own.
            if (id.endsWith('/common.ts'))
              return code.replace('import(setupPath)', `import(setupPath + '?${name}')`)
            return null
          },
        },
      ],
      logLevel: 'silent',
    })
    await bundle.write({ file: join(folder, `${name}.mjs`), format: 'esm', codeSplitting: false })
    await bundle.close()
  }
  writeFileSync(
    join(folder, 'all.mjs'),
    names.map(name => `await import('./${basename(name, '.ts')}.mjs')\n`).join(''),
  )
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  symlinkSync(join(tests, 'data'), join(folder, 'data'))
  return { folder, names }
}

const building = built()

describe("ZenFS's own tests", () => {
  test.each(['ext4', 'xfs'] as const)(
    'pass over %s, but for those that are named with their reason',
    async type => {
      const { folder, names } = await building
      const out = join(folder, type)
      mkdirSync(out)
      const { stdout } = await run('env', [
        `DRYDISK_SUITE_TYPE=${type}`,
        `DRYDISK_SUITE_OUT=${out}`,
        `DRYDISK_SUITE_DATA=${join(tests, 'data')}`,
        `SETUP=${join(folder, 'suite-setup.mjs')}`,
        'NODE_OPTIONS=',
        process.execPath,
        '--test',
        `--test-reporter=${resolve('test/zenfs/json-reporter.mjs')}`,
        join(folder, 'all.mjs'),
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
      const skipped = told.flatMap(({ skip }) => (skip === undefined ? [] : [skip]))
      expect(new Set(skipped)).toEqual(new Set(['sync is not supported', 'lchmod is not supported']))
      expect(new Set(failed.map(({ name }) => name))).toEqual(new Set(LEFT_OUT.keys()))
      expect(passed.length).toBeGreaterThan(100)
      expect(readdirSync(out).length).toBe(names.length)
      for (const name of readdirSync(out)) await oracle(join(out, name), type)
    },
  )
})
