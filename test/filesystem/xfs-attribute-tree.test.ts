import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { makeXfs, withXfsMount } from '../../native-fixtures/xfs-images.ts'
import type { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { DrydiskError, isDrydiskError } from '../../src/errors.ts'
import {
  emptyAttributes,
  removeAttribute,
  setAttribute,
} from '../../src/filesystem/xfs/attribute-edit/attribute-edit.ts'
import { getAttribute, listAttributes } from '../../src/filesystem/xfs/attributes.ts'
import { lookupName } from '../../src/filesystem/xfs/directory.ts'
import { addEntry } from '../../src/filesystem/xfs/directory-edit/directory-edit.ts'
import { ForkMap } from '../../src/filesystem/xfs/fork-map.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { Space, XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { loadSparse } from '../support/btrfs-damage.ts'
import { pattern } from '../support/filesystem-contract.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { expectKernelSees, expectValues, sameHash, type Values } from '../support/xfs-attributes.ts'
import { scattered, stingy, withXfsWriter, xfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

const SMALL = ['-m', 'crc=0', '-i', 'size=256', '-b', 'size=512'] as const
const RMAP = ['-b', 'size=1024', '-m', 'rmapbt=1'] as const
const b = (text: string) => new TextEncoder().encode(text)

/** An image with one empty file, `file`. */
async function makeImage(args: readonly string[]): Promise<string> {
  const image = join(temporaryFolder(), 'image')
  await makeXfs(image, 320, args)
  await withXfsWriter(image, writer =>
    inTransaction(writer, async () => {
      const root = await writer.inodes.edit(writer.volume.superblock.sb_rootino)
      const inode = await writer.inodeAllocator.allocate(root.ino, 0o100644)
      inode.di_nlink = 1
      await addEntry(writer, root, b('file'), inode.ino, 'file')
    }),
  )
  return image
}

async function fileOf({ volume, inodes }: XfsWriter): Promise<number> {
  return lookupName({ volume, inodes }, await inodes.read(volume.superblock.sb_rootino), b('file'))
}

async function set(writer: XfsWriter, ino: number, name: string, value: Uint8Array): Promise<void> {
  await inTransaction(writer, async () => setAttribute(writer, await writer.inodes.edit(ino), name, value))
}

async function remove(writer: XfsWriter, ino: number, name: string): Promise<void> {
  await inTransaction(writer, async () => removeAttribute(writer, await writer.inodes.edit(ino), name))
}

/** Whether there was space for a change. */
async function hasSpace(change: Promise<void>): Promise<boolean> {
  try {
    await change
    return true
  } catch (error) {
    if (!isDrydiskError(error, 'ENOSPC')) throw error
    return false
  }
}

const EXCHANGE = `
import os, sys
path = sys.argv[1]
for name in sorted(os.listxattr(path))[::4]: os.removexattr(path, name)
for index in range(120): os.setxattr(path, 'user.kernel-%d' % index, bytes([index]) * 500)
`

/** The kernel takes some of the attributes and adds others. */
async function exchangeByKernel(image: string, values: Values): Promise<void> {
  for (const name of [...values.keys()].sort().filter((_, index) => index % 4 === 0)) values.delete(name)
  for (let index = 0; index < 120; index++)
    values.set(`user.kernel-${index}`, new Uint8Array(500).fill(index))
  await withXfsMount(image, 'noatime', top => runOk('python3', ['-c', EXCHANGE, join(top, 'file')]))
}

/** The level of the root of a tree of attributes, as xfs_db has it; 0 where it is a leaf. */
async function levelsOf(image: string, ino: number): Promise<number> {
  const printed = await runOk('xfs_db', ['-r', '-c', `inode ${ino}`, '-c', 'ablock 0', '-c', 'p', image])
  return Number(/hdr\.level = (\d+)/.exec(printed)?.[1] ?? 0)
}

/** More than the gate has time for: 3400 attributes make three levels of nodes. */
const many = process.env.DRYDISK_RUNS !== undefined
const tools = haveTool('mkfs.xfs') && haveTool('xfs_repair') && haveTool('xfs_db')

describe.skipIf(!tools)('trees of attributes on XFS', () => {
  for (const [title, args, count, levels] of [
    ['version 4, blocks of 512 bytes', SMALL, many ? 3400 : 200, many ? 3 : 2],
    ['blocks of 1 KiB, reverse mapping', RMAP, many ? 1000 : 200, 2],
  ] as const)
    test(`thousands of attributes come and go: ${title}`, async () => {
      const image = writes(await makeImage(args), 'xfs')
      const values: Values = new Map()
      const name = (index: number) => `user.${index}-${'n'.repeat(index % 9)}`
      const contentOf = (index: number) => pattern(title.startsWith('version') ? 300 : 600, index % 251)
      const ino = await withXfsWriter(image, fileOf)
      await withXfsWriter(
        image,
        async writer => {
          for (let index = 0; index < count; index++) {
            await set(writer, ino, name(index), contentOf(index))
            values.set(name(index), contentOf(index))
          }
          await expectValues(writer, ino, values)
        },
        scattered(1),
      )
      await runOk('xfs_repair', ['-n', '-f', image])
      expect(await levelsOf(image, ino)).toBe(levels)
      if (args === RMAP && haveLoopMounts()) await exchangeByKernel(image, values)
      for (const left of [count / 2, count / 20, 3, 0]) {
        await withXfsWriter(image, async writer => {
          const names = [...values.keys()]
          for (let index = 0; values.size > left; index = (index + 7919) % names.length) {
            const name = names[index] ?? ''
            if (values.delete(name)) await remove(writer, ino, name)
          }
          await expectValues(writer, ino, values)
        })
        await runOk('xfs_repair', ['-n', '-f', image])
      }
      await withXfsWriter(image, async ({ inodes }) => {
        const inode = await inodes.read(ino)
        expect([inode.di_forkoff, inode.di_nblocks, inode.attributeExtents]).toEqual([0, 0, 0])
      })
    })

  test('names of one hash fill many leaves', async () => {
    const image = writes(await makeImage(RMAP), 'xfs')
    const values: Values = new Map()
    await withXfsWriter(image, async writer => {
      const ino = await fileOf(writer)
      const put = async (name: string, value: Uint8Array): Promise<void> => {
        await set(writer, ino, name, value)
        values.set(name, value)
      }
      // The last hash is another one, which xfs_repair before 6.5 demands.
      for (let index = 0; index < 64; index++) await put(`user.last-${index}`, pattern(30, index))
      for (let index = 0; index < 64; index++)
        await put(`user.${sameHash(index)}`, pattern(300 + index, index))
      await expectValues(writer, ino, values)
      for (let index = 0; index < 64; index += 2)
        await put(`user.${sameHash(index)}`, pattern(index * 11, index))
      await expectValues(writer, ino, values)
      for (let index = 0; index < 64; index += 3) {
        await remove(writer, ino, `user.${sameHash(index)}`)
        values.delete(`user.${sameHash(index)}`)
        await expectValues(writer, ino, values)
      }
    })
    if (haveLoopMounts()) await expectKernelSees(image, new Map([['file', values]]))
  })

  test('an attribute that finds no space changes nothing', async () => {
    const image = writes(await makeImage(SMALL), 'xfs')
    const values: Values = new Map()
    let left = 0
    const poor = (space: Space): Space => ({
      ...scattered(3)(space),
      allocate: request => {
        if (left-- <= 0) throw new DrydiskError('ENOSPC', 'nothing is left')
        return space.allocate({ ...request, wanted: request.least ?? 1 })
      },
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 40 }), fc.nat({ max: 900 }), fc.nat({ max: 3 })), { maxLength: 40 }),
        async list => {
          await withXfsWriter(
            image,
            async writer => {
              const ino = await fileOf(writer)
              for (const [index, length, space] of list) {
                left = space
                const name = `user.${index}`
                const value = pattern(length, index)
                if (await hasSpace(set(writer, ino, name, value))) values.set(name, value)
                await expectValues(writer, ino, values)
              }
            },
            poor,
          )
        },
      ),
      propertySettings(10),
    )
  })
})

