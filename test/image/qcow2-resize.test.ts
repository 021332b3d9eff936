import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { resizeQcow2 } from '../../src/image/qcow2/resize.ts'
import { resizeImage } from '../../src/image/resize.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'
import { everyPowerLoss, fileOf, openOn } from '../support/power-loss.ts'
import { qemuCheck, qemuRaw } from '../support/qcow2.ts'

checkWrittenImages()

const QCOW2 = ['-q', '-f', 'qcow2']

interface Made {
  readonly folder: string
  readonly path: string
}

/** `t.qcow2` of 200 KiB with data, compressed data and zeros; beside it `base` and `t.data` where the options name them. */
async function make(options: string, more: readonly string[] = [], snapshot = true): Promise<Made> {
  const folder = temporaryFolder()
  const path = join(folder, 't.qcow2')
  if (more.includes('-b')) writeFileSync(join(folder, 'base'), Buffer.alloc(600 << 10, 0xbb))
  const all = options.replace('data_file=', `data_file=${folder}/`)
  await runOk('qemu-img', ['create', ...QCOW2, '-o', all, ...more, path, '200k'])
  const alone = !options.includes('data_file')
  const commands = ['write -P 1 0 60k', 'write -P 2 150k 50k', ...(alone ? ['write -c -P 7 64k 64k'] : [])]
  await runOk('qemu-io', [...commands.flatMap(command => ['-c', command]), path])
  if (!snapshot || !alone || options.includes('0.10')) return { folder, path }
  await runOk('qemu-img', ['snapshot', '-c', 'before', path])
  await runOk('qemu-io', ['-c', 'write -P 3 160k 4k', path])
  return { folder, path }
}

