import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { BTRFS_VARIANTS, makeBtrfs, makeFullBtrfs } from '../../native-fixtures/btrfs-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { openBtrfs } from '../../src/filesystem/btrfs/open.ts'
import { SUPERBLOCK_SIZE, SUPERBLOCKS_AT } from '../../src/filesystem/btrfs/superblock.ts'
import { type Damageable, damageable, tryEverything, withChange } from '../support/btrfs-damage.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { haveLoopMounts, haveTool, propertySettings, temporaryFolder } from '../support/native.ts'

const b = (text: string) => new TextEncoder().encode(text)
const SUPER = SUPERBLOCKS_AT[0]

/** A small image that mkfs.btrfs fills by itself. */
async function small(args: readonly string[]): Promise<string> {
  const folder = temporaryFolder()
  const source = join(folder, 'source')
  mkdirSync(join(source, 'd/e/f'), { recursive: true })
  for (let n = 0; n < 120; n++) writeFileSync(join(source, `d/file-${n}`), pattern(n * 17, n))
  writeFileSync(join(source, 'big'), pattern(200_000))
  symlinkSync('big', join(source, 'link'))
  const image = join(folder, 'image')
  await makeBtrfs(image, 160, ['--nodesize', '4096', ...args, '--rootdir', source, '--shrink'])
  return image
}

const MUTATIONS = fc.array(
  fc.record({
    // Half of what is changed is in the header and the first items.
    place: fc.oneof(fc.integer({ min: 0, max: 400 }), fc.nat()),
    value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
  }),
  { minLength: 1, maxLength: 4 },
)

