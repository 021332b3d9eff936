import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { type ConvertOptions, convertImage, streamRaw } from '../../src/copy/convert.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { openImage } from '../../src/image/open.ts'
import { bundledThread } from '../support/bundled-thread.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { readAll } from '../support/qcow2.ts'

checkWrittenImages()

const worker = bundledThread('node-worker')
const writer = bundledThread('node-write-thread')

const KIB = 1024

/** A layer of a source, written to in units of its compressed clusters. */
const layer = fc.record({
  format: fc.constantFrom('qcow2', 'qcow2', 'qcow2', 'raw'),
  cluster: fc.constantFrom(512, 2048, 16_384, 65_536),
  extended: fc.boolean(),
  compression: fc.constantFrom('zlib', 'zstd'),
  version: fc.constantFrom('v2', 'v3'),
  /** In KiB and bytes more. */
  size: fc.integer({ min: 1, max: 1400 }),
  writes: fc.array(
    fc.record({
      kind: fc.constantFrom('random', 'text', 'zeros', 'write -z', 'compressed', 'discard'),
      at: fc.nat(1400),
      length: fc.integer({ min: 1, max: 300 }),
    }),
    { maxLength: 8 },
  ),
})

const target = fc.record({
  format: fc.constantFrom('qcow2', 'qcow2', 'qcow2', 'raw'),
  cluster: fc.constantFrom(512, 2048, 16_384, 65_536, 2 << 20),
  extended: fc.boolean(),
  compression: fc.constantFrom('zlib', 'zstd'),
  version: fc.constantFrom(2, 3, 3),
  refcountBits: fc.constantFrom(1, 2, 8, 16, 64),
  compress: fc.boolean(),
  sparseSize: fc.constantFrom(4096, 4096, 512, 65_536, 0),
  /** Which layer becomes the target's backing file: its own file, a copy of it, or none. */
  backing: fc.constantFrom('none', 'none', 'same', 'copy'),
  workers: fc.constantFrom(0, 2),
  free: fc.array(fc.tuple(fc.nat(1500), fc.nat(300)), { maxLength: 3 }),
})

type Layer = typeof layer extends fc.Arbitrary<infer T> ? T : never
type Target = typeof target extends fc.Arbitrary<infer T> ? T : never

async function makeChain(folder: string, layers: readonly Layer[]): Promise<string[]> {
  const random = Buffer.alloc(40_000)
  for (let at = 0; at < random.length; at++)
    random[at] = (at * at * 31 + (at >> 3) * 7 + (at % 251) * at) & 255
  writeFileSync(join(folder, 'random'), random)
  writeFileSync(join(folder, 'text'), 'some text that compresses well '.repeat(700))
  const paths: string[] = []
  for (const [
    index,
    { format, cluster, extended, compression, version, size, writes: changes },
  ] of layers.entries()) {
    const first = index === 0
    const path = join(folder, `${index}.${first ? format : 'qcow2'}`)
    const bytes = size * KIB + (first && format === 'raw' ? 0 : 0)
    const wide = extended && cluster >= 16_384 && version === 'v3'
    const backing = first
      ? []
      : ['-b', paths.at(-1) ?? '', '-F', index === 1 ? (layers[0]?.format ?? '') : 'qcow2']
    const options = `cluster_size=${cluster},compat=${version},extended_l2=${wide ? 'on' : 'off'}${
      version === 'v3' ? `,compression_type=${compression}` : ''
    }`
    if (first && format === 'raw') await runOk('qemu-img', ['create', '-q', '-f', 'raw', path, `${bytes}`])
    else await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, ...backing, path, `${bytes}`])
    const commands: string[] = []
    for (const { kind, at, length } of changes) {
      if (kind === 'compressed' && first && format === 'raw') continue
      const unit = kind === 'compressed' ? cluster / 512 : 1
      const from = Math.floor((at * 2) / unit) * unit
      const count = Math.min(Math.ceil((length * 2) / unit) * unit, size * 2 - from)
      if (count <= 0 || count % unit !== 0) continue
      const what =
        kind === 'random' || kind === 'text'
          ? `write -s ${join(folder, kind)}`
          : kind === 'compressed'
            ? `write -c -s ${join(folder, 'text')}`
            : kind === 'zeros'
              ? 'write -P 0'
              : kind
      commands.push('-c', `${what} ${from * 512} ${count * 512}`)
    }
    // qemu does not compress over a compressed cluster: then nothing is written.
    if (commands.length > 0) await run('qemu-io', ['-f', first ? format : 'qcow2', ...commands, path])
    paths.push(path)
  }
  return paths
}

async function zeroed(source: BlockDevice, free: RangeSet): Promise<Uint8Array> {
  const bytes = await readAll(source)
  for (const { start, end } of free.ranges(0, bytes.length)) bytes.fill(0, start, end)
  return bytes
}

function optionsOf(wanted: Target, free: RangeSet): ConvertOptions {
  const { format, cluster, extended, compression, version, refcountBits, compress, sparseSize } = wanted
  const common = { format: format === 'raw' ? ('raw' as const) : ('qcow2' as const), sparseSize, free }
  if (format === 'raw') return common
  const modern = version === 3
  return {
    ...common,
    compress,
    qcow2: {
      clusterSize: cluster,
      version: modern ? 3 : 2,
      ...(modern ? { compressionType: compression === 'zlib' ? 'zlib' : 'zstd', refcountBits } : {}),
      extendedL2: modern && extended && cluster >= 16_384,
    },
  }
}

