import { closeSync, openSync, writeSync } from 'node:fs'
import { toBytes } from '../../src/bytes/names.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { DirectoryEntry, FileSystem, FileType, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { checksumIsRight, storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { pattern } from './filesystem-contract.ts'
import { run } from './native.ts'

/** A structure on the volume: its place, its size, its kind by the magic number, and where its checksum is; 0 in version 4. */
export interface Structure {
  readonly at: number
  readonly size: number
  readonly kind: string
  readonly crc: number
}

/** By the four bytes at the beginning, with the checksum's place in version 5. */
const SECTORS: Readonly<Record<string, number>> = { XFSB: 224, XAGF: 216, XAGI: 312, XAFL: 32 }
const BLOCKS: Readonly<Record<string, number>> = {
  ...{ AB3B: 52, AB3C: 52, IAB3: 52, FIB3: 52, RMB3: 52, R3FC: 52, BMA3: 64, XDB3: 4, XDD3: 4, XDF3: 4 },
  ...{ XSLM: 12, XARM: 12, ABTB: 0, ABTC: 0, IABT: 0, BMAP: 0, XD2B: 0, XD2D: 0, XD2F: 0 },
}
/** By the two bytes behind the pointers to siblings. */
const DA: Readonly<Record<number, string>> = {
  ...{ 65214: 'node', 16062: 'node', 64494: 'attributes', 15342: 'attributes' },
  ...{ 54001: 'leaf1', 15857: 'leaf1', 54015: 'leafn', 15871: 'leafn' },
}
const CRC_DA = 12
const CRC_INODE = 100

/** What is on the volume by its magic numbers, and in version 5 by its checksums; blocks that were freed may be among it. */
export async function structuresOf(device: BlockDevice): Promise<Structure[]> {
  const top = new Uint8Array(512)
  await device.read(0, top)
  const view = new DataView(top.buffer)
  const block = view.getUint32(4)
  const sector = view.getUint16(102)
  const inode = view.getUint16(104)
  const isV5 = (view.getUint16(100) & 15) === 5
  const agBytes = view.getUint32(84) * block
  const found: Structure[] = []
  const bytes = new Uint8Array(block)
  const add = (at: number, start: number, size: number, kind: string, crc: number): void => {
    if (!isV5 || checksumIsRight(bytes.subarray(start, start + size), crc))
      found.push({ at: at + start, size, kind, crc: isV5 ? crc : 0 })
  }
  for await (const { offset, length, kind } of device.extents(0, device.size)) {
    if (kind !== 'data') continue
    const end = Math.min(device.size - block, offset + length - 1)
    for (let at = offset - (offset % block); at <= end; at += block) {
      await device.read(at, bytes)
      const text = (start: number) => String.fromCharCode(...bytes.subarray(start, start + 4))
      if (at % agBytes < 4 * sector)
        for (let start = 0; start < block; start += sector) {
          const crc = SECTORS[text(start)]
          if (crc !== undefined) add(at, start, sector, text(start), crc)
        }
      const crc = BLOCKS[text(0)]
      const da = DA[(bytes[8] ?? 0) * 256 + (bytes[9] ?? 0)]
      if (crc !== undefined) add(at, 0, block, text(0), crc)
      else if (text(0).startsWith('IN'))
        for (let start = 0; start < block; start += inode)
          if (text(start).startsWith('IN') && bytes[start + 2] !== 0) add(at, start, inode, 'IN', CRC_INODE)
      if (crc === undefined && da !== undefined) add(at, 0, block, da, CRC_DA)
    }
  }
  return found
}

export interface Mutation {
  readonly place: number
  readonly value: number
  /** `flip`: these bits change; `set`: the byte is that; `add`: the byte grows by that. */
  readonly how: 'flip' | 'set' | 'add'
}