describe.skipIf(!haveTool('mkfs.btrfs'))('damaged btrfs', () => {
  let single: Damageable
  let twice: Damageable
  let sound = 0
  beforeAll(async () => {
    single = await damageable(await small(['--metadata', 'single', '--data', 'single']))
    twice = await damageable(await small(['--mixed', '--metadata', 'dup', '--data', 'dup']))
    const { errors, entries } = await tryEverything(single.device)
    expect(errors).toEqual([])
    expect(entries).toBe(125)
    sound = entries
    expect((await tryEverything(twice.device)).errors).toEqual([])
  })

  test('a wrong checksum in any metadata block is found, or the block is not in use', async () => {
    let found = 0
    for (const at of single.blocks) {
      const byte = new Uint8Array(1)
      await single.device.read(at + 200, byte)
      await single.device.write(
        at + 200,
        byte.map(value => value ^ 1),
      )
      const { errors, entries } = await tryEverything(single.device)
      await single.device.write(at + 200, byte)
      if (errors.length > 0) found++
      else expect(entries).toBe(sound)
      for (const error of errors) expect(error).toMatch(/^ERR_CORRUPT/)
    }
    expect(found).toBeGreaterThan(5)
  })

  test('of two copies the right one is read: metadata and data', async () => {
    // Each block that is there twice loses one copy, the first, then the second.
    const copies = new Map<string, number[]>()
    const bytes = new Uint8Array(twice.nodesize)
    for (const at of twice.blocks) {
      await twice.device.read(at, bytes)
      const key = Buffer.from(bytes).toString('latin1')
      copies.set(key, [...(copies.get(key) ?? []), at])
    }
    const pairs = [...copies.values()].filter(places => places.length === 2)
    expect(pairs.length).toBeGreaterThan(5)
    for (const which of [0, 1]) {
      const lost: [number, Uint8Array][] = []
      for (const places of pairs) {
        const at = places[which] ?? 0
        const before = new Uint8Array(twice.nodesize)
        await twice.device.read(at, before)
        lost.push([at, before])
        await twice.device.write(at, new Uint8Array(twice.nodesize).fill(which * 255))
      }
      const { errors, entries } = await tryEverything(twice.device)
      for (const [at, before] of lost) await twice.device.write(at, before)
      expect(errors).toEqual([])
      expect(entries).toBe(sound)
    }
  })

  test('data is held against its checksum: the other copy, or an error that names the place', async () => {
    for (const [image, mends] of [
      [single, false],
      [twice, true],
    ] as const) {
      const fs = await openBtrfs(image.device)
      const ino = await fs.lookup(fs.root, b('big'))
      let at = 70_001
      for await (const extent of fs.fileExtents(ino)) if (extent.offset === 0) at += extent.deviceOffset ?? 0
      const byte = new Uint8Array(1)
      await image.device.read(at, byte)
      expect(byte[0]).toBe(pattern(200_000)[70_001])
      await image.device.write(
        at,
        byte.map(value => value ^ 4),
      )
      const into = new Uint8Array(200_000)
      if (mends) {
        expect(await fs.read(ino, 0, into)).toBe(200_000)
        expect(Buffer.compare(into, pattern(200_000))).toBe(0)
      } else {
        await expect(fs.read(ino, 0, into)).rejects.toMatchObject({
          code: 'ERR_CORRUPT',
          message: expect.stringContaining('wrong checksum'),
          context: { offset: at - (at % 4096) },
        })
        expect(await fs.read(ino, 80_001, into.subarray(0, 50_000))).toBe(50_000)
        expect(Buffer.compare(into.subarray(0, 50_000), pattern(200_000).subarray(80_001, 130_001))).toBe(0)
      }
      await image.device.write(at, byte)
    }
  })

  test('anything in a metadata block with a right checksum: typed errors, and an end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), MUTATIONS, async (which, mutations) => {
        const at = single.blocks[which % single.blocks.length] ?? 0
        await withChange(
          single,
          at,
          single.nodesize,
          bytes => {
            for (const { place, value } of mutations) bytes[32 + (place % (bytes.length - 32))] = value
          },
          async device => {
            for (const error of (await tryEverything(device)).errors)
              expect(error).toMatch(/^(ERR_CORRUPT|ERR_UNSUPPORTED|ENOENT|ENOTDIR|EINVAL|EISDIR)/)
          },
        )
      }),
      propertySettings(150),
    )
  })

  test('anything in the superblock with a right checksum', async () => {
    await fc.assert(
      fc.asyncProperty(MUTATIONS, async mutations => {
        await withChange(
          single,
          SUPER,
          SUPERBLOCK_SIZE,
          bytes => {
            for (const { place, value } of mutations) bytes[0x38 + (place % 0x400)] = value
          },
          async device => void (await tryEverything(device)),
        )
      }),
      propertySettings(150),
    )
  })

  test('a volume that was cut off', async () => {
    const whole = single.device.toBytes()
    for (const part of [0, 65_535, 65_536, 69_632, 1 << 20, 5 << 20, whole.length - 4096])
      await expect(openBtrfs(new MemoryDevice(whole.subarray(0, part)))).rejects.toMatchObject({
        code: 'ERR_CORRUPT',
      })
    // The superblock may say less than its chunks do.
    await withChange(
      single,
      SUPER,
      SUPERBLOCK_SIZE,
      bytes => new DataView(bytes.buffer).setUint32(0xd1, 1 << 20, true),
      async device => {
        const bytes = new Uint8Array(SUPERBLOCK_SIZE)
        await device.read(SUPER, bytes)
        for (const part of [1 << 20, 2 << 20, 5 << 20, 9 << 20, whole.length - 4096]) {
          const cut = new MemoryDevice(whole.subarray(0, part))
          await cut.write(SUPER, bytes)
          for (const error of (await tryEverything(cut)).errors) expect(error).toMatch(/^ERR_CORRUPT/)
        }
      },
    )
  })

  const cases: Record<string, [(view: DataView) => void, string, RegExp]> = {
    'an unknown feature': [v => v.setUint32(0xbc + 4, 1 << 8, true), 'ERR_UNSUPPORTED', /incompat bit 40/],
    'extent-tree-v2': [v => v.setUint32(0xbc, 1 << 13, true), 'ERR_UNSUPPORTED', /extent-tree-v2/],
    'raid-stripe-tree': [v => v.setUint32(0xbc, 1 << 14, true), 'ERR_UNSUPPORTED', /raid-stripe-tree/],
    'two devices': [v => v.setUint32(0x88, 2, true), 'ERR_UNSUPPORTED', /2 devices/],
    'a checksum type': [v => v.setUint16(0xc4, 9, true), 'ERR_UNSUPPORTED', /checksums of type 9/],
    'a metadata dump': [v => v.setUint32(0x3c, 2, true), 'ERR_UNSUPPORTED', /metadata dump/],
    'a change of UUID under way': [v => v.setUint32(0x3c, 8, true), 'ERR_UNSUPPORTED', /btrfstune/],
    'a sector size of 3': [v => v.setUint32(0x90, 3, true), 'ERR_CORRUPT', /sectorsize is 3/],
    'a node size of 1 GiB': [v => v.setUint32(0x94, 1 << 30, true), 'ERR_CORRUPT', /nodesize is/],
    'a chunk array that is too long': [v => v.setUint32(0xa0, 4000, true), 'ERR_CORRUPT', /sys_chunk_array/],
    'a level of 9': [v => v.setUint8(0xc6, 9), 'ERR_CORRUPT', /level 9/],
  }
  for (const [name, [change, code, message]] of Object.entries(cases))
    test(`a superblock with ${name}`, async () => {
      await withChange(
        single,
        SUPER,
        SUPERBLOCK_SIZE,
        bytes => change(new DataView(bytes.buffer)),
        async device => {
          await expect(openBtrfs(device)).rejects.toMatchObject({
            code,
            message: expect.stringMatching(message),
          })
        },
      )
    })

  test('a log tree is told of, and not replayed', async () => {
    await withChange(
      single,
      SUPER,
      SUPERBLOCK_SIZE,
      bytes => new DataView(bytes.buffer).setUint32(0x60, 4096, true),
      async device => {
        expect((await openBtrfs(device)).warnings).toEqual([
          expect.stringContaining('log tree is not replayed'),
        ])
      },
    )
  })

  test('writing is refused by name', async () => {
    await expect(openBtrfs(single.device, { writable: true })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('btrfs'),
    })
    const fs = await openBtrfs(single.device)
    expect(fs.writable).toBe(false)
    for (const change of [
      fs.write(fs.root, 0, b('x')),
      fs.create(fs.root, b('x'), { mode: 0, uid: 0, gid: 0 }),
      fs.unlink(fs.root, b('big')),
      fs.setxattr(fs.root, 'user.x', b('x')),
    ])
      await expect(change).rejects.toMatchObject({ code: 'EROFS' })
  })

  test('errors are those of the system calls', async () => {
    const fs = await openBtrfs(single.device)
    const file = await fs.lookup(fs.root, b('big'))
    const link = await fs.lookup(fs.root, b('link'))
    const code = (wanted: string) => expect.objectContaining({ code: wanted })
    await expect(fs.lookup(fs.root, b('none'))).rejects.toEqual(code('ENOENT'))
    await expect(fs.lookup(file, b('x'))).rejects.toEqual(code('ENOTDIR'))
    await expect(fs.lookup(fs.root, new Uint8Array(256).fill(97))).rejects.toEqual(code('ENAMETOOLONG'))
    await expect(fs.readdir(file)[Symbol.asyncIterator]().next()).rejects.toEqual(code('ENOTDIR'))
    await expect(fs.read(fs.root, 0, new Uint8Array(1))).rejects.toEqual(code('EISDIR'))
    await expect(fs.read(link, 0, new Uint8Array(1))).rejects.toEqual(code('EINVAL'))
    await expect(fs.readlink(file)).rejects.toEqual(code('EINVAL'))
    expect(await fs.lookup(fs.root, b('..'))).toBe(fs.root)
    expect(await fs.lookup(fs.root, b('.'))).toBe(fs.root)
    expect(await fs.read(file, 200_000, new Uint8Array(5))).toBe(0)
    expect(await fs.read(file, 199_998, new Uint8Array(5))).toBe(2)
    expect(await fs.getxattr(file, 'user.none')).toBeUndefined()
    for (const options of [['subvol=none'], ['subvol=d'], ['subvolid=999']])
      await expect(openBtrfs(single.device, { mountOptions: options })).rejects.toEqual(code('ENOENT'))
    expect((await openBtrfs(single.device, { mountOptions: ['subvolid=0'] })).subvolume.path).toBe('/')
  })
})

describe.skipIf(!haveTool('mkfs.btrfs') || !haveLoopMounts())(
  'damaged btrfs with subvolumes and compression',
  () => {
    test('anything in a metadata block with a right checksum', async () => {
      const [, variant] = BTRFS_VARIANTS
      if (!variant) throw new Error('no variant')
      const image = await damageable(await makeFullBtrfs(variant, 7))
      await fc.assert(
        fc.asyncProperty(fc.nat(), MUTATIONS, async (which, mutations) => {
          const at = image.blocks[which % image.blocks.length] ?? 0
          await withChange(
            image,
            at,
            image.nodesize,
            bytes => {
              for (const { place, value } of mutations) bytes[32 + (place % (bytes.length - 32))] = value
            },
            async device => {
              for (const error of (await tryEverything(device)).errors)
                expect(error).toMatch(/^(ERR_CORRUPT|ERR_UNSUPPORTED|ENOENT|ENOTDIR|EINVAL|EISDIR)/)
            },
          )
        }),
        propertySettings(5),
      )
    })
  },
)
