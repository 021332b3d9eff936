import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Ext4Variant, makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { DrydiskError } from '../../src/errors.ts'
import { FEATURES, type FeatureName } from '../../src/filesystem/ext4/features.ts'
import type { Ext4FileSystem } from '../../src/filesystem/ext4/filesystem.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { Superblock } from '../../src/filesystem/ext4/superblock.ts'
import { haveTool, propertySettings, runOk } from '../support/native.ts'

const MIB = 2 ** 20

/** Every mke2fs option that changes where things are or how they are read. */
type Shape = readonly [name: string, type: Ext4FileSystem['type'], megabytes: number, ...args: string[]]

const VARIANTS: readonly Shape[] = [
  ['ext2', 'ext2', 16, '-t', 'ext2'],
  ['ext2, revision 0', 'ext2', 16, '-t', 'ext2', '-r', '0', '-O', 'none'],
  ['ext3', 'ext3', 16, '-t', 'ext3'],
  ...['1024', '2048', '4096', '8192', '16384', '32768', '65536'].map(
    (size): Shape => [`${size}-byte blocks`, 'ext4', 600, '-t', 'ext4', '-b', size],
  ),
  ...['128', '256', '512', '1024'].map(
    (size): Shape => [`${size}-byte inodes`, 'ext4', 64, '-t', 'ext4', '-b', '1024', '-I', size],
  ),
  ['meta_bg', 'ext4', 300, '-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode'],
  [
    'meta_bg, 32-byte descriptors',
    'ext4',
    600,
    '-t',
    'ext4',
    '-b',
    '1024',
    '-O',
    'meta_bg,^resize_inode,^64bit',
  ],
  ['sparse_super2', 'ext4', 300, '-t', 'ext4', '-b', '1024', '-O', 'sparse_super2,^resize_inode'],
  ['no sparse_super', 'ext4', 100, '-t', 'ext4', '-b', '1024', '-O', '^sparse_super,^resize_inode'],
  ['uninit_bg', 'ext4', 100, '-t', 'ext4', '-O', '^metadata_csum,uninit_bg'],
  ['no flex_bg', 'ext4', 100, '-t', 'ext4', '-O', '^flex_bg'],
  ['flex groups of 2', 'ext4', 100, '-t', 'ext4', '-b', '1024', '-G', '2'],
  ['small groups', 'ext4', 50, '-t', 'ext4', '-b', '1024', '-g', '512'],
  ['1 GiB groups of inodes', 'ext4', 100, '-t', 'ext4', '-i', '65536'],
  ['bigalloc', 'ext4', 300, '-t', 'ext4', '-O', 'bigalloc', '-C', '65536'],
  ['bigalloc, 1 KiB blocks', 'ext4', 300, '-t', 'ext4', '-b', '1024', '-O', 'bigalloc', '-C', '8192'],
  ['metadata_csum_seed', 'ext4', 64, '-t', 'ext4', '-O', 'metadata_csum_seed'],
  ['orphan_file', 'ext4', 64, '-t', 'ext4', '-O', 'orphan_file'],
  ['quota and project', 'ext4', 64, '-t', 'ext4', '-O', 'quota,project'],
  ['casefold', 'ext4', 64, '-t', 'ext4', '-O', 'casefold'],
  ['encrypt, verity, stable_inodes', 'ext4', 64, '-t', 'ext4', '-O', 'encrypt,verity,stable_inodes'],
  ['large_dir, inline_data, ea_inode', 'ext4', 64, '-t', 'ext4', '-O', 'large_dir,inline_data,ea_inode'],
  ['mmp', 'ext4', 64, '-t', 'ext4', '-O', 'mmp'],
  ['fast_commit', 'ext4', 64, '-t', 'ext4', '-O', 'fast_commit'],
]

async function names(fs: Ext4FileSystem): Promise<string[]> {
  const out = []
  for await (const entry of fs.readdir(fs.root)) out.push(new TextDecoder().decode(entry.name))
  return out
}

