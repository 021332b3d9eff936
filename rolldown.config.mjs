import { readFileSync } from 'node:fs'

/** Packages that are joined in: nearly every command needs the first, and the second is 75 small files. */
const JOINED = ['commander', 'yaml']

const licences = {
  name: 'licences',
  /** Both licences want their text in every copy. @this {import('rolldown').PluginContext} */
  generateBundle() {
    const source = JOINED.map(
      name => `${name}\n\n${readFileSync(new URL(`node_modules/${name}/LICENSE`, import.meta.url), 'utf8')}`,
    ).join('\n\n')
    this.emitFile({ type: 'asset', fileName: 'third-party-licences.txt', source })
  },
}

/** Joins what tsc made of the command line into few files: docs/architecture.md, "Dependencies". */
export default {
  input: ['dist/cli/main.js', 'dist/copy/node-worker.js'],
  platform: 'node',
  external: [/^cli-progress$/, /^diff$/, /^pako$/, /^@bokuweb\//, /^@noble\//],
  plugins: [licences],
  logLevel: 'silent',
  output: {
    dir: 'dist/bin',
    format: 'esm',
    minify: true,
    advancedChunks: {
      groups: [
        // All that `drydisk --version` needs, and nothing else.
        {
          name: 'start',
          test: /cli\/(run|commands|output|interruption|fetched)\.js$|library\/version\.js$|commander/,
          priority: 2,
        },
        // What many commands share: a file of its own for each set of commands would make a hundred.
        { name: 'core', minShareCount: 6, priority: 1 },
      ],
    },
  },
}