describe.skipIf(!haveTool('qemu-img'))('convert', () => {
  it('gives what the source reads as, whatever the layouts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 3 }), target, async (layers, wanted) => {
        const folder = temporaryFolder()
        const chain = await makeChain(folder, layers)
        const top = chain.at(-1) ?? ''
        const source = await openImage(top)
        const free = new RangeSet()
        for (const [at, length] of wanted.free) free.add(at * KIB, Math.min((at + length) * KIB, source.size))
        const expected = await zeroed(source, free)
        const path = join(folder, `target.${wanted.format}`)
        if (wanted.format === 'qcow2') writes(path, 'qcow2')
        let options = optionsOf(wanted, free)
        const below = wanted.format === 'qcow2' && wanted.backing !== 'none' ? chain.at(-2) : undefined
        let backing: BlockDevice | undefined
        if (below !== undefined) {
          let file = below
          if (wanted.backing === 'copy') {
            file = join(folder, 'copy.raw')
            await runOk('qemu-img', ['convert', '-O', 'raw', below, file])
          }
          const backingFormat = file.endsWith('.raw') ? 'raw' : 'qcow2'
          backing = await openImage(file, { format: backingFormat })
          options = { ...options, backing, qcow2: { ...options.qcow2, backingFile: file, backingFormat } }
        }
        const result = await convertImage([source], path, {
          ...options,
          workers: { url: await worker, count: wanted.workers, writer: await writer },
        })
        expect(statSync(path).size).toBe(result.fileSize)
        const converted = await openImage(path, { format: options.format })
        expect(converted.size).toBe(expected.length)
        expect(Buffer.compare(await readAll(converted), expected)).toBe(0)
        await converted.close()
        if (free.runs === 0) await runOk('qemu-img', ['compare', top, path])
        else {
          writeFileSync(join(folder, 'expected.raw'), expected)
          await runOk('qemu-img', ['compare', '-f', 'raw', join(folder, 'expected.raw'), path])
        }
        // The same with the other engine is the same, and nothing lies about.
        const before = readFileSync(path)
        const count = wanted.workers === 0 ? 2 : 0
        await convertImage([source], path, {
          ...options,
          workers: { url: await worker, count, writer: await writer },
        })
        expect(Buffer.compare(readFileSync(path), before)).toBe(0)
        expect(readdirSync(folder).filter(name => name.includes('drydisk'))).toEqual([])
        await backing?.close()
        await source.close()
      }),
      propertySettings(12),
    )
  })

  it('joins sources, each as long as its sectors', async () => {
    const folder = temporaryFolder()
    const parts = [Buffer.alloc(70_001, 'first'), Buffer.alloc(130_000, 'second'), Buffer.alloc(777, 'x')]
    const names = parts.map((part, index) => {
      const name = join(folder, `${index}.raw`)
      writeFileSync(name, part)
      return name
    })
    const sources = await Promise.all(names.map(name => openImage(name, { format: 'raw' })))
    const path = writes(join(folder, 'all.qcow2'), 'qcow2')
    await convertImage(sources, path, { format: 'qcow2', compress: true, qcow2: { clusterSize: 4096 } })
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', ...names, join(folder, 'qemu.raw')])
    await runOk('qemu-img', ['compare', join(folder, 'qemu.raw'), path])
    const streamed: Uint8Array[] = []
    await streamRaw(sources, async bytes => void streamed.push(bytes.slice()))
    const all = readFileSync(join(folder, 'qemu.raw'))
    expect(Buffer.compare(Buffer.concat(streamed), all.subarray(0, 70_144 + 130_048 + 777))).toBe(0)
    for (const source of sources) await source.close()
  })

  it('leaves an existing target as it was when it is aborted', async () => {
    const folder = temporaryFolder()
    const raw = join(folder, 'source.raw')
    writeFileSync(raw, Buffer.alloc(40 << 20, 'data'))
    const source = await openImage(raw)
    const path = join(folder, 'target.qcow2')
    writeFileSync(path, 'what was there')
    for (const when of [0, 1, 5]) {
      const abort = new AbortController()
      let seen = 0
      if (when === 0) abort.abort()
      const onProgress = (): void => {
        if (++seen === when) abort.abort()
      }
      await expect(
        convertImage([source], path, { format: 'qcow2', signal: abort.signal, onProgress }),
      ).rejects.toMatchObject({ code: 'ERR_ABORTED' })
      expect(readFileSync(path, 'utf8')).toBe('what was there')
      expect(readdirSync(folder).sort()).toEqual(['source.raw', 'target.qcow2'])
    }
    await source.close()
  })

  it('refuses a target that its content comes from', async () => {
    const folder = temporaryFolder()
    const [below, top] = await makeChain(folder, [
      {
        format: 'qcow2',
        cluster: 65_536,
        extended: false,
        compression: 'zlib',
        version: 'v3',
        size: 100,
        writes: [],
      },
      {
        format: 'qcow2',
        cluster: 65_536,
        extended: false,
        compression: 'zlib',
        version: 'v3',
        size: 100,
        writes: [],
      },
    ])
    const source = await openImage(top ?? '')
    for (const path of [below, top])
      await expect(convertImage([source], path ?? '', { format: 'raw' })).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
      })
    await source.close()
    expect(existsSync(below ?? '')).toBe(true)
  })
})
