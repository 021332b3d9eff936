import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openImage } from '../../src/image/open.ts'
import { run, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20
const SIZE = 8 * MIB + 777

/** Writes every byte anew, so that any mixture shows, in a different order than the commit's. */
const WRITER = `
import { openImage } from './image/open.js'
const image = await openImage(process.argv[2], { writable: true })
const fill = Number(process.argv[3])
process.stdout.write('staging\\n')
for (let at = image.size; at > 0; ) {
  const from = Math.max(0, at - 700_001)
  await image.write(from, new Uint8Array(at - from).fill(fill))
  at = from
}
process.stdout.write('committing\\n')
await image.commit()
process.stdout.write('committed\\n')
await image.close()
`

/** The library as JavaScript, for a process of its own that can be killed. */
async function built(): Promise<string> {
  const folder = temporaryFolder()
  // Emits whatever the types say; whether they are right is the linter's to tell.
  await run(resolve('node_modules/.bin/tsc'), [
    '-p',
    'tsconfig.build.json',
    '--declaration',
    'false',
    '--outDir',
    folder,
  ])
  expect(existsSync(join(folder, 'image/open.js'))).toBe(true)
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'writer.js'), WRITER)
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  return join(folder, 'writer.js')
}

function isAll(bytes: Uint8Array, value: number): boolean {
  return Buffer.compare(bytes, Buffer.alloc(bytes.length, value)) === 0
}

async function uniformContent(path: string, writable: boolean): Promise<number> {
  const image = await openImage(path, { writable })
  const bytes = new Uint8Array(image.size)
  await image.read(0, bytes)
  await image.close()
  const first = bytes[0] ?? -1
  expect(isAll(bytes, first), 'one content and no mixture').toBe(true)
  return first
}

test('a process killed at any moment leaves the old content or the new', { timeout: 120_000 }, async () => {
  const writer = await built()
  const folder = temporaryFolder()
  const path = join(folder, 'disk.raw')
  writeFileSync(path, new Uint8Array(SIZE).fill(1))
  let content = 1
  const seen = { old: 0, new: 0, pending: 0, dropped: 0 }
  const rounds = Number(process.env.DRYDISK_KILLS ?? 8)
  let commitTakes = 200
  for (let round = 0; round < rounds; round++) {
    const next = 2 + (round % 200)
    const child = spawn(process.execPath, [writer, path, String(next)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const gone = new Promise(done => child.on('exit', done))
    let printed = ''
    let committing = 0
    child.stdout.on('data', chunk => {
      printed += chunk
      if (committing === 0 && printed.includes('committing')) committing = Date.now()
      if (printed.includes('committed') && committing > 0) commitTakes = Math.max(20, Date.now() - committing)
    })
    const waitFor = async (word: string) => {
      while (!printed.includes(word) && child.exitCode === null) await sleep(1)
    }
    // The first round runs to its end and tells how long a commit takes; two die while staging, the last one once it says that it
    // has committed, the others while committing: so both outcomes are there, however long a commit takes the next time.
    if (round === 0) await gone
    else if (round <= 2) await waitFor('staging').then(() => sleep(15 * (round - 1)))
    else if (round === rounds - 1) await waitFor('committed')
    else await waitFor('committing').then(() => sleep((commitTakes * 1.1 * (round - 3)) / (rounds - 3)))
    child.kill('SIGKILL')
    await gone

    const files = readdirSync(folder)
    if (files.includes('disk.raw.drydisk-redo')) {
      if (isAll(readFileSync(path), content)) seen.dropped++
      else seen.pending++
    }
    const read = await uniformContent(path, false)
    expect([content, next]).toContain(read)
    if (printed.includes('committed')) expect(read).toBe(next)
    expect(await uniformContent(path, true)).toBe(read)
    expect(readdirSync(folder)).toEqual(['disk.raw'])
    expect(isAll(readFileSync(path), read)).toBe(true)
    if (read === content) seen.old++
    else seen.new++
    content = read
  }
  expect(seen.old).toBeGreaterThan(1)
  expect(seen.new).toBeGreaterThan(1)
  process.stderr.write(`kills: ${JSON.stringify(seen)}, a commit took ${commitTakes} ms\n`)
})
