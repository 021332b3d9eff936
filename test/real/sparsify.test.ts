import { copyFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run, runOk } from '../support/native.ts'
import { diskWithDeletedFiles, filesOf, noise } from '../support/sparsify-images.ts'
import {
  build,
  copySparse,
  differences,
  discard,
  haveScripts,
  kernelWalk,
  killedAt,
  main,
  out,
  scratch,
  scripts,
  toRaw,
  type WalkRow,
} from './real-images.ts'

const drydisk = (...args: string[]): Promise<string> => runOk(process.execPath, [main, ...args])

interface Result {
  readonly event: string
  readonly before: number
  readonly after: number
  readonly dropped: number
}

describe.runIf(haveScripts)('sparsify on a real guest', () => {
  let folder = ''
  let original = ''
  let before: Map<string, WalkRow>

  beforeAll(async () => {
    await build()
    folder = scratch()
    original = await copySparse(join(out, 'debian-ext4.qcow2'), join(folder, 'original.qcow2'))
    // 600 MB come and go; their blocks keep what was in them.
    const data = join(folder, 'data')
    for (let part = 0; part < 6; part++) {
      writeFileSync(data, noise(100_000_000, part))
      await drydisk('cp', data, `${original}:/srv/part${part}`)
    }
    rmSync(data)
    await drydisk('cp', join(scripts, 'README.md'), `${original}:/srv/stays`)
    await drydisk('rm', original, ...Array.from({ length: 6 }, (_, part) => `/srv/part${part}`))
    const raw = await toRaw(original, join(folder, 'original.raw'))
    before = await kernelWalk(raw)
    rmSync(raw)
  })
  afterAll(() => discard(folder))

  async function judge(image: string): Promise<void> {
    await runOk('qemu-img', ['check', image])
    const raw = await toRaw(image, join(folder, 'judged.raw'))
    expect(differences(before, await kernelWalk(raw))).toEqual([])
    rmSync(raw)
    const console = join(folder, 'console.txt')
    await runOk('bash', [join(scripts, 'boot.sh'), image, '--timeout', '600', '--log', console])
  }

  async function sparsify(...args: string[]): Promise<Result> {
    const events = (await drydisk('sparsify', '--json', ...args)).trimEnd().split('\n')
    return JSON.parse(events.at(-1) ?? '') as Result
  }

  it('in place', async () => {
    const image = await copySparse(original, join(folder, 'in-place.qcow2'))
    const started = performance.now()
    const { before: long, after, dropped } = await sparsify(image)
    const seconds = (performance.now() - started) / 1000
    process.stdout.write(`in place: ${long} → ${after} bytes, ${dropped} dropped, ${seconds.toFixed(1)} s\n`)
    expect(dropped).toBeGreaterThan(550_000_000)
    expect(long - after).toBeGreaterThan(dropped - (1 << 20))
    expect(statSync(image).size).toBe(after)
    await judge(image)
    const again = await sparsify(image)
    expect(again).toMatchObject({ dropped: 0, before: after, after })
    rmSync(image)
  })

  it('an image whose clusters are compressed, in place', async () => {
    const image = join(folder, 'compressed.qcow2')
    await runOk('qemu-img', ['convert', '-c', '-O', 'qcow2', original, image])
    const { before: long, after, dropped } = await sparsify(image)
    process.stdout.write(`compressed, in place: ${long} → ${after} bytes\n`)
    expect(dropped).toBeGreaterThan(550_000_000)
    expect(after).toBeLessThan(long)
    await judge(image)
    rmSync(image)
  })

  it('into a compressed copy', async () => {
    const image = join(folder, 'copy.qcow2')
    await drydisk('sparsify', '-c', original, image)
    expect(statSync(image).size).toBeLessThan(statSync(join(out, 'debian-ext4.qcow2')).size)
    await judge(image)
    rmSync(image)
  })

  it('killed at its writes: the files stay, at each of them', { timeout: 3_600_000 }, async () => {
    const own = scratch()
    const raw = await diskWithDeletedFiles()
    const files = await filesOf(raw, 'raw')
    const fresh = join(own, 'fresh.qcow2')
    const image = join(own, 'killed.qcow2')
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=16k', raw, fresh])
    copyFileSync(fresh, image)
    const { after } = await sparsify(image)
    let kills = 0
    let committed = 0
    for (let n = 1; ; n++) {
      copyFileSync(fresh, image)
      if (!(await killedAt(n, ['sparsify', image]))) break
      kills++
      // 3: leaked clusters and nothing else.
      const { status, stdout } = await run('qemu-img', ['check', image])
      expect([0, 3], `write ${n}: ${stdout}`).toContain(status)
      expect(await filesOf(image), `write ${n}`).toEqual(files)
      if ((await sparsify(image)).dropped === 0) committed++
      await runOk('qemu-img', ['check', image])
      expect(await filesOf(image), `write ${n}, and again`).toEqual(files)
      expect(statSync(image).size, `write ${n}, and again`).toBe(after)
      expect(readdirSync(own).sort()).toEqual(['fresh.qcow2', 'killed.qcow2'])
    }
    process.stdout.write(`killed at each of ${kills} writes, ${committed} times after the commit\n`)
    expect(kills).toBeGreaterThan(10)
    expect(committed).toBeGreaterThan(0)
    discard(own)
  })
})