/** @param sum whether the checksum is right again afterwards. */
export async function damage(
  device: BlockDevice,
  { at, size, crc }: Structure,
  mutations: readonly Mutation[],
  sum: boolean,
): Promise<void> {
  const bytes = new Uint8Array(size)
  await device.read(at, bytes)
  for (const { place, value, how } of mutations) {
    const index = place % size
    const old = bytes[index] ?? 0
    bytes[index] = how === 'set' ? value : how === 'add' ? old + value : old ^ value
  }
  if (sum && crc > 0) storeChecksum(bytes, crc)
  await device.write(at, bytes)
}

export interface Named extends DirectoryEntry {
  readonly directory: InodeNumber
}

/** What an image has, as far as it can be read. */
export async function namesOf(fs: FileSystem, most = 2000): Promise<Named[]> {
  const found: Named[] = []
  const seen = new Set<InodeNumber>()
  const visit = async (directory: InodeNumber): Promise<void> => {
    if (seen.has(directory)) return
    seen.add(directory)
    const entries: DirectoryEntry[] = []
    try {
      for await (const entry of fs.readdir(directory)) if (entries.push(entry) > most) break
    } catch (error) {
      if (!isDrydiskError(error)) throw error
    }
    for (const entry of entries) {
      found.push({ ...entry, directory })
      if (entry.type === 'directory') await visit(entry.ino)
    }
  }
  await visit(fs.root)
  return found
}

type Edit = (fs: FileSystem, target: Named, salt: number) => Promise<unknown>

const ATTRIBUTES = { mode: 0o644, uid: 1, gid: 2 }
const made = (salt: number): Uint8Array => toBytes(`new-${salt}-${'y'.repeat(salt % 120)}`)

/** Edits of what is there, for each kind of it. */
const EDITS: readonly [string, FileType | undefined, Edit][] = [
  ['unlink', 'file', (fs, { directory, name }) => fs.unlink(directory, name)],
  ['unlink symlink', 'symlink', (fs, { directory, name }) => fs.unlink(directory, name)],
  ['rmdir', 'directory', (fs, { directory, name }) => fs.rmdir(directory, name)],
  ['rename', undefined, (fs, { directory, name }, n) => fs.rename(directory, name, fs.root, made(n))],
  [
    'rename in place',
    undefined,
    (fs, { directory, name }, n) => fs.rename(directory, name, directory, made(n)),
  ],
  ['write', 'file', (fs, { ino }, n) => fs.write(ino, n * 37, pattern(100 + n * 50, n))],
  ['append', 'file', async (fs, { ino }, n) => fs.write(ino, (await fs.stat(ino)).size, pattern(6000, n))],
  [
    'truncate',
    'file',
    async (fs, { ino }, n) => fs.truncate(ino, Math.floor((await fs.stat(ino)).size * (n % 5)) >> 2),
  ],
  ['attribute', undefined, (fs, { ino }, n) => fs.setxattr(ino, `user.n${n % 7}`, pattern(n * 2, n))],
  ['large attribute', undefined, (fs, { ino }, n) => fs.setxattr(ino, 'trusted.large', pattern(n * 30, n))],
  [
    'no attribute',
    undefined,
    async (fs, { ino }) => {
      for (const name of (await fs.listxattr(ino)).slice(0, 3)) await fs.removexattr(ino, name)
    },
  ],
  ['chmod', undefined, (fs, { ino }) => fs.setAttributes(ino, { mode: 0o600, mtime: 5n })],
  ['link', 'file', (fs, { ino }, n) => fs.link(ino, fs.root, made(n))],
  [
    'create',
    'directory',
    async (fs, { ino }, n) => fs.write(await fs.create(ino, made(n), ATTRIBUTES), 0, pattern(n * 100, n)),
  ],
  ['mkdir', 'directory', (fs, { ino }, n) => fs.mkdir(ino, made(n), ATTRIBUTES)],
  ['symlink', 'directory', (fs, { ino }, n) => fs.symlink(ino, made(n), pattern(1 + n, n), ATTRIBUTES)],
  [
    'many',
    'directory',
    async (fs, { ino }, n) => {
      for (let i = 0; i < 40; i++) await fs.create(ino, made(n * 50 + i), ATTRIBUTES)
    },
  ],
  [
    'empty',
    'directory',
    async (fs, { ino }) => {
      const names: Uint8Array[] = []
      for await (const { name, type } of fs.readdir(ino)) if (type !== 'directory') names.push(name)
      for (const name of names.slice(0, 60)) await fs.unlink(ino, name)
    },
  ],
]

