import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { bigEndian } from '../../src/bytes/byte-view.ts'
import { equalBytes } from '../../src/bytes/compare.ts'
import { toBytes } from '../../src/bytes/names.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import type { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { blockLeafStart, dirDataEntries, dirDataStart } from '../../src/filesystem/xfs/dir-data.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { loadSparse } from '../support/btrfs-damage.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'
import {
  complaintsOf,
  damage,
  editOf,
  type Mutation,
  type Named,
  namesOf,
  patch,
  piecesOf,
  type Structure,
  structuresOf,
} from '../support/xfs-damage.ts'

const NOW = 1_700_000_000_000_000_000n
const ATTRIBUTES = { mode: 0o644, uid: 1, gid: 2 }
/** No edit of a small image takes so long, whatever the image says. */
const MOST_MILLISECONDS = 20_000

async function open(device: BlockDevice): Promise<FileSystem> {
  return openXfs(device, { writable: true, now: () => NOW })
}

/** Directories, files and attributes of every form. */
async function populate(path: string): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  const fs = await open(device)
  const make = (directory: number, name: string) => fs.create(directory, toBytes(name), ATTRIBUTES)
  for (const count of [0, 3, 12, 60, 400]) {
    const directory = await fs.mkdir(fs.root, toBytes(`dir-${count}`), ATTRIBUTES)
    for (let n = 0; n < count; n++) await make(directory, `${n}-${'x'.repeat((n * 7) % 60)}`)
    for (let n = 0; n < count; n += 5) await fs.unlink(directory, toBytes(`${n}-${'x'.repeat((n * 7) % 60)}`))
  }
  const files = await fs.mkdir(fs.root, toBytes('files'), ATTRIBUTES)
  const [one, two] = [await make(files, 'pieces'), await make(files, 'other')]
  for (let n = 0; n < 150; n++) for (const ino of [one, two]) await fs.write(ino, n * 2048, pattern(700, n))
  for (const size of [1, 5000, 300_000]) await fs.write(await make(files, `${size}`), 0, pattern(size, size))
  for (const size of [10, 200, 1000])
    await fs.symlink(files, toBytes(`link-${size}`), toBytes('t'.repeat(size)), ATTRIBUTES)
  await fs.link(one, fs.root, toBytes('linked'))
  for (const [count, size] of [
    [1, 10],
    [3, 150],
    [60, 40],
    [3, 3000],
    [40, 2000],
  ] as const) {
    const ino = await make(files, `attributes-${count}-${size}`)
    for (let n = 0; n < count; n++) await fs.setxattr(ino, `user.${n}`, pattern(size, n))
  }
  await fs.close()
  await device.close()
}

/** What xfs_repair complains of more often. */
function grown(was: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): [string, number][] {
  return [...after].filter(
    ([line, count]) => count > (was.get(line) ?? was.get(line.replace(/ leads to a free inode$/, '')) ?? 0),
  )
}

interface Case {
  readonly kind: number
  readonly which: number
  readonly mutations: readonly Mutation[]
  readonly sum: boolean
  readonly near: boolean
  readonly steps: readonly { what: number; target: number; salt: number }[]
}

