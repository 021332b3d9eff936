import { execFileSync } from 'node:child_process'
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { have } from './harness.mjs'

/**
 * Conversions of a large image: DRYDISK_BENCH_CONVERT names its raw and its qcow2 file, comma between them, or else
 * the guest's image is taken, in both formats.
 * @param {{ folder: string, image: string, main: string, cli: (...args: string[]) => import('./harness.mjs').Contender }} bench
 * @returns {Record<string, () => import('./harness.mjs').Case>}
 */
export function convertCases({ folder, image, main, cli }) {
  const [givenRaw, givenQcow2 = image] =
    process.env.DRYDISK_BENCH_CONVERT?.split(',').map(path => resolve(path)) ?? []
  const [ours, theirs] = [join(folder, 'ours'), join(folder, 'theirs')]
  const drydisk = (/** @type {string[]} */ ...args) => execFileSync(process.execPath, [main, ...args])
  /** @param {string} name @param {string[]} options */
  const made = (name, ...options) => {
    const path = join(folder, name)
    if (!existsSync(path)) drydisk('convert', '-q', ...options, givenQcow2, path)
    return path
  }
  /** @type {Map<string, number>} */
  const lengths = new Map()
  const note = () => {
    for (const path of [ours, theirs]) if (existsSync(path)) lengths.set(path, statSync(path).size)
  }
  // What one contender leaves in memory and has still to be written to the disk is not to be the next one's burden.
  const clean = () => {
    note()
    rmSync(ours, { force: true })
    rmSync(theirs, { force: true })
    execFileSync('sync')
  }
  // A virtual machine may give memory that is free to its host, and whoever needs it next waits for it to come back. So that it is not the
  // one whose turn comes after the larger pause, both find as much memory as they fill just used, and freed, by something else.
  /** @param {string} source */
  const refill = source => () => {
    clean()
    const scratch = join(folder, 'scratch')
    const bytes = statSync(source).blocks * 512
    execFileSync('sh', ['-c', 'head -c "$1" /dev/zero > "$2"', 'sh', String(bytes), scratch])
    rmSync(scratch)
  }
  const sizes = () => {
    note()
    return [...lengths].map(
      ([path, size]) => `${path === ours ? 'ours' : 'theirs'} ${(size / 1e6).toFixed(1)} MB`,
    )
  }
  const raw = () => givenRaw ?? made('source.raw', '-O', 'raw')
  const qcow2 = () => givenQcow2
  const zlib = () => made('zlib.qcow2', '-c', '-O', 'qcow2')
  /** @param {string} title @param {string} limit @param {() => string} source @param {string[]} options */
  const convert =
    (title, limit, source, ...options) =>
    () => ({
      title: `convert ${title}`,
      limit: `ratio ${limit}`,
      sizes,
      drydisk: { ...cli('convert', '-q', ...options, source(), ours), prepare: refill(source()) },
      peer: have('qemu-img')
        ? {
            name: 'qemu-img convert',
            command: ['qemu-img', 'convert', '-W', '-m', '16', ...options, source(), theirs],
            prepare: refill(source()),
          }
        : undefined,
    })
  /** The guest after 600 MB were written to it and removed again. */
  const withDeleted = () => {
    const path = join(folder, 'deleted.qcow2')
    if (existsSync(path)) return path
    const file = join(folder, 'deleted.bin')
    writeFileSync(file, '')
    const chunk = Buffer.alloc(1 << 20, 'deleted and still there ')
    for (let i = 0; i < 600; i++) writeFileSync(file, chunk, { flag: 'a' })
    drydisk('convert', '-q', '-O', 'qcow2', image, path)
    drydisk('cp', file, `${path}:/root/deleted.bin`)
    drydisk('rm', path, '/root/deleted.bin')
    rmSync(file)
    return path
  }
  return {
    'convert-raw': convert('qcow2 to raw', '1.0', qcow2, '-O', 'raw'),
    'convert-qcow2': convert('raw to qcow2', '1.0', raw, '-O', 'qcow2'),
    'convert-copy': convert('qcow2 to qcow2', '1.0', qcow2, '-O', 'qcow2'),
    'convert-inflate': convert('zlib qcow2 to raw', '0.7', zlib, '-O', 'raw'),
    'convert-deflate': convert('raw to zlib qcow2', '0.5', raw, '-c', '-O', 'qcow2'),
    'convert-unchanged': convert('zlib qcow2 to zlib qcow2', '0.05', zlib, '-c', '-O', 'qcow2'),
    'convert-zstd': convert(
      'raw to zstd qcow2',
      '1.0 with native zstd',
      raw,
      '-c',
      '-O',
      'qcow2',
      '-o',
      'compression_type=zstd',
    ),
    sparsify: () => ({
      title: 'sparsify and compress a guest with 600 MB deleted in it',
      limit: 'ratio 0.1',
      sizes,
      drydisk: { ...cli('sparsify', '-q', '-c', withDeleted(), ours), prepare: clean },
      peer: have('virt-sparsify')
        ? {
            name: 'virt-sparsify',
            command: ['virt-sparsify', '--quiet', '--compress', '--tmp', folder, withDeleted(), theirs],
            prepare: clean,
          }
        : undefined,
    }),
  }
}