const WORKS = `
import os, random, sys
path, seed = sys.argv[1], int(sys.argv[2])
random.seed(seed)
names = os.listxattr(path)
for _ in range(150):
    name = 'user.' + random.choice('abcdefgh') * random.randrange(1, 30) + str(random.randrange(12))
    if random.random() < 0.35 and names: os.removexattr(path, names.pop(random.randrange(len(names))))
    else:
        size = random.choice([3, 30, 200, 700, 3000, 20000, 65536])
        os.setxattr(path, name, random.randbytes(random.randrange(size)))
        if name not in names: names.append(name)
for name in names[random.randrange(2, 60):]: os.removexattr(path, name)
`

describe.skipIf(!tools)('attributes of a full XFS', () => {
  // A block out of the middle of the fork's only extent makes two of it, which may need a block for their tree.
  for (const [title, spread] of [
    ['in many extents are taken away', scattered(3)],
    ['in one extent are taken away where that needs no block', (space: Space) => space],
  ] as const)
    test(title, async () => {
      const image = writes(await makeImage(SMALL), 'xfs')
      const values: Values = new Map()
      let isFull = false
      const full = (space: Space): Space => ({
        ...stingy(() => 1)(space),
        allocate: async request => {
          if (isFull) throw new DrydiskError('ENOSPC', 'nothing is left')
          return spread(space).allocate(request)
        },
      })
      await withXfsWriter(
        image,
        async writer => {
          const ino = await fileOf(writer)
          for (let index = 0; index < 240; index++) {
            const value = pattern(60 + (index % 200), index)
            await set(writer, ino, `user.${index}`, value)
            values.set(`user.${index}`, value)
          }
          isFull = true
          let refused = 0
          for (let index = 0; index < 240; index++) {
            const name = `user.${(index * 67) % 240}`
            if (await hasSpace(remove(writer, ino, name))) values.delete(name)
            else refused++
            await expectValues(writer, ino, values, index % 40 === 0)
          }
          expect(refused > 0).toBe(title.includes('one extent'))
        },
        full,
      )
      await runOk('xfs_repair', ['-n', '-f', image])
      await withXfsWriter(
        image,
        async writer => {
          const ino = await fileOf(writer)
          await inTransaction(writer, async () => emptyAttributes(writer, await writer.inodes.edit(ino)))
          await expectValues(writer, ino, new Map())
        },
        full,
      )
    })
})