describe.skipIf(!haveTool('mke2fs'))('opens what mke2fs makes', () => {
  test.each(VARIANTS.map(([name, type, megabytes, ...args]) => [name, type, megabytes, args] as const))(
    '%s',
    async (name, type, megabytes, args) => {
      const variant: Ext4Variant = { name, arguments: ['-L', 'label', ...args], megabytes }
      const image = await makeExt4Image(variant)
      const dump = await runOk('dumpe2fs', ['-h', image])
      const field = (label: string) => new RegExp(`^${label}:\\s+(.*)$`, 'm').exec(dump)?.[1]
      await withExt4(image, false, async fs => {
        expect(fs).toMatchObject({ type, label: 'label', uuid: field('Filesystem UUID'), warnings: [] })
        expect([...fs.context.superblock.features].sort()).toEqual(
          field('Filesystem features')?.replace('(none)', '').split(' ').filter(Boolean).sort(),
        )
        expect(await names(fs)).toEqual(['lost+found'])
        expect(await fs.stat(fs.root)).toMatchObject({ type: 'directory', mode: 0o755, nlink: 3 })
        const usage = await fs.statfs()
        expect(usage).toMatchObject({
          blocks: Number(field('Block count')),
          freeBlocks: Number(field('Free blocks')),
          inodes: Number(field('Inode count')),
          freeInodes: Number(field('Free inodes')),
          blockSize: Number(field('Block size')),
        })
      })
    },
  )

  test.each([
    ['bigalloc', ['-O', 'bigalloc']],
    ['quota', ['-O', 'quota']],
  ])('%s is refused for writing, by name', async (feature, args) => {
    const image = await makeExt4Image({ name: feature, arguments: ['-t', 'ext4', ...args], megabytes: 64 })
    await expect(withExt4(image, true, fs => fs.close())).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining(feature),
    })
  })

  test('an external journal is no filesystem', async () => {
    const image = await makeExt4Image({
      name: 'journal',
      arguments: ['-O', 'journal_dev', '-b', '4096'],
      megabytes: 64,
    })
    await expect(withExt4(image, false, fs => fs.close())).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('journal_dev'),
    })
  })
})

/** A small filesystem of our own making, as bytes. */
async function image(features: readonly string[] = [], bytes = 4 * MIB): Promise<Uint8Array> {
  const device = new MemoryDevice(bytes)
  await makeExt4(device, { features, now: () => 1_700_000_000_000_000_000n })
  const content = new Uint8Array(bytes)
  await device.read(0, content)
  return content
}

/** Changes the superblock of an image, with a right checksum afterwards. */
function withSuperblock(bytes: Uint8Array, change: (superblock: Superblock) => void): Uint8Array {
  const copy = bytes.slice()
  const superblock = new Superblock(copy.subarray(1024, 2048))
  change(superblock)
  superblock.updateChecksum()
  return copy
}

describe('features', () => {
  const refused: FeatureName[] = ['compression', 'journal_dev', 'dirdata']
  test.each(refused)('%s is refused by name', async feature => {
    const bytes = withSuperblock(await image(), superblock => superblock.setFeature(feature, true))
    await expect(openExt4(new MemoryDevice(bytes))).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining(feature),
    })
  })

  const readOnly: FeatureName[] = [
    'quota',
    'bigalloc',
    'read-only',
    'shared_blocks',
    'has_snapshot',
    'replica',
  ]
  test.each(readOnly.filter(feature => feature !== 'bigalloc'))('%s is read, not written', async feature => {
    const bytes = withSuperblock(await image(), superblock => superblock.setFeature(feature, true))
    expect(await names(await openExt4(new MemoryDevice(bytes)))).toEqual(['lost+found'])
    await expect(openExt4(new MemoryDevice(bytes), { writable: true })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining(feature),
    })
  })

  test('every incompatible bit without a name is refused by its number', async () => {
    const base = await image()
    const known = new Set<number>()
    for (const [set, bit] of Object.values(FEATURES)) if (set === 'incompat') known.add(bit)
    for (let bit = 0; bit < 32; bit++) {
      if (known.has(2 ** bit)) continue
      const bytes = withSuperblock(base, ({ bytes: raw }) => {
        raw[0x60 + (bit >> 3)] = (raw[0x60 + (bit >> 3)] ?? 0) | (1 << (bit & 7))
      })
      await expect(openExt4(new MemoryDevice(bytes))).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining(`FEATURE_I${bit}`),
      })
    }
  })

  test('an unknown read-only compatible bit is read, not written', async () => {
    const bytes = withSuperblock(await image(), ({ bytes: raw }) => {
      raw[0x67] = 0x80
    })
    expect(await names(await openExt4(new MemoryDevice(bytes)))).toEqual(['lost+found'])
    await expect(openExt4(new MemoryDevice(bytes), { writable: true })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('FEATURE_R31'),
    })
  })
})

