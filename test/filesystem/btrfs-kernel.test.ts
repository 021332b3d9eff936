import { describe, expect, test } from 'vitest'
import {
  BTRFS_VARIANTS,
  kernelTree,
  makeFullBtrfs,
  ownTree,
  withBtrfs,
  withMount,
} from '../../native-fixtures/btrfs-images.ts'
import { haveLoopMounts, haveTool, runOk } from '../support/native.ts'

const able = haveLoopMounts() && haveTool('mkfs.btrfs') && haveTool('python3') && haveTool('setfacl')

/** Linux makes up the times of a directory that stands for a subvolume (inode 2) when it is looked at. */
function withoutMadeUp(row: unknown): unknown {
  const { ino, mtime, ctime, ...rest } = row as Record<string, unknown>
  return ino === 2 ? rest : row
}

describe.skipIf(!able)('btrfs reads as the kernel does', () => {
  for (const [index, variant] of BTRFS_VARIANTS.entries())
    test(variant.name, async () => {
      const image = await makeFullBtrfs(variant, index + 1)
      const subvolumes = ['/', '/@/nested', '/snapshot', '/to/moved-here']
      const seen = new Map<string, Map<string, unknown>>()
      const label = await runOk('blkid', ['-p', '-o', 'value', '-s', 'UUID', image])
      for (const subvolume of subvolumes)
        seen.set(
          subvolume,
          await withMount(image, `ro,noatime,subvol=${subvolume}`, folder => kernelTree(folder)),
        )
      for (const [subvolume, tree] of seen)
        await withBtrfs(image, [`subvol=${subvolume}`], async fs => {
          expect(fs.subvolume.path).toBe(subvolume)
          expect(fs.uuid).toBe(label.trim())
          expect(fs.label).toBe('lab')
          const own = await ownTree(fs)
          for (const [path, row] of tree)
            expect(withoutMadeUp(own.get(path)), path).toEqual(withoutMadeUp(row))
          expect([...own.keys()].sort()).toEqual([...tree.keys()].sort())
        })
    })
})
