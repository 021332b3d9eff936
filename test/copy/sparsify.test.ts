import { copyFileSync, mkdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { compactImage } from '../../src/copy/compact.ts'
import { freeRanges } from '../../src/copy/free-ranges.ts'
import { sparsifyInPlace } from '../../src/copy/sparsify-in-place.ts'
import { openImage } from '../../src/image/open.ts'
import { checkWrittenImages, haveTool, run, runOk, temporaryFolder, writes } from '../support/native.ts'
import { diskWithDeletedFiles, filesOf, noise } from '../support/sparsify-images.ts'

checkWrittenImages()

const tools = ['qemu-img', 'qemu-io', 'mke2fs', 'debugfs', 'sgdisk'].every(haveTool)

describe.skipIf(!tools)('sparsifying in place', () => {
  let raw = ''
  let files: Map<string, string>
  beforeAll(async () => {
    raw = await diskWithDeletedFiles()
    files = await filesOf(raw, 'raw')
    expect(files.size).toBe(60)
  })

  async function image(options: string, ...flags: string[]): Promise<string> {
    const path = join(temporaryFolder(), 'disk.qcow2')
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-o', options, ...flags, raw, path])
    return writes(path, 'qcow2')
  }

  /** Bytes of clusters that the disk has, by qemu's word. */
  async function allocated(path: string): Promise<number> {
    const map = JSON.parse(await runOk('qemu-img', ['map', '--output=json', path])) as {
      data: boolean
      length: number
    }[]
    return map.reduce((sum, { data, length }) => sum + (data ? length : 0), 0)
  }

  async function clusters(path: string): Promise<{ 'allocated-clusters': number; 'cluster-size': number }> {
    const checked = JSON.parse(await runOk('qemu-img', ['check', '--output=json', path]))
    return { ...JSON.parse(await runOk('qemu-img', ['info', '--output=json', path])), ...checked }
  }

  for (const [options, ...flags] of [
    ['cluster_size=64k'],
    ['cluster_size=4k,refcount_bits=1'],
    ['cluster_size=512'],
    ['cluster_size=2M'],
    ['compat=0.10'],
    ['extended_l2=on,cluster_size=128k'],
    ['cluster_size=64k', '-c'],
    ['cluster_size=16k,compression_type=zstd', '-c'],
    ['lazy_refcounts=on,refcount_bits=64'],
  ] as [string, ...string[]][])
    it(`${[options, ...flags].join(' ')}: the files stay, and the file is as long as what it holds`, async () => {
      const path = await image(options, ...flags)
      const before = await allocated(path)
      const result = await sparsifyInPlace(path)
      expect(result.before).toBeGreaterThan(result.after)
      expect(result.after).toBe(statSync(path).size)
      expect(result.dropped).toBeGreaterThan(10 << 20)
      expect(await allocated(path)).toBe(before - result.dropped)
      expect(await filesOf(path)).toEqual(files)
      // Nothing but tables is there besides.
      const { 'allocated-clusters': data, 'cluster-size': unit } = await clusters(path)
      if (flags.length === 0) expect(result.after / unit).toBeLessThan(data * 1.04 + 8)
      const again = await sparsifyInPlace(path)
      expect(again).toMatchObject({ dropped: 0 })
      expect(again.after).toBeLessThanOrEqual(result.after)
    })

  it('snapshots keep their content, and the user is told that they keep it', async () => {
    const path = await image('cluster_size=64k')
    await runOk('qemu-img', ['snapshot', '-c', 'one', path])
    const { warnings, before, after, dropped } = await sparsifyInPlace(path)
    expect(dropped).toBeGreaterThan(10 << 20)
    expect(warnings.join()).toMatch(/snapshots keep what they hold: "one"/i)
    // An L2 table is the active disk's own now.
    expect(after).toBeLessThanOrEqual(before + (128 << 10))
    expect(await filesOf(path)).toEqual(files)
    expect(await filesOf(path, 'qcow2', 'one')).toEqual(files)
    await runOk('qemu-img', ['snapshot', '-d', 'one', path])
    const compact = await compactImage(path)
    expect(compact.after).toBeLessThan(before - dropped + (300 << 10))
    expect(await filesOf(path)).toEqual(files)
  })

  it('bitmaps are marked as not up to date, and move with the rest', async () => {
    const path = await image('cluster_size=64k')
    await runOk('qemu-img', ['bitmap', '--add', path, 'b0'])
    const { warnings, before, after, dropped } = await sparsifyInPlace(path)
    expect(warnings.join()).toMatch(/bitmaps no longer say.*"b0"/i)
    expect(before - after).toBeGreaterThanOrEqual(dropped - (128 << 10))
    expect(await filesOf(path)).toEqual(files)
  })

  it('an overlay gives up its own clusters only, and its backing file stays hidden there', async () => {
    const base = await image('cluster_size=64k')
    const path = writes(join(base, '../top.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'disk.qcow2', '-F', 'qcow2', path])
    const first = await sparsifyInPlace(path)
    expect(first).toMatchObject({ dropped: 0 })
    expect(first.after).toBeLessThanOrEqual(first.before)
    // Junk over the longest free piece of the disk.
    const top = await openImage(path, { writable: true })
    let longest = { start: 0, end: 0 }
    for (const range of (await freeRanges(top)).ranges.ranges())
      if (range.end - range.start > longest.end - longest.start) longest = range
    const length = longest.end - longest.start
    expect(length).toBeGreaterThan(3 << 20)
    await top.write(longest.start, noise(length, 5))
    await top.commit()
    await top.close()
    const baseSum = await runOk('sha256sum', [base])
    const second = await sparsifyInPlace(path)
    expect(second.dropped).toBeGreaterThan(length - (128 << 10))
    expect(second.after).toBeLessThan(second.before - second.dropped + (128 << 10))
    expect(await runOk('sha256sum', [base])).toBe(baseSum)
    expect(await filesOf(path)).toEqual(files)
    const seen = await openImage(path)
    const erased = new Uint8Array(1 << 20)
    await seen.read(longest.start + (1 << 20), erased)
    expect(erased.every(byte => byte === 0)).toBe(true)
    await seen.close()
  })

  it('drops clusters of zeros where it is asked to, and says beforehand how much', async () => {
    const path = await image('cluster_size=64k', '-S', '0')
    const plan = await sparsifyInPlace(path, { dryRun: true, dropZeros: true })
    expect(statSync(path).size).toBe(plan.before)
    const plain = await sparsifyInPlace(path, { dryRun: true })
    expect(plan.dropped).toBeGreaterThan(plain.dropped)
    const progress: string[] = []
    const done = await sparsifyInPlace(path, {
      dropZeros: true,
      onProgress: (phase, at, total) => {
        if (at === total && !progress.includes(phase)) progress.push(phase)
      },
    })
    expect(done.dropped).toBe(plan.dropped)
    expect(progress[0]).toBe('zeros')
    expect(await filesOf(path)).toEqual(files)
    expect(await sparsifyInPlace(path, { dropZeros: true })).toMatchObject({ dropped: 0 })
  })

  it('leaves a volume that is to be left, and an image that it is stopped in', async () => {
    const path = await image('cluster_size=64k')
    const controller = new AbortController()
    controller.abort()
    const sum = await runOk('sha256sum', [path])
    await expect(sparsifyInPlace(path, { signal: controller.signal })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    })
    expect(await runOk('sha256sum', [path])).toBe(sum)
    const left = await sparsifyInPlace(path, { ignore: ['/dev/sda1'] })
    expect(left.volumes[0]).toMatchObject({ name: '/dev/sda1', dropped: 0 })
    expect(left.dropped).toBeLessThan(2 << 20)
    expect(await filesOf(path)).toEqual(files)
  })

  it('stopped while clusters move, says that what nobody uses is dropped', async () => {
    const path = await image('cluster_size=64k')
    const controller = new AbortController()
    const stopped = sparsifyInPlace(path, {
      signal: controller.signal,
      onProgress: phase => {
        if (phase === 'move') controller.abort()
      },
    })
    await expect(stopped).rejects.toMatchObject({
      code: 'ERR_ABORTED',
      message: expect.stringMatching(/disk\.qcow2: \d{8,} bytes are dropped, but .*drydisk compact/),
      context: { published: true },
    })
    expect(await filesOf(path)).toEqual(files)
    expect((await compactImage(path)).after).toBeLessThan(20 << 20)
    expect(await filesOf(path)).toEqual(files)
  })

  it('refuses what it cannot do, by name, and touches nothing', async () => {
    const folder = temporaryFolder()
    const copy = join(folder, 'disk.raw')
    copyFileSync(raw, copy)
    for (const work of [sparsifyInPlace, compactImage])
      await expect(work(copy)).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining('raw image'),
      })
    expect(await runOk('cmp', [raw, copy])).toBe('')
    const split = join(folder, 'split')
    mkdirSync(split)
    const path = join(split, 'disk.qcow2')
    await run('sh', [
      '-c',
      `cd ${split} && qemu-img convert -f raw -O qcow2 -o data_file=disk.data ${raw} ${basename(path)}`,
    ])
    await expect(sparsifyInPlace(path)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('another file'),
    })
  })
})