describe.skipIf(!tools || !haveLoopMounts())('attributes that the kernel and drydisk change by turns', () => {
  for (const args of [RMAP, ['-i', 'size=1024', '-b', 'size=2048', '-m', 'reflink=0']] as const)
    test(args.join(' '), async () => {
      const image = writes(await makeImage(args), 'xfs')
      for (let turn = 0; turn < (many ? 8 : 2); turn++) {
        await withXfsMount(image, 'noatime', top =>
          runOk('python3', ['-c', WORKS, join(top, 'file'), `${turn}`]),
        )
        const values: Values = new Map()
        await withXfsWriter(image, async writer => {
          const ino = await fileOf(writer)
          const inode = await writer.inodes.read(ino)
          for (const name of await listAttributes(writer.volume, inode))
            values.set(name, (await getAttribute(writer.volume, inode, name)) ?? b('gone'))
        })
        await expectKernelSees(image, new Map([['file', values]]))
        await withXfsWriter(image, async writer => {
          const ino = await fileOf(writer)
          for (const [index, name] of [...values.keys()].entries())
            if ((index + turn) % 3 === 0) {
              await remove(writer, ino, name)
              values.delete(name)
            } else if ((index + turn) % 3 === 1) {
              const value = pattern((index * 977) % 9000, index)
              await set(writer, ino, name, value)
              values.set(name, value)
            }
          for (let index = 0; index < 20 * turn; index++) {
            const value = pattern(index * 30, index)
            await set(writer, ino, `trusted.${turn}-${index}`, value)
            values.set(`trusted.${turn}-${index}`, value)
          }
          await expectValues(writer, ino, values)
        })
        await runOk('xfs_repair', ['-n', '-f', image])
        await expectKernelSees(image, new Map([['file', values]]))
      }
    })

  test('access control lists', async () => {
    const image = writes(await makeImage([]), 'xfs')
    // struct posix_acl_xattr_entry: tag, permissions, id.
    const acl = (...entries: [number, number, number][]) => {
      const view = new DataView(new ArrayBuffer(4 + entries.length * 8))
      view.setUint32(0, 2, true)
      for (const [index, [tag, perm, id]] of entries.entries()) {
        view.setUint16(4 + index * 8, tag, true)
        view.setUint16(6 + index * 8, perm, true)
        view.setUint32(8 + index * 8, id, true)
      }
      return new Uint8Array(view.buffer)
    }
    const none = 0xffff_ffff
    const [user, mask] = [acl([1, 6, none], [2, 5, 1000], [4, 4, none], [16, 5, none], [32, 0, none]), 0o650]
    const access = 'system.posix_acl_access'
    await withXfsWriter(image, async writer => {
      const ino = await fileOf(writer)
      await set(writer, ino, access, user)
      expect(await getAttribute(writer.volume, await writer.inodes.read(ino), access)).toEqual(user)
      expect((await writer.inodes.read(ino)).di_mode).toBe(mask)
    })
    const show =
      'import os, sys\nprint(os.getxattr(sys.argv[1], sys.argv[2]).hex(), oct(os.stat(sys.argv[1]).st_mode))'
    const shown = () =>
      withXfsMount(image, 'ro,norecovery', top => runOk('python3', ['-c', show, join(top, 'file'), access]))
    expect((await shown()).trim()).toBe(`${Buffer.from(user).toString('hex')} 0o100650`)
    await withXfsWriter(image, async writer => {
      const ino = await fileOf(writer)
      // No more than the permission bits say: nothing is stored.
      await set(writer, ino, access, acl([1, 7, none], [4, 1, none], [32, 4, none]))
      const inode = await writer.inodes.read(ino)
      expect([await listAttributes(writer.volume, inode), inode.di_mode]).toEqual([[], 0o714])
      const stored = set(writer, ino, 'trusted.SGI_ACL_FILE', b('no ACL'))
      await expect(stored).rejects.toMatchObject({ code: 'EINVAL' })
      const directories = set(writer, ino, 'system.posix_acl_default', user)
      await expect(directories).rejects.toMatchObject({ code: 'EACCES' })
    })
  })
})