export interface EditStep {
  readonly what: number
  readonly target: number
  readonly salt: number
}

/** Which edit a step is with these names; `undefined` when there is nothing of the kind. */
export function editOf(
  { what, target, salt }: EditStep,
  names: readonly Named[],
): { readonly title: string; run(fs: FileSystem): Promise<unknown> } | undefined {
  const [title = '', type, edit] = EDITS[what % EDITS.length] ?? []
  const fitting = names.filter(name => type === undefined || name.type === type)
  const named = fitting[target % fitting.length]
  if (named === undefined || edit === undefined) return undefined
  const at = `${title} ${named.ino} '${String.fromCharCode(...named.name).slice(0, 20)}' in ${named.directory} #${salt}`
  return { title: at, run: fs => edit(fs, named, salt) }
}

/** Where pieces of a size begin that are not zeros in all of some devices: nearly everything is. */
export async function piecesOf(devices: readonly BlockDevice[], size: number): Promise<number[]> {
  const pieces = new Set<number>()
  for (const device of devices)
    for await (const { offset, length, kind } of device.extents(0, device.size))
      if (kind === 'data')
        for (let at = offset - (offset % size); at < offset + length; at += size) pieces.add(at)
  return [...pieces].sort((a, b) => a - b)
}

/** Tells apart what a device holds from what an image file holds, and makes the file the same. */
export async function patch(path: string, device: BlockDevice, from: BlockDevice): Promise<number> {
  const file = openSync(path, 'r+')
  const chunk = 65_536
  const [now, then] = [new Uint8Array(chunk), new Uint8Array(chunk)]
  let changed = 0
  try {
    for (const at of await piecesOf([device, from], chunk)) {
      const length = Math.min(chunk, device.size - at)
      const [a, b] = [now.subarray(0, length), then.subarray(0, length)]
      await device.read(at, a)
      await from.read(at, b)
      if (Buffer.compare(a, b) === 0) continue
      changed++
      writeSync(file, a, 0, length, at)
    }
  } finally {
    closeSync(file)
  }
  return changed
}

/** How it says that of an entry, in the forms of a directory. */
const LEADS_NOWHERE = /(references|points to) (a )?free inode|non-existent inode/

/**
 * What `xfs_repair -n` complains of: each sentence without its numbers, and how often. What it says of an entry depends on the
 * form of the directory, and what it would do about something found comes on lines of its own: an entry's name and the finding count.
 */
export async function complaintsOf(path: string): Promise<Map<string, number>> {
  const { status, stdout, stderr } = await run('xfs_repair', ['-n', '-f', path])
  const found = new Map<string, number>()
  for (const line of `${stdout}${stderr}`.split('\n')) {
    if (
      /^(Phase |\s+- |No modify flag|\s*$|\s*would |Cannot get host|Repair may fail|the image and the host)/.test(
        line,
      )
    )
      continue
    const named = /entry "(.*?)"/.exec(line)?.[0]
    const entry = named === undefined || !LEADS_NOWHERE.test(line) ? named : `${named} leads to a free inode`
    if (/^would have junked/.test(line)) continue
    const sentence =
      entry ??
      line.replace(/0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+/g, '#').replace(/[,:]?\s*(- agno = #|would ).*$/, '')
    found.set(sentence, entry === undefined ? (found.get(sentence) ?? 0) + 1 : 1)
  }
  if (status !== 0 && found.size === 0) found.set(`exit ${status}`, 1)
  return found
}
