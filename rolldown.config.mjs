import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Packages that are joined in: nearly every command needs the first, and the second is 75 small files. */
const JOINED = ['commander', 'yaml']

const pathOf = file => fileURLToPath(new URL(`node_modules/${file}`, import.meta.url))

const licences = {
  name: 'licences',
  /** Both licences want their text in every copy. @this {import('rolldown').PluginContext} */
  generateBundle() {
    const source = JOINED.map(name => `${name}\n\n${readFileSync(pathOf(`${name}/LICENSE`), 'utf8')}`).join(
      '\n\n',
    )
    this.emitFile({ type: 'asset', fileName: 'third-party-licences.txt', source })
  },
}

/** Joins what tsc made of the command line into few files: docs/architecture.md, "Dependencies". */
export default {
  input: ['dist/cli/main.js', 'dist/copy/node-worker.js', 'dist/copy/node-write-thread.js'],
  platform: 'node',
  // Node.js is given yaml as CommonJS. Its ES modules are of the same source, and half the work to load when they are joined.
  resolve: { alias: { yaml: pathOf('yaml/browser/index.js') } },
  external: [/^cli-progress$/, /^diff$/, /^pako$/, /^@bokuweb\//, /^@noble\//],
  plugins: [licences],
  logLevel: 'silent',
  output: {
    dir: 'dist/bin',
    format: 'esm',
    minify: true,
    codeSplitting: {
      groups: [
        // All that `drydisk --version` needs, and nothing else.
        {
          name: 'start',
          test: /cli\/(run|commands|output|interruption|fetched|compile-budget)\.js$|library\/version\.js$|commander/,
          priority: 2,
        },
        // What many commands share: a file of its own for each set of commands would make a hundred.
        { name: 'core', minShareCount: 6, priority: 1 },
      ],
    },
  },
}