describe('states', () => {
  test('marked as having errors: a warning', async () => {
    const bytes = withSuperblock(await image(), superblock => {
      superblock.s_state |= 2
    })
    const { warnings } = await openExt4(new MemoryDevice(bytes))
    expect(warnings).toEqual([expect.stringContaining('errors')])
  })

  test('no journal and not cleanly unmounted: a warning', async () => {
    const bytes = withSuperblock(await image(['^has_journal']), superblock => {
      superblock.s_state = 0
    })
    expect((await openExt4(new MemoryDevice(bytes))).warnings).toEqual([expect.stringContaining('cleanly')])
  })

  test('a read-only device cannot be opened for writing', async () => {
    const device = new MemoryDevice(await image(), { writable: false })
    await expect(openExt4(device, { writable: true })).rejects.toMatchObject({ code: 'EROFS' })
    expect((await openExt4(device)).writable).toBe(false)
  })

  test('changes are refused when opened for reading', async () => {
    const fs = await openExt4(new MemoryDevice(await image()))
    const attributes = { mode: 0o644, uid: 0, gid: 0 }
    const name = Uint8Array.of(0x61)
    for (const change of [
      () => fs.create(fs.root, name, attributes),
      () => fs.mkdir(fs.root, name, attributes),
      () => fs.setAttributes(fs.root, { mode: 0 }),
      () => fs.write(fs.root, 0, name),
      () => fs.setxattr(fs.root, 'user.x', name),
    ])
      await expect(change()).rejects.toMatchObject({ code: 'EROFS' })
    await fs.close()
  })

  test('opening for writing and closing changes no byte', async () => {
    const bytes = await image(['orphan_file'])
    const device = new MemoryDevice(bytes.slice())
    await (await openExt4(device, { writable: true })).close()
    const after = new Uint8Array(bytes.length)
    await device.read(0, after)
    expect(Buffer.compare(after, bytes)).toBe(0)
  })

  test('what is no ext filesystem', async () => {
    for (const size of [0, 100, 1024, 2047, 2048, 1 * MIB]) {
      await expect(openExt4(new MemoryDevice(size))).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    }
  })

  test('a volume cut short', async () => {
    const bytes = await image()
    await expect(openExt4(new MemoryDevice(bytes.subarray(0, 3 * MIB)))).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringContaining('s_blocks_count'),
    })
  })
})

/** Opens and uses all of a damaged filesystem: only typed errors may come, and in a bounded time. */
async function survives(bytes: Uint8Array): Promise<void> {
  const typed = async (use: () => Promise<unknown>): Promise<void> => {
    try {
      await use()
    } catch (error) {
      if (!(error instanceof DrydiskError)) throw error
    }
  }
  for (const writable of [false, true])
    await typed(async () => {
      const fs = await openExt4(new MemoryDevice(bytes.slice()), { writable })
      await typed(() => names(fs))
      await typed(() => fs.statfs())
      if (!writable) return
      const attributes = { mode: 0o644, uid: 0, gid: 0 }
      await typed(async () => {
        const ino = await fs.create(fs.root, new TextEncoder().encode('new'), attributes)
        await fs.write(ino, 0, new Uint8Array(40_000))
      })
      await typed(() => fs.mkdir(fs.root, new TextEncoder().encode('folder'), attributes))
      await typed(() => fs.sync())
    })
}

