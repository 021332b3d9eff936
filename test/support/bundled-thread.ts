import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/** Node 20 runs no TypeScript in a worker: a thread of src/copy is bundled for the test. */
export async function bundledThread(name: 'node-worker' | 'node-write-thread'): Promise<URL> {
  const { build } = await import('rolldown')
  const file = join(mkdtempSync(join(tmpdir(), 'drydisk-worker-')), 'worker.mjs')
  process.on('exit', () => rmSync(dirname(file), { recursive: true, force: true }))
  await build({
    input: `src/copy/${name}.ts`,
    platform: 'node',
    external: /^[^./]/,
    logLevel: 'silent',
    output: { file, format: 'esm', codeSplitting: false },
  })
  symlinkSync(resolve('node_modules'), join(dirname(file), 'node_modules'))
  return pathToFileURL(file)
}