async function content(path: string): Promise<Buffer> {
  await qemuRaw(path, `${path}.raw`)
  return readFileSync(`${path}.raw`)
}

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('resizing a qcow2 image', () => {
  for (const [options, ...more] of [
    ['cluster_size=512'],
    ['cluster_size=64k'],
    ['cluster_size=4k', '-b', 'base', '-F', 'raw'],
    ['compat=0.10,cluster_size=1k'],
    ['extended_l2=on,cluster_size=16k', '-b', 'base', '-F', 'raw'],
    ['data_file=t.data,cluster_size=4k'],
    ['data_file=t.data,data_file_raw=on,cluster_size=4k'],
  ] as [string, ...string[]][])
    it(`${[options, ...more].join(' ')}: keeps what is there and gains zeros`, async () => {
      const { folder, path } = await make(options, more)
      writes(path, 'qcow2')
      const old = await content(path)
      // To ends in the middle of clusters, up and down again.
      let kept = old.length
      for (const size of [300_032, 174_592, 175_104, 70_144, 66_048, 900 << 10]) {
        await resizeImage(path, size, { shrink: true })
        kept = Math.min(kept, size)
        expect(await qemuCheck(path)).toEqual({ corruptions: 0, leaks: 0, errors: 0 })
        const now = await content(path)
        expect(now.length).toBe(size)
        expect(Buffer.compare(now.subarray(0, kept), old.subarray(0, kept)), `${size}`).toBe(0)
        expect(
          now.subarray(kept).every(byte => byte === 0),
          `${size}`,
        ).toBe(true)
        if (options.includes('data_file=')) expect(statSync(join(folder, 't.data')).size).toBe(size)
        if (options.includes('raw=on'))
          expect(Buffer.compare(readFileSync(join(folder, 't.data')), now)).toBe(0)
      }
      // What qemu does next with what is ours.
      await runOk('qemu-img', ['resize', '-q', '--shrink', path, '512k'])
      await runOk('qemu-io', ['-c', 'write -P 9 1k 500k', path])
    })

  for (const [options, ...more] of [
    ['cluster_size=512'],
    ['cluster_size=4k', '-b', 'base', '-F', 'raw'],
    ['extended_l2=on,cluster_size=16k', '-b', 'base', '-F', 'raw'],
    ['data_file=t.data,data_file_raw=on,cluster_size=4k'],
  ] as [string, ...string[]][])
    it(`${[options, ...more].join(' ')}: old or new at every power loss`, async () => {
      const { folder, path } = await make(options, more)
      if (options.includes('data_file')) await runOk('qemu-img', ['amend', '-o', 'data_file=t.data', path])
      const files: Record<string, Uint8Array> = { 't.qcow2': new Uint8Array(readFileSync(path)) }
      if (more.length > 0) files.base = new Uint8Array(readFileSync(join(folder, 'base')))
      if (options.includes('data_file'))
        files['t.data'] = new Uint8Array(readFileSync(join(folder, 't.data')))
      // Both ends lie in the middle of a cluster.
      for (const size of more.length > 0 ? [700_928] : options.includes('data') ? [300_032] : [160_256])
        expect(
          await everyPowerLoss(files, async medium => {
            await resizeQcow2(await fileOf(medium, 't.qcow2', 'write'), size, {
              shrink: true,
              openBacking: async () => new StorageDevice(await fileOf(medium, 'base', 'read')),
              openDataFile: (_name, writable) => fileOf(medium, 't.data', writable ? 'write' : 'read'),
            })
          }),
        ).toBeGreaterThan(4)
    })

  it('makes the file of a smaller disk smaller', async () => {
    const path = writes(join(temporaryFolder(), 't.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', ...QCOW2, '-o', 'cluster_size=4k', path, '4M'])
    // What stays lies at the end of the file.
    await runOk('qemu-io', ['-c', 'write -P 1 1M 3M', '-c', 'write -P 2 0 1M', path])
    await resizeImage(path, 1 << 20, { shrink: true })
    expect(statSync(path).size).toBeLessThan(1.1 * 2 ** 20)
    expect((await content(path)).equals(Buffer.alloc(1 << 20, 2))).toBe(true)
  })

  it('leaves the image as it was when there is no space', async () => {
    const { folder, path } = await make('cluster_size=1k', ['-b', 'base', '-F', 'raw'])
    const files = {
      't.qcow2': new Uint8Array(readFileSync(path)),
      base: new Uint8Array(readFileSync(join(folder, 'base'))),
    }
    const resize = async (medium: FaultMedium): Promise<unknown> =>
      resizeQcow2(await fileOf(medium, 't.qcow2', 'write'), 600 << 10, {
        openBacking: async () => new StorageDevice(await fileOf(medium, 'base', 'read')),
        openDataFile: () => Promise.reject(new Error('none')),
      })
    const whole = new FaultMedium(files)
    await resize(whole)
    for (let operation = 0; operation < whole.operations; operation++) {
      const medium = new FaultMedium(files, { failAt: { operation, code: 'ENOSPC' } })
      await expect(resize(medium)).rejects.toMatchObject({ code: 'ENOSPC' })
      const after = await openOn(medium, false)
      expect(await after.check()).toMatchObject({ corruptions: 0 })
      if (after.size === 200 << 10) expect(medium.content('t.qcow2')?.length).toBe(files['t.qcow2'].length)
      await after.close()
    }
  })

  it('refuses what cannot be, by name', async () => {
    const { path } = await make('cluster_size=512')
    const before = readFileSync(path)
    await expect(resizeImage(path, 100 << 10)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('--shrink'),
    })
    await expect(resizeImage(path, 0, { shrink: true })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
    await expect(resizeImage(path, 300_001)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('300032'),
    })
    await expect(resizeImage(path, 2 ** 40)).rejects.toMatchObject({ code: 'EFBIG' })
    expect(Buffer.compare(readFileSync(path), before)).toBe(0)

    const old = await make('compat=0.10')
    await runOk('qemu-img', ['snapshot', '-c', 's', old.path])
    await expect(resizeImage(old.path, 1 << 20)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('compat=1.1'),
    })
    const backed = await make('compat=0.10', ['-b', 'base', '-F', 'raw'])
    await expect(resizeImage(backed.path, 1 << 20)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('backing file'),
    })
  })
})

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('a file that stays long', () => {
  it('does not hide that its disk is smaller', async () => {
    const path = writes(join(temporaryFolder(), 'disk.qcow2'), 'qcow2')
    await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, '4M'])
    // What stays lies behind what goes.
    await runOk('qemu-io', ['-c', 'write -P 1 2M 1M', '-c', 'write -P 2 0 1M', path])
    const controller = new AbortController()
    await expect(
      resizeImage(path, 1 << 20, {
        shrink: true,
        signal: controller.signal,
        onProgress: () => controller.abort(),
      }),
    ).rejects.toMatchObject({
      code: 'ERR_ABORTED',
      message: expect.stringMatching(/the disk has 1048576 bytes now, but .*"drydisk compact"/),
      context: { published: true },
    })
    await runOk('qemu-io', ['-r', '-c', 'read -P 2 0 1M', path])
    expect(await resizeImage(path, 1 << 20)).toMatchObject({ before: 1 << 20, after: 1 << 20 })
  })

  it('says that a header is cut, rather than that it is none', async () => {
    const path = join(temporaryFolder(), 'disk.qcow2')
    writeFileSync(path, Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(46)]))
    await expect(resizeImage(path, 512)).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringContaining('ends within its header: 50 bytes'),
    })
  })
})

describe('resizing a raw image', () => {
  it('cuts it, or adds zeros', async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    writeFileSync(path, Buffer.alloc(5000, 7))
    expect(await resizeImage(path, before => before + 1000)).toEqual({
      format: 'raw',
      before: 5000,
      after: 6000,
    })
    expect(
      Buffer.compare(readFileSync(path), Buffer.concat([Buffer.alloc(5000, 7), Buffer.alloc(1000)])),
    ).toBe(0)
    await expect(resizeImage(path, 100)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    await resizeImage(path, 100, { shrink: true })
    await resizeImage(path, 200, { format: 'raw' })
    expect(Buffer.compare(readFileSync(path), Buffer.concat([Buffer.alloc(100, 7), Buffer.alloc(100)]))).toBe(
      0,
    )
  })
})