describe.skipIf(!tools)('damaged attributes on XFS', () => {
  let image: MemoryDevice
  let blocks: number[] = []

  // Without checksums everything that is flipped is believed.
  beforeAll(async () => {
    const path = await makeImage(SMALL)
    await withXfsWriter(path, async writer => {
      const ino = await fileOf(writer)
      for (let index = 0; index < 200; index++)
        await set(writer, ino, `user.${index}`, pattern(index % 9 === 0 ? 900 : 90, index))
      const inode = await writer.inodes.read(ino)
      if (inode.attributes === undefined) return
      for await (const run of new ForkMap(writer.volume, inode, inode.attributes).runs(0, 1 << 20))
        if (run.block !== undefined)
          blocks.push(...Array.from({ length: run.count }, (_, index) => (run.block ?? 0) + index))
    })
    blocks = blocks.slice(0, 120)
    image = await loadSparse(path)
  })

  test('are told of, or changed, in bounded time', async () => {
    let told = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 511 }), fc.nat({ max: 255 })), {
          minLength: 1,
          maxLength: 3,
        }),
        fc.array(fc.tuple(fc.nat({ max: 210 }), fc.nat({ max: 1200 }), fc.boolean()), {
          minLength: 1,
          maxLength: 30,
        }),
        async (flips, list) => {
          const device = new OverlayDevice(image)
          for (const [which, at, byte] of flips) {
            // The heads of blocks are where most structure is.
            const offset = (blocks[which % blocks.length] ?? 0) * 512 + (which % 2 === 0 ? at % 48 : at)
            await device.write(offset, new Uint8Array([byte]))
          }
          const writer = await xfsWriter(device)
          const ino = await fileOf(writer)
          for (const [index, length, isSet] of list)
            try {
              if (isSet) await set(writer, ino, `user.${index}`, pattern(length, index))
              else await remove(writer, ino, `user.${index}`)
            } catch (error) {
              if (!isDrydiskError(error)) throw error
              if (error.code !== 'ENODATA') expect(error.code).toBe('ERR_CORRUPT')
              told++
            }
          await writer.volume.buffers.flush()
        },
      ),
      propertySettings(60),
    )
    expect(told).toBeGreaterThan(0)
  })
})
