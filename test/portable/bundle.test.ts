import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type OutputChunk, rolldown } from 'rolldown'
import { build } from 'vite'
import { beforeAll, describe, expect, it } from 'vitest'
import { installedPackage } from '../support/installed-package.ts'
import { temporaryFolder } from '../support/native.ts'

/** What Node has and browsers lack; that `process.getBuiltinModule` is asked for as a property of `globalThis` is no use of a global. */
const GLOBALS = {
  Buffer: ['node:buffer', 'Buffer'],
  process: 'node:process',
  setImmediate: ['node:timers', 'setImmediate'],
  clearImmediate: ['node:timers', 'clearImmediate'],
  require: 'node:module',
  global: 'node:vm',
  __dirname: 'node:path',
  __filename: 'node:url',
} satisfies Record<string, string | [string, string]>

/** What bundlers say of modules that several others import, and of their own speed. */
const NOISE = ['INEFFECTIVE_DYNAMIC_IMPORT', 'PLUGIN_TIMINGS']

interface Bundle {
  readonly chunks: readonly OutputChunk[]
  /** What it wants of Node, with the module that wants it. */
  readonly wanted: readonly string[]
  readonly warnings: readonly string[]
}

/** Node's globals are made imports by the bundler, which knows scopes; so both kinds of use are found by one look at imports. */
async function bundle(input: string): Promise<Bundle> {
  const wanted = new Set<string>()
  const warnings: string[] = []
  await using made = await rolldown({
    input,
    platform: 'browser',
    transform: { inject: GLOBALS },
    onLog: (_level, { code, message }) => {
      if (!NOISE.includes(code ?? '')) warnings.push(message)
    },
    plugins: [
      {
        name: 'find what is of Node',
        resolveId(id, importer) {
          if (!isBuiltin(id)) return null
          wanted.add(`${id} in ${importer ?? '?'}`)
          return { id, external: true }
        },
      },
    ],
  })
  const { output } = await made.generate({ format: 'esm', minify: true })
  return { chunks: output.filter(one => one.type === 'chunk'), wanted: [...wanted], warnings }
}

/** The chunk of the entry, and those that it imports before it runs. */
function loadedAtFirst(chunks: readonly OutputChunk[]): readonly OutputChunk[] {
  const byName = new Map(chunks.map(chunk => [chunk.fileName, chunk]))
  const found = new Set<OutputChunk>()
  const add = (chunk: OutputChunk | undefined): void => {
    if (chunk === undefined || found.has(chunk)) return
    found.add(chunk)
    for (const name of chunk.imports) add(byName.get(name))
  }
  add(chunks.find(chunk => chunk.isEntry))
  return [...found]
}

function documents(): string {
  return readFileSync('docs/browser.md', 'utf8')
}

function kilobytes(chunks: readonly OutputChunk[], packed: boolean): number {
  const bytes = chunks.map(({ code }) => (packed ? gzipSync(code).length : code.length))
  return Math.round(bytes.reduce((sum, one) => sum + one, 0) / 1000)
}

it('the portable part has a bundle without Node, of the size that the documents tell', async () => {
  const { chunks, wanted, warnings } = await bundle(resolve('src/portable.ts'))
  expect(wanted).toEqual([])
  expect(warnings).toEqual([])
  const size = { all: kilobytes(chunks, false), packed: kilobytes(chunks, true) }
  const [, all, packed] =
    /the whole of `drydisk\/portable` is\s+less than (\d+) kB, (\d+) kB with gzip/.exec(documents()) ?? []
  process.stderr.write(`drydisk/portable, minified: ${size.all} kB, ${size.packed} kB with gzip\n`)
  expect(size.all).toBeLessThan(Number(all))
  expect(size.packed).toBeLessThan(Number(packed))
})

it('what a page does not use is not in its bundle', async () => {
  const folder = temporaryFolder()
  const entry = join(folder, 'reader.js')
  writeFileSync(entry, `export { BlobStorage, openImage } from ${JSON.stringify(resolve('src/portable.ts'))}`)
  const first = loadedAtFirst((await bundle(entry)).chunks)
  const size = { first: kilobytes(first, false), packed: kilobytes(first, true) }
  const [, packed] = /loads less than (\d+) kB with gzip at first/.exec(documents()) ?? []
  process.stderr.write(`a page that reads images: ${size.first} kB at first, ${size.packed} kB with gzip\n`)
  expect(size.packed).toBeLessThan(Number(packed))
})

it('finds what is of Node in the whole of drydisk, which has all that the portable part has', async () => {
  const { chunks, wanted } = await bundle(resolve('src/index.ts'))
  const portable = await bundle(resolve('src/portable.ts'))
  const names = (of: readonly OutputChunk[]) => of.find(chunk => chunk.isEntry)?.exports ?? []
  expect(names(chunks)).toEqual(expect.arrayContaining(names(portable.chunks)))
  expect(wanted.some(one => one.startsWith('node:fs/promises in '))).toBe(true)
  expect(wanted.some(one => one.startsWith('node:buffer in '))).toBe(true)
})

describe('the package as others install it', () => {
  let user: string
  beforeAll(async () => {
    user = await installedPackage()
  })

  it('is built into the page by Vite, which has to stand in for nothing', async () => {
    const root = join(user, 'page')
    cpSync('examples/browser', root, { recursive: true })
    // What makes of drydisk/portable the sources beside it.
    rmSync(join(root, 'tsconfig.json'))
    const warnings: string[] = []
    const built = await build({
      root,
      configFile: false,
      logLevel: 'silent',
      build: {
        // As in the page's own settings.
        chunkSizeWarningLimit: 700,
        rolldownOptions: {
          onLog: (_level, { code, message }) => {
            if (!NOISE.includes(code ?? '')) warnings.push(message)
          },
        },
      },
    })
    expect(warnings).toEqual([])
    const files = [built].flat().flatMap(one => ('output' in one ? one.output : []))
    const names = files.map(({ fileName }) => fileName)
    expect(names).toContain('index.html')
    // WebAssembly of zstd is a file of its own.
    expect(names.some(name => /zstd.*\.wasm$/.test(name))).toBe(true)
    // What Vite puts in the place of a module of Node.
    for (const file of files)
      if (file.type === 'chunk')
        expect(file.code, file.fileName).not.toMatch(/browser-external|externalized for browser/)
  })
})