const aCase: fc.Arbitrary<Case> = fc.record({
  kind: fc.nat(),
  which: fc.nat(),
  mutations: fc.array(
    fc.record({
      // Most of what decides is in the first bytes.
      place: fc.oneof(fc.nat(63), fc.nat(180), fc.nat()),
      value: fc.oneof(fc.constantFrom(1, 0x80, 0xff, 0), fc.nat(255)),
      how: fc.constantFrom('flip' as const, 'set' as const, 'add' as const),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  sum: fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  near: fc.boolean(),
  steps: fc.array(fc.record({ what: fc.nat(999), target: fc.nat(), salt: fc.nat(200) }), {
    minLength: 4,
    maxLength: 14,
  }),
})

/** What a filesystem was asked to change, in order: what it refused, and with what. */
type Refusals = Map<number, unknown>

const CHANGES = new Set(
  'write truncate create mkdir symlink mknod link unlink rmdir rename setAttributes setxattr removexattr'.split(
    ' ',
  ),
)

/** Remembers what is refused; what was refused the time before is not even asked for. */
function watched(fs: FileSystem, refused: Refusals, known: Refusals): { fs: FileSystem; calls(): number } {
  let calls = 0
  const proxy = new Proxy(fs, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return member
      if (typeof name !== 'string' || !CHANGES.has(name)) return member.bind(target)
      return async (...args: unknown[]): Promise<unknown> => {
        const call = calls++
        if (known.has(call)) throw known.get(call)
        try {
          return await member.apply(target, args)
        } catch (error) {
          refused.set(call, error)
          throw error
        }
      }
    },
  })
  return { fs: proxy, calls: () => calls }
}

/** Makes the edits; typed errors are remembered. */
async function editAll(
  device: BlockDevice,
  { steps }: Case,
  names: readonly Named[],
  known: Refusals = new Map(),
): Promise<{ log: string[]; refused: Refusals; made: number }> {
  const log: string[] = []
  const refused: Refusals = new Map()
  let made = 0
  try {
    const { fs, calls } = watched(await open(device), refused, known)
    for (const step of steps) {
      const edit = editOf(step, names)
      if (edit === undefined) continue
      const start = Date.now()
      try {
        await edit.run(fs)
        log.push(edit.title)
      } catch (error) {
        if (!isDrydiskError(error)) throw new Error(`${edit.title}: ${String(error)}`, { cause: error })
        log.push(`${edit.title}: ${error.code} ${error.message}`)
      }
      if (Date.now() - start > MOST_MILLISECONDS)
        throw new Error(`${edit.title} took ${Date.now() - start} ms`)
    }
    made = calls() - refused.size
    await fs.close()
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    log.push(`open: ${error.code} ${error.message}`)
  }
  return { log, refused, made }
}

const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'version 5, all trees': ['-b', 'size=1024', '-m', 'rmapbt=1,reflink=1,inobtcount=1', '-d', 'agcount=3'],
  'version 5 as mkfs.xfs makes it': ['-d', 'agcount=2'],
  'version 4': ['-b', 'size=1024', '-m', 'crc=0', '-d', 'agcount=3'],
  'version 4 without types and lazy counters': [
    '-b',
    'size=1024',
    '-m',
    'crc=0',
    '-n',
    'ftype=0',
    '-l',
    'lazy-count=0',
  ],
}

// Generations of inodes begin at random; the same edits have to give the same bytes here.
beforeAll(() => {
  const random = vi.spyOn(globalThis.crypto, 'getRandomValues').mockImplementation(array => array)
  return () => random.mockRestore()
})

