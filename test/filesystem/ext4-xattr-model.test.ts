import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Ext4Variant, makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import { toBytes } from '../../src/bytes/names.ts'
import { isDrydiskError } from '../../src/errors.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { checkWrittenImages, propertySettings, runOk, writes } from '../support/native.ts'

checkWrittenImages()

const VARIANTS: readonly Ext4Variant[] = [
  { name: 'in the inode and in blocks', arguments: ['-t', 'ext4', '-b', '1024'], megabytes: 8 },
  { name: 'beside inline data', arguments: ['-t', 'ext4', '-b', '1024', '-O', 'inline_data'], megabytes: 8 },
  { name: 'in blocks alone', arguments: ['-t', 'ext3', '-b', '2048', '-I', '128'], megabytes: 8 },
  {
    name: 'in inodes of their own',
    arguments: ['-t', 'ext4', '-b', '1024', '-O', 'ea_inode,inline_data,metadata_csum_seed'],
    megabytes: 16,
  },
]

const NAMES = ['user.a', 'user.bb', 'user.ccc', 'trusted.d', 'security.selinux', `user.${'n'.repeat(100)}`]

const command = fc.record({
  on: fc.nat(4),
  name: fc.constantFrom(...NAMES),
  /** `undefined` removes. */
  length: fc.option(fc.oneof(fc.nat(60), fc.nat(1200), fc.nat(9_000)), { nil: undefined }),
})

describe('attributes of random lengths', () => {
  for (const variant of VARIANTS)
    test(`${variant.name}: as a map, and unchanged where there is no room`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 120 }), async commands => {
          const image = writes(await makeExt4Image(variant), 'ext4')
          await withExt4(image, true, async fs => {
            const free = (await fs.statfs()).freeBlocks
            const directory = await fs.mkdir(fs.root, toBytes('d'), { mode: 0o755, uid: 1, gid: 2 })
            const inos: InodeNumber[] = [directory]
            for (const name of ['f', 'g', 'h'])
              inos.push(await fs.create(directory, toBytes(name), { mode: 0o644, uid: 1, gid: 2 }))
            inos.push(
              await fs.symlink(directory, toBytes('l'), toBytes('x'), { mode: 0o777, uid: 1, gid: 2 }),
            )
            const models = inos.map(() => new Map<string, Uint8Array>())
            for (const [seed, { on, name, length }] of commands.entries()) {
              const ino = inos[on] ?? 0
              const model = models[on] ?? new Map<string, Uint8Array>()
              if (on === 4 && name.startsWith('user.')) continue
              try {
                if (length === undefined) {
                  const present = model.delete(name)
                  await fs.removexattr(ino, name).then(
                    () => expect(present).toBe(true),
                    error => {
                      if (present || !isDrydiskError(error, 'ENODATA')) throw error
                    },
                  )
                } else {
                  const value = pattern(length, seed)
                  await fs.setxattr(ino, name, value)
                  model.set(name, value)
                }
              } catch (error) {
                if (!isDrydiskError(error, 'ENOSPC')) throw error
              }
              if (seed % 30 === 29) await fs.sync()
            }
            for (const [index, ino] of inos.entries()) {
              const model = models[index] ?? new Map<string, Uint8Array>()
              expect((await fs.listxattr(ino)).sort()).toEqual([...model.keys()].sort())
              for (const [name, value] of model)
                expect(Buffer.compare((await fs.getxattr(ino, name)) ?? new Uint8Array(), value)).toBe(0)
            }
            await fs.sync()
            await runOk('e2fsck', ['-fn', image])
            for (const name of ['f', 'g', 'h', 'l']) await fs.unlink(directory, toBytes(name))
            await fs.rmdir(fs.root, toBytes('d'))
            expect((await fs.statfs()).freeBlocks).toBe(free)
            await fs.close()
          })
          await runOk('e2fsck', ['-fn', image])
        }),
        propertySettings(5),
      )
    })
})
