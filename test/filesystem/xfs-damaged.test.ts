import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { makeFullXfs } from '../../native-fixtures/xfs-images.ts'
import { isZero } from '../../src/bytes/compare.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { storeChecksum, structureChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { loadSparse } from '../support/btrfs-damage.ts'
import { haveLoopMounts, haveTool, propertySettings } from '../support/native.ts'

const b = (text: string) => new TextEncoder().encode(text)
const TYPED = /^(ERR_CORRUPT|ERR_UNSUPPORTED|ENOENT|ENOTDIR|EINVAL|EISDIR)/

/** A structure on the volume: its place, size and where its checksum is. */
interface Structure {
  readonly at: number
  readonly size: number
  readonly crc: number
}

/** By the first bytes: 4-byte magic numbers and where the checksum is then. */
const MAGICS: Readonly<Record<string, number>> = {
  XAGF: 216,
  XAGI: 312,
  XAFL: 32,
  AB3B: 52,
  AB3C: 52,
  IAB3: 52,
  FIB3: 52,
  BMA3: 64,
  XDB3: 4,
  XDD3: 4,
  XSLM: 12,
  XARM: 12,
}

async function structures(device: MemoryDevice): Promise<Structure[]> {
  const found: Structure[] = [{ at: 0, size: 512, crc: 224 }]
  const bytes = new Uint8Array(4096)
  const add = (at: number, start: number, size: number, crc: number): void => {
    const part = bytes.subarray(start, start + size)
    const stored = new DataView(bytes.buffer, start).getUint32(crc, true)
    if (stored === structureChecksum(part, crc)) found.push({ at: at + start, size, crc })
  }
  for (let at = 0; at + 4096 <= device.size; at += 4096) {
    await device.read(at, bytes)
    if (isZero(bytes)) continue
    for (const start of [512, 1024, 1536]) {
      const crc = MAGICS[String.fromCharCode(...bytes.subarray(start, start + 4))]
      if (crc !== undefined) add(at, start, 512, crc)
    }
    const crc = MAGICS[String.fromCharCode(...bytes.subarray(0, 4))]
    const index = (bytes[8] ?? 0) * 256 + (bytes[9] ?? 0)
    if (crc !== undefined) add(at, 0, 4096, crc)
    else if ([0x3ebe, 0x3bee, 0x3df1, 0x3dff].includes(index)) add(at, 0, 4096, 12)
    else if (bytes[0] === 0x49 && bytes[1] === 0x4e && bytes[2] !== 0)
      for (let start = 0; start < 4096; start += 512) if (bytes[start + 2] !== 0) add(at, start, 512, 100)
  }
  return found
}

/** Everything that can be read is; what is thrown has to be an error of ours. */
async function tryEverything(
  device: BlockDevice,
  most = 40_000,
): Promise<{ errors: string[]; entries: number }> {
  const errors: string[] = []
  let entries = 0
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work()
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      errors.push(`${error.code} ${error.message}`)
      return undefined
    }
  }
  const fs = await attempt(() => openXfs(device))
  if (fs === undefined) return { errors, entries }
  const buffer = new Uint8Array(1 << 17)
  const met = new Set<number>()
  const visit = async (ino: number): Promise<void> => {
    if (met.has(ino)) return
    met.add(ino)
    const found: { ino: number; type: string; name: Uint8Array }[] = []
    await attempt(async () => {
      for await (const entry of fs.readdir(ino)) found.push(entry)
    })
    for (const entry of found) {
      if (++entries > most) throw new Error('the tree does not end')
      if (entries % 40 === 0) await attempt(() => fs.lookup(ino, entry.name))
      if (met.has(entry.ino)) continue
      if (entry.type === 'directory') {
        await visit(entry.ino)
        continue
      }
      met.add(entry.ino)
      await attempt(() => fs.stat(entry.ino))
      await attempt(async () => {
        for (const name of await fs.listxattr(entry.ino)) await fs.getxattr(entry.ino, name)
      })
      if (entry.type === 'symlink') await attempt(() => fs.readlink(entry.ino))
      else if (entry.type === 'file') {
        await attempt(() => fs.read(entry.ino, 0, buffer))
        await attempt(async () => {
          let runs = 0
          for await (const _ of fs.fileExtents(entry.ino)) if (++runs > most) throw new Error('no end')
        })
      }
    }
  }
  await visit(fs.root)
  await attempt(() => fs.statfs())
  await attempt(async () => {
    for await (const _ of fs.freeRanges());
  })
  return { errors, entries }
}