describe('damage', () => {
  const shapes: readonly (readonly [string, readonly string[]])[] = [
    ['with checksums', []],
    ['without checksums', ['^metadata_csum']],
    ['old', ['^metadata_csum', '^64bit', '^flex_bg', '^extent', '^has_journal']],
  ]

  test.each(shapes)('every bit of the superblock: %s', async (_, features) => {
    const base = await image(features, 1 * MIB)
    // All of them take minutes: a spread of them by default.
    const stride = Number(process.env.DRYDISK_RUNS ?? 0) >= 1000 ? 1 : 19
    for (let index = 0; index < 0x290 * 8; index += stride) {
      const at = index >> 3
      const bit = index & 7
      // s_last_mounted means nothing.
      if (at >= 0x88 && at < 0xc8) continue
      const copy = base.slice()
      copy[1024 + at] = (copy[1024 + at] ?? 0) ^ (1 << bit)
      // With a checksum the damage is to be found by it, and then by what it means.
      if (features.length === 0) {
        const text = await openExt4(new MemoryDevice(copy)).then(
          () => 'opened',
          (error: DrydiskError) => error.code,
        )
        expect(['ERR_CORRUPT', 'ERR_UNSUPPORTED']).toContain(at === 0x65 && bit === 2 ? 'ERR_CORRUPT' : text)
        new Superblock(copy.subarray(1024, 2048)).updateChecksum()
      }
      await survives(copy)
    }
  })

  test.each(shapes)('any bytes of superblock and descriptors: %s', async (_, features) => {
    const base = await image(features, 1 * MIB)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 1024, max: 4096 }), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        async edits => {
          const copy = base.slice()
          for (const [at, value] of edits) copy[at] = value
          new Superblock(copy.subarray(1024, 2048)).updateChecksum()
          await survives(copy)
        },
      ),
      propertySettings(40),
    )
  })

  test('a descriptor whose checksum is wrong keeps from writing only', async () => {
    const bytes = await image()
    bytes[2048 + 0x10] = 77
    expect(await names(await openExt4(new MemoryDevice(bytes)))).toEqual(['lost+found'])
    await expect(openExt4(new MemoryDevice(bytes), { writable: true })).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringContaining('group 0'),
    })
  })

  test('an inode whose checksum is wrong', async () => {
    const bytes = await image()
    const fs = await openExt4(new MemoryDevice(bytes))
    const [block, offset] = await fs.context.inodeStore.place(11)
    bytes[block * 1024 + offset + 0x18] = 9
    await expect((await openExt4(new MemoryDevice(bytes))).stat(11)).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
      message: expect.stringContaining('inode 11'),
    })
  })

  test.each([0, -1, 1.5, 4_000_000_000, Number.NaN])('there is no inode %d', async ino => {
    const fs = await openExt4(new MemoryDevice(await image()))
    await expect(fs.stat(ino)).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  })
})

test.skipIf(!haveTool('mke2fs'))('multiple mount protection in use is refused for writing', async () => {
  const path = await makeExt4Image({ name: 'mmp', arguments: ['-t', 'ext4', '-O', 'mmp'], megabytes: 64 })
  await withExt4(path, true, fs => fs.close())
  const bytes = new Uint8Array(await readFile(path))
  const block = new Superblock(bytes.subarray(1024, 2048)).s_mmp_block
  const size = 1024 << new Superblock(bytes.subarray(1024, 2048)).s_log_block_size
  bytes.set([0x11, 0x22, 0x33, 0x00], block * size + 4)
  await expect(openExt4(new MemoryDevice(bytes), { writable: true })).rejects.toMatchObject({
    code: 'ERR_IN_USE',
  })
  expect(await names(await openExt4(new MemoryDevice(bytes)))).toEqual(['lost+found'])
})
