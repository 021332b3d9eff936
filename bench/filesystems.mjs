// What our own writers cost beside each other: the same work on an ext4 and an XFS of the same size, in one process and in memory,
// by turns. Processor time, since nothing here waits.

import { MemoryDevice } from '../dist/device/memory-device.js'
import { makeExt4 } from '../dist/filesystem/ext4/mkfs.js'
import { openExt4 } from '../dist/filesystem/ext4/open.js'
import { makeXfs } from '../dist/filesystem/xfs/mkfs/mkfs.js'
import { openXfs } from '../dist/filesystem/xfs/open.js'

const GIB = 2 ** 30
const DIRECTORIES = 50
const FILES = 5000
const LARGE = 512 << 20
const ATTRIBUTES = { mode: 0o644, uid: 0, gid: 0 }
const small = new Uint8Array(4096).fill(7)
const piece = new Uint8Array(1 << 20).fill(9)
/** @param {string} text */
const b = text => new TextEncoder().encode(text)

/** @typedef {import('../dist/filesystem/filesystem.js').FileSystem} FileSystem */
/** @type {Record<string, { make(device: MemoryDevice): Promise<void>, open(device: MemoryDevice): Promise<FileSystem> }>} */
const KINDS = {
  ext4: { make: device => makeExt4(device), open: device => openExt4(device, { writable: true }) },
  xfs: { make: device => makeXfs(device), open: device => openXfs(device, { writable: true }) },
}

/** @typedef {{ device: MemoryDevice, fs: FileSystem, directories: number[], files: number[] }} State */
/** @param {number} n */
const nameOf = n => b(`some-file-${n}.conf`)
/** @param {State} state @param {number} n */
const directoryOf = ({ directories }, n) => directories[n % DIRECTORIES] ?? 0

/** What is done, in this order, each with a `sync` at its end. @type {Record<string, (state: State) => Promise<void>>} */
const WORK = {
  'create 5000 files of 4 KiB in 50 directories': async state => {
    const { fs, directories, files } = state
    for (let n = 0; n < DIRECTORIES; n++) directories.push(await fs.mkdir(fs.root, b(`dir-${n}`), ATTRIBUTES))
    for (let n = 0; n < FILES; n++) {
      const ino = await fs.create(directoryOf(state, n), nameOf(n), ATTRIBUTES)
      await fs.write(ino, 0, small)
      files.push(ino)
    }
  },
  'look up and read all': async state => {
    const into = new Uint8Array(small.length)
    for (let n = 0; n < FILES; n++) {
      const ino = await state.fs.lookup(directoryOf(state, n), nameOf(n))
      await state.fs.stat(ino)
      await state.fs.read(ino, 0, into)
    }
  },
  'set an attribute of each': async ({ fs, files }) => {
    for (const ino of files) await fs.setxattr(ino, 'security.selinux', b('system_u:object_r:etc_t:s0'))
  },
  'rename each within its directory': async state => {
    for (let n = 0; n < FILES; n++) {
      const directory = directoryOf(state, n)
      await state.fs.rename(directory, nameOf(n), directory, nameOf(n + FILES))
    }
  },
  'overwrite each': async ({ fs, files }) => {
    for (const ino of files) await fs.write(ino, 100, small.subarray(0, 1000))
  },
  'one directory of 5000 names': async ({ fs }) => {
    const directory = await fs.mkdir(fs.root, b('many'), ATTRIBUTES)
    for (let n = 0; n < FILES; n++) await fs.create(directory, nameOf(n), ATTRIBUTES)
  },
  'write a file of 512 MiB': async ({ fs }) => {
    const ino = await fs.create(fs.root, b('large'), ATTRIBUTES)
    for (let at = 0; at < LARGE; at += piece.length) await fs.write(ino, at, piece)
  },
  'write 128 MiB in pieces of 4 KiB, by turns in two files': async ({ fs }) => {
    const inos = [
      await fs.create(fs.root, b('one'), ATTRIBUTES),
      await fs.create(fs.root, b('two'), ATTRIBUTES),
    ]
    for (let at = 0; at < 64 << 20; at += 4096) for (const ino of inos) await fs.write(ino, at, small)
  },
  'write every other block of 64 MiB, then the others': async ({ fs }) => {
    const ino = await fs.create(fs.root, b('pieces'), ATTRIBUTES)
    for (const first of [0, 4096])
      for (let at = first; at < 64 << 20; at += 8192) await fs.write(ino, at, small)
  },
  'cut that file of 16384 pieces to its half': async ({ fs }) => {
    await fs.truncate(await fs.lookup(fs.root, b('pieces')), 32 << 20)
  },
  'unlink it': async ({ fs }) => {
    await fs.unlink(fs.root, b('pieces'))
  },
  'unlink the large files': async ({ fs }) => {
    for (const name of ['large', 'one', 'two']) await fs.unlink(fs.root, b(name))
  },
  'unlink the 5000 files': async state => {
    for (let n = 0; n < FILES; n++) await state.fs.unlink(directoryOf(state, n), nameOf(n + FILES))
  },
}

/** @param {number[]} values */
function median(values) {
  return [...values].sort((one, other) => one - other)[values.length >> 1] ?? 0
}

const runs = Number(process.env.DRYDISK_BENCH_RUNS ?? 3)
const only = process.argv[2]
const kinds = Object.keys(KINDS).filter(kind => only === undefined || kind === only)
/** @type {Record<string, Record<string, number[]>>} */
const times = {}
for (let run = -1; run < runs; run++)
  for (const kind of kinds) {
    const device = new MemoryDevice(4 * GIB)
    await KINDS[kind].make(device)
    const state = { device, fs: await KINDS[kind].open(device), directories: [], files: [] }
    for (const [title, work] of Object.entries(WORK)) {
      const start = process.cpuUsage()
      await work(state)
      await state.fs.sync()
      const { user, system } = process.cpuUsage(start)
      if (run < 0) continue
      times[title] ??= {}
      times[title][kind] ??= []
      times[title][kind].push((user + system) / 1000)
    }
    await state.fs.close()
  }
console.log(`\nXFS beside ext4, both drydisk's, processor time, medians of ${runs}`)
for (const [title, of] of Object.entries(times)) {
  const medians = kinds.map(kind => median(of[kind] ?? []))
  const figures = kinds.map((kind, at) => `${kind} ${medians[at]?.toFixed(0)} ms`).join(', ')
  const ratio = medians.length === 2 ? `, ratio ${((medians[1] ?? 0) / (medians[0] ?? 1)).toFixed(2)}` : ''
  console.log(`  ${title.padEnd(56)} ${figures}${ratio}`)
}