describe.skipIf(!haveTool('mkfs.xfs'))('damaged XFS', () => {
  for (const [variant, args] of Object.entries(VARIANTS))
    describe(variant, () => {
      let whole: MemoryDevice
      let path: string
      let kinds: Structure[][]

      beforeAll(async () => {
        const folder = temporaryFolder()
        path = join(folder, 'image')
        await runOk('truncate', ['-s', '320M', path])
        await runOk('mkfs.xfs', ['-q', '-f', ...args, path])
        await populate(path)
        expect((await run('xfs_repair', ['-n', '-f', path])).status).toBe(0)
        whole = await loadSparse(path)
        const byKind = new Map<string, Structure[]>()
        for (const structure of await structuresOf(whole))
          byKind.set(structure.kind, [...(byKind.get(structure.kind) ?? []), structure])
        kinds = [...byKind.values()]
      })

      test('what Linux would not read is not built upon', async () => {
        const { sb_inodesize, sb_blocksize, dirBlockSize, isV5, hasFtype } = await readSuperblock(whole)
        const fs = await openXfs(whole)
        const directory = async (name: string) => fs.lookup(fs.root, toBytes(name))
        const create = (ino: number) => (to: FileSystem) => to.create(ino, toBytes('new'), ATTRIBUTES)
        const first = (kind: string) => kinds.flat().find(structure => structure.kind === kind)
        /** A byte changes, and an edit that needs the structure is refused. */
        const refused = async (
          structure: Structure | undefined,
          place: number,
          edit: (fs: FileSystem) => Promise<unknown>,
          message: RegExp,
        ): Promise<void> => {
          if (structure === undefined) throw new Error('there is none')
          const device = new OverlayDevice(whole)
          await damage(device, structure, [{ place, value: 0x51, how: 'set' }], true)
          const found = expect.stringMatching(message)
          await expect(edit(await open(device))).rejects.toMatchObject({
            code: 'ERR_CORRUPT',
            message: found,
          })
        }
        // The parent, in the literal area behind two counts.
        const short = await directory('dir-3')
        const inode = kinds.flat().find(({ kind, at }) => kind === 'IN' && at === short * sb_inodesize)
        await refused(inode, (isV5 ? 176 : 100) + 2, create(short), /which does not exist/)
        if (dirBlockSize === sb_blocksize) {
          // A letter of the first name in a directory of one block, whose hashes are those of the names, and where it leads.
          const single = first('XDB3')
          const view = bigEndian(new Uint8Array(dirBlockSize), 'directory')
          await whole.read(single?.at ?? 0, view.bytes)
          const data = { view, start: dirDataStart(isV5), end: blockLeafStart(view) }
          const [own, , named] = [...dirDataEntries({ corrupt: what => new Error(what) }, data, hasFtype)]
          await refused(single, (named?.offset ?? 0) + 9, create(own?.ino ?? 0), /has no hash/)
          await refused(single, (named?.offset ?? 0) + 2, create(own?.ino ?? 0), /which does not exist/)
        }
        // The right sibling of the root, which is in group 0.
        await refused(
          first(isV5 ? 'AB3B' : 'ABTB'),
          14,
          async to => to.write(await to.create(short, toBytes('new'), ATTRIBUTES), 0, pattern(5000, 1)),
          /beside it/,
        )
        await refused(first(isV5 ? 'IAB3' : 'IABT'), 14, create(short), /beside it/)
      })

      /**
       * Where no edit changed the damaged structure, and xfs_repair finds nothing once that holds again what it did, all edits were right: it only
       * counts otherwise what follows from the damage, such as runs of blocks of a file that it gave up.
       */
      async function rightWhenHealed(
        edited: BlockDevice,
        damaged: BlockDevice,
        { at, size }: Structure,
      ): Promise<boolean> {
        const read = async (device: BlockDevice): Promise<Uint8Array> => {
          const bytes = new Uint8Array(size)
          await device.read(at, bytes)
          return bytes
        }
        if (!equalBytes(await read(edited), await read(damaged))) return false
        const healed = new OverlayDevice(edited)
        await healed.write(at, await read(whole))
        await patch(path, healed, whole)
        const found = await complaintsOf(path)
        await patch(path, whole, healed)
        return found.size === 0
      }

      test('an edit that is made leaves no more for xfs_repair to complain about', async () => {
        const worse: string[] = []
        await fc.assert(
          fc.asyncProperty(aCase, async one => {
            const list = kinds[one.kind % kinds.length] ?? []
            const structure = list[one.which % list.length]
            if (structure === undefined) throw new Error('no structure')
            const damaged = new OverlayDevice(whole)
            await damage(damaged, structure, one.mutations, one.sum)
            let names: Named[] = []
            try {
              names = await namesOf(await openXfs(damaged))
            } catch (error) {
              if (!isDrydiskError(error)) throw error
            }
            const device = new OverlayDevice(damaged)
            const { log, refused, made } = await editAll(device, one, names)
            if (made === 0) return
            const where = () =>
              JSON.stringify([
                structure,
                one.mutations.map(m => `${m.place % structure.size} ${m.how} ${m.value}`),
                one.sum,
              ]) +
              '\n  ' +
              log.join('\n  ')
            // What failed has left nothing, on the volume or in memory: without it all is the same.
            if (refused.size > 0) {
              const again = new OverlayDevice(damaged)
              await editAll(again, one, names, refused)
              const [a, b] = [new Uint8Array(65_536), new Uint8Array(65_536)]
              for (const at of await piecesOf([device, again], a.length)) {
                await device.read(at, a)
                await again.read(at, b)
                if (Buffer.compare(a, b) !== 0) {
                  worse.push(
                    `a failed edit left something at ${at + a.findIndex((byte, index) => byte !== b[index])}: ${where()}`,
                  )
                  break
                }
              }
            }
            await patch(path, device, whole)
            const after = await complaintsOf(path)
            await patch(path, whole, device)
            if (after.size === 0) return
            await patch(path, damaged, whole)
            const was = await complaintsOf(path)
            await patch(path, whole, damaged)
            const more = grown(was, after)
            if (more.length > 0 && !(await rightWhenHealed(device, damaged, structure)))
              worse.push(`MORE ${JSON.stringify(more)}\n WERE ${JSON.stringify([...was])}\n ${where()}`)
          }),
          propertySettings(6),
        )
        expect(worse).toEqual([])
      })
    })
})