describe.skipIf(!haveTool('mkfs.xfs') || !haveLoopMounts() || !haveTool('setfacl'))('damaged XFS', () => {
  let whole: MemoryDevice
  let places: Structure[]
  let sound: number

  beforeAll(async () => {
    whole = await loadSparse(await makeFullXfs({ name: 'damaged', arguments: [], names: 1200 }, 3))
    places = await structures(whole)
    const { errors, entries } = await tryEverything(whole)
    expect(errors).toEqual([])
    sound = entries
    expect(sound).toBeGreaterThan(1500)
    expect(places.length).toBeGreaterThan(500)
  })

  async function changed(
    { at, size, crc }: Structure,
    change: (bytes: Uint8Array) => void,
    sum: boolean,
  ): Promise<BlockDevice> {
    const device = new OverlayDevice(whole)
    const bytes = new Uint8Array(size)
    await whole.read(at, bytes)
    change(bytes)
    if (sum) storeChecksum(bytes, crc)
    await device.write(at, bytes)
    return device
  }

  test('a flipped bit in a structure that is in use is found by its checksum', async () => {
    // One of each kind, by size and place of the checksum, and inodes here and there.
    const kinds = new Map(places.map(place => [`${place.size} ${place.crc} ${place.at % 4096}`, place]))
    let found = 0
    for (const place of kinds.values()) {
      const device = await changed(place, bytes => bytes.set([(bytes[90] ?? 0) ^ 1], 90), false)
      const { errors, entries } = await tryEverything(device)
      if (errors.length > 0) found++
      else expect(entries).toBe(sound)
      for (const error of errors) expect(error).toMatch(TYPED)
    }
    expect(found).toBeGreaterThan(kinds.size / 2)
  })

  test('anything in a structure with a right checksum: typed errors, and an end', async () => {
    const mutation = fc.record({
      // Most of what decides is in the first bytes.
      place: fc.oneof(fc.nat(180), fc.nat()),
      value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
        async (which, mutations) => {
          const place = places[which % places.length]
          if (place === undefined) throw new Error('no structure')
          const device = await changed(
            place,
            bytes => {
              for (const { place: at, value } of mutations) bytes[at % bytes.length] = value
            },
            true,
          )
          for (const error of (await tryEverything(device)).errors) expect(error).toMatch(TYPED)
        },
      ),
      propertySettings(15),
    )
  })

  const cases: Record<string, [(view: DataView) => void, string, RegExp]> = {
    'an unknown incompatible feature': [v => v.setUint32(216, 1 << 20), 'ERR_UNSUPPORTED', /0x100000/],
    'metadata directories': [v => v.setUint32(216, 1 << 8), 'ERR_UNSUPPORTED', /metadir/],
    'blocks of 3 bytes': [v => v.setUint32(4, 3), 'ERR_CORRUPT', /sb_blocksize is 3/],
    'version 6': [v => v.setUint16(100, 0xb4a6), 'ERR_UNSUPPORTED', /version 6/],
    'a million groups': [v => v.setUint32(88, 1 << 20), 'ERR_CORRUPT', /1048576 allocation groups/],
    'more blocks than its volume': [v => v.setUint32(84, 0x7fff_ffff), 'ERR_CORRUPT', /sb_agblklog/],
  }
  for (const [name, [change, code, message]] of Object.entries(cases))
    test(`a superblock with ${name}`, async () => {
      const device = await changed(
        { at: 0, size: 512, crc: 224 },
        bytes => change(new DataView(bytes.buffer)),
        true,
      )
      await expect(openXfs(device)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    })

  test('a mark that repair is needed is told of, and no space is given back', async () => {
    const device = await changed(
      { at: 0, size: 512, crc: 224 },
      bytes => {
        const view = new DataView(bytes.buffer)
        view.setUint32(216, view.getUint32(216) | 16)
      },
      true,
    )
    const fs = await openXfs(device)
    expect(fs.warnings).toEqual([expect.stringContaining('xfs_repair')])
    await expect(fs.freeRanges()[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
    })
  })

  test('opened for reading, writing is refused, and errors are those of the system calls', async () => {
    const fs = await openXfs(whole)
    const code = (wanted: string) => expect.objectContaining({ code: wanted })
    await expect(fs.write(fs.root, 0, b('x'))).rejects.toEqual(code('EROFS'))
    const kinds = await fs.lookup(fs.root, b('kinds'))
    const file = await fs.lookup(kinds, b('suid'))
    await expect(fs.lookup(fs.root, b('none'))).rejects.toEqual(code('ENOENT'))
    await expect(fs.lookup(file, b('x'))).rejects.toEqual(code('ENOTDIR'))
    await expect(fs.lookup(fs.root, new Uint8Array(256).fill(97))).rejects.toEqual(code('ENAMETOOLONG'))
    await expect(fs.read(fs.root, 0, new Uint8Array(1))).rejects.toEqual(code('EISDIR'))
    await expect(fs.readlink(file)).rejects.toEqual(code('EINVAL'))
    expect(await fs.lookup(fs.root, b('..'))).toBe(fs.root)
    expect(await fs.lookup(kinds, b('..'))).toBe(fs.root)
    expect(await fs.lookup(kinds, b('.'))).toBe(kinds)
    expect(await fs.getxattr(file, 'user.none')).toBeUndefined()
  })

  test('a volume that was cut off', async () => {
    const head = new Uint8Array(1 << 20)
    await whole.read(0, head)
    for (const part of [0, 100, 511, 512, 4096, head.length])
      await expect(openXfs(new MemoryDevice(head.subarray(0, part)))).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
      })
  })
})
