import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { StorageDevice } from '../../src/device/storage-device.ts'
import { type AmendImageOptions, amendImage } from '../../src/image/amend.ts'
import { type AmendOptions, amendQcow2 } from '../../src/image/qcow2/amend.ts'
import { checkWrittenImages, haveTool, run, runOk, temporaryFolder, writes } from '../support/native.ts'
import { everyPowerLoss, fileOf } from '../support/power-loss.ts'
import { qemuCheck, qemuRaw } from '../support/qcow2.ts'

checkWrittenImages()

/** `t.qcow2` of 200 KiB with data, zeros with and without clusters behind them, and (of one cluster size) a snapshot. */
async function make(options: string, more: readonly string[] = [], snapshot = true): Promise<string> {
  const folder = temporaryFolder()
  const path = join(folder, 't.qcow2')
  for (const name of more.includes('-b') ? [more[more.indexOf('-b') + 1] ?? ''] : [])
    writeFileSync(join(folder, name), Buffer.alloc(160 << 10, 0xbb))
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, ...more, path, '200k'])
  await runOk('qemu-io', [
    '-c',
    'write -P 1 0 60k',
    '-c',
    'write -c -P 7 64k 64k',
    '-c',
    'write -z 10k 20k',
    path,
  ])
  if (!snapshot) return path
  await runOk('qemu-img', ['snapshot', '-c', 'before', path])
  await runOk('qemu-io', ['-c', 'write -P 3 20k 4k', '-c', 'write -z 160k 12k', path])
  return path
}

function copyOf(path: string, base: string | undefined): string {
  const folder = temporaryFolder()
  const copy = join(folder, 't.qcow2')
  writeFileSync(copy, readFileSync(path))
  if (base !== undefined) writeFileSync(join(folder, base), readFileSync(join(path, '..', base)))
  return copy
}

async function facts(path: string): Promise<unknown> {
  const info = JSON.parse(await runOk('qemu-img', ['info', '--output=json', path])) as Record<string, unknown>
  for (const name of ['filename', 'actual-size', 'full-backing-filename']) delete info[name]
  const contents: string[] = []
  for (const snapshot of [undefined, ...(info.snapshots === undefined ? [] : ['before'])]) {
    await qemuRaw(path, `${path}.raw`, snapshot)
    contents.push(readFileSync(`${path}.raw`).toString('latin1'))
  }
  return { info, contents }
}

const LONG = `b${'0123456789'.repeat(22)}`

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('amending a qcow2 image', () => {
  const cases: [made: string, more: string[], amend: string, options: AmendImageOptions][] = [
    ['cluster_size=512', [], 'compat=0.10', { version: 2 }],
    ['cluster_size=4k', ['-b', 'base', '-F', 'raw'], 'compat=0.10', { version: 2 }],
    ['cluster_size=2k', ['-b', LONG, '-F', 'raw'], 'compat=v2', { version: 2 }],
    ['cluster_size=64k,lazy_refcounts=on', [], 'compat=0.10', { version: 2 }],
    ['cluster_size=4k,refcount_bits=8', [], 'compat=0.10,refcount_bits=16', { version: 2, refcountBits: 16 }],
    ['compat=0.10,cluster_size=1k', [], 'compat=1.1', { version: 3 }],
    ['compat=0.10,cluster_size=4k', ['-b', LONG, '-F', 'raw'], 'compat=v3', { version: 3 }],
    [
      'compat=0.10,cluster_size=64k',
      ['-b', 'base', '-F', 'raw'],
      'compat=1.1,lazy_refcounts=on,refcount_bits=64',
      { version: 3, lazyRefcounts: true, refcountBits: 64 },
    ],
    ['cluster_size=4k', [], 'lazy_refcounts=on', { lazyRefcounts: true }],
    ['cluster_size=4k,lazy_refcounts=on', [], 'lazy_refcounts=off', { lazyRefcounts: false }],
    ['cluster_size=4k', ['-b', 'base', '-F', 'raw'], 'size=1M', { size: 1 << 20 }],
    [
      'compat=0.10,cluster_size=4k',
      [],
      'compat=1.1,size=300k,refcount_bits=32',
      { version: 3, size: 300 << 10, refcountBits: 32 },
    ],
    [
      'cluster_size=4k',
      ['-b', 'base', '-F', 'raw'],
      'backing_file=base,backing_fmt=raw,refcount_bits=8',
      { backingFile: 'base', backingFormat: 'raw', refcountBits: 8 },
    ],
  ]
  for (const [made, more, amend, options] of cases)
    it(`${made} ${more.join(' ').slice(0, 20)} to ${amend}: as qemu-img does it`, async () => {
      const base = more[1]
      const path = await make(made, more)
      const theirs = copyOf(path, base)
      const ours = writes(copyOf(path, base), 'qcow2')
      const before = (await facts(path)) as { contents: string[] }
      await runOk('qemu-img', ['amend', '-o', amend, theirs])
      await amendImage(ours, options)
      expect(await qemuCheck(ours)).toEqual({ corruptions: 0, leaks: 0, errors: 0 })
      const found = (await facts(ours)) as { contents: string[] }
      expect(found).toEqual(await facts(theirs))
      if (options.size === undefined) expect(found.contents).toEqual(before.contents)
      // What qemu does next with what is ours.
      await runOk('qemu-img', ['snapshot', '-a', 'before', ours])
      await run('qemu-img', ['amend', '-o', 'compat=1.1', ours])
      await runOk('qemu-io', ['-c', 'write -P 9 5k 190k', ours])
    })

  for (const [made, more, options] of [
    ['cluster_size=512', [], { version: 2 }],
    ['cluster_size=4k,refcount_bits=8', ['-b', 'base', '-F', 'raw'], { version: 2, refcountBits: 16 }],
    [
      'compat=0.10,cluster_size=4k',
      ['-b', LONG, '-F', 'raw'],
      { version: 3, lazyRefcounts: true, refcountBits: 64 },
    ],
  ] as [string, string[], AmendOptions][])
    it(`${made} ${more.join(' ').slice(0, 20)}, ${JSON.stringify(options)}: old or new at every power loss`, async () => {
      const path = await make(made, more)
      const base = more[1]
      const files: Record<string, Uint8Array> = { 't.qcow2': new Uint8Array(readFileSync(path)) }
      if (base !== undefined) files.base = files[base] = new Uint8Array(readFileSync(join(path, '..', base)))
      const openers = {
        openBacking: async (): Promise<StorageDevice> => Promise.reject(new Error('not needed')),
        openDataFile: () => Promise.reject(new Error('none')),
      }
      expect(
        await everyPowerLoss(files, async medium =>
          amendQcow2(await fileOf(medium, 't.qcow2', 'write'), options, openers),
        ),
      ).toBeGreaterThan(4)
    })

  it('refuses what cannot be, by name, and changes nothing', async () => {
    const refusals: [made: string, options: AmendImageOptions, code: string, what: string][] = [
      ['cluster_size=4k,refcount_bits=8', { version: 2 }, 'ERR_INVALID_ARGUMENT', 'refcount_bits=16'],
      ['cluster_size=4k', { version: 2, lazyRefcounts: true }, 'ERR_INVALID_ARGUMENT', 'compat=1.1'],
      ['compat=0.10', { lazyRefcounts: true }, 'ERR_INVALID_ARGUMENT', 'compat=1.1'],
      ['compat=0.10', { refcountBits: 8 }, 'ERR_INVALID_ARGUMENT', 'refcount_bits=16'],
      ['compression_type=zstd', { version: 2 }, 'ERR_UNSUPPORTED', 'zstd'],
      ['extended_l2=on', { version: 2 }, 'ERR_UNSUPPORTED', 'extended L2'],
      ['cluster_size=4k', { refcountBits: 3 }, 'ERR_INVALID_ARGUMENT', '3 bits'],
      ['cluster_size=4k', { refcountBits: 1 }, 'ERR_UNSUPPORTED', 'count to 1'],
      ['cluster_size=4k', { size: 4096 }, 'ERR_INVALID_ARGUMENT', '--shrink'],
      ['cluster_size=4k', { backingFile: 'x' }, 'ERR_INVALID_ARGUMENT', 'rebase'],
      ['cluster_size=4k', { dataFile: 'x' }, 'ERR_INVALID_ARGUMENT', 'data file'],
      ['cluster_size=4k', { dataFileRaw: true }, 'ERR_INVALID_ARGUMENT', 'data_file_raw'],
    ]
    for (const [made, options, code, what] of refusals) {
      const path = await make(made)
      const before = readFileSync(path)
      await expect(amendImage(path, options), what).rejects.toMatchObject({
        code,
        message: expect.stringContaining(what),
      })
      expect(Buffer.compare(readFileSync(path), before), what).toBe(0)
    }
    const sizes = await make('cluster_size=4k')
    await runOk('qemu-img', ['resize', '-q', sizes, '1M'])
    await expect(amendImage(sizes, { version: 2 })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('before'),
    })
    const bitmaps = await make('cluster_size=4k', [], false)
    await runOk('qemu-img', ['bitmap', '--add', bitmaps, 'b0'])
    await expect(amendImage(bitmaps, { version: 2 })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('b0'),
    })
  })

  it('renames a data file, and lets it be more than raw', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 't.qcow2')
    const data = join(folder, 'd.data')
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      `data_file=${data},data_file_raw=on`,
      path,
      '1M',
    ])
    await amendImage(path, { dataFileRaw: false })
    for (const name of ['d.data', `${'x'.repeat(180)}.data`, data]) {
      await amendImage(path, { dataFile: name })
      const info = await runOk('qemu-img', [
        'info',
        '--image-opts',
        `driver=qcow2,file.filename=${path},data-file.driver=file,data-file.filename=${data}`,
        '--output=json',
      ])
      expect(JSON.parse(info)).toMatchObject({
        'format-specific': { data: { 'data-file': name, 'data-file-raw': false } },
      })
    }
    await runOk('qemu-img', ['check', '-q', path])
  })
})
