import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  BTRFS_VARIANTS,
  kernelTree,
  makeBtrfs,
  makeFullBtrfs,
  ownTree,
  withBtrfs,
  withMount,
} from '../../native-fixtures/btrfs-images.ts'
import { probe } from '../../src/filesystem/probe.ts'
import { loadSparse } from '../support/btrfs-damage.ts'
import { haveLoopMounts, haveTool, runOk, temporaryFolder } from '../support/native.ts'

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
      const subvolumes = ['/', '/@/nested']
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

  test('usage, as statfs(2) tells it', async () => {
    const path = join(temporaryFolder(), 'image')
    for (const args of [
      ['--metadata', 'dup'],
      ['--data', 'dup'],
    ]) {
      await makeBtrfs(path, 300, args)
      const [blocks, free, available] = await withMount(path, 'rw', async folder => {
        await runOk('dd', ['if=/dev/urandom', `of=${folder}/x`, 'bs=1M', 'count=9', 'status=none'])
        await runOk('btrfs', ['filesystem', 'sync', folder])
        const text = await runOk('stat', ['-f', '-c', '%b %f %a', folder])
        return text.split(' ').map(Number)
      })
      const usage = await withBtrfs(path, [], fs => fs.statfs())
      expect(usage).toMatchObject({ blockSize: 4096, blocks, inodes: 0 })
      // What Linux keeps in reserve is not on the disk.
      expect(Math.abs(usage.freeBlocks - (free ?? 0))).toBeLessThan(2048)
      expect(Math.abs(usage.availableBlocks - (available ?? 0))).toBeLessThan(2048)
    }
  })

  test('what fsync wrote to the log tree is not shown, and is told of', async () => {
    const folder = temporaryFolder()
    const [image, dirty] = [join(folder, 'image'), join(folder, 'dirty')]
    await makeBtrfs(image, 160, [])
    await withMount(image, 'commit=300', async top => {
      await runOk('sh', ['-c', 'echo committed > "$1"/old && btrfs filesystem sync "$1"', 'sh', top])
      await runOk('sh', [
        '-c',
        'echo logged > "$1"/new && echo more >> "$1"/old && sync "$1"/new "$1"/old',
        'sh',
        top,
      ])
      await runOk('cp', ['--sparse=always', image, dirty])
    })
    expect(await probe(await loadSparse(dirty))).toMatchObject({ type: 'btrfs', needsRecovery: true })
    expect(await probe(await loadSparse(image))).toMatchObject({ type: 'btrfs', needsRecovery: false })
    const tree = await withMount(dirty, 'ro,noatime,rescue=nologreplay', kernelTree)
    await withBtrfs(dirty, [], async fs => {
      expect(fs.warnings).toEqual([expect.stringContaining('log tree is not replayed')])
      expect(await ownTree(fs)).toEqual(tree)
    })
    expect([...tree.keys()]).toEqual(['/', '/old'])
  })

  test('names of 8000 files, and a file in a thousand pieces', async () => {
    const path = join(temporaryFolder(), 'image')
    await makeBtrfs(path, 300, ['--nodesize', '4096'])
    const script = `import os,sys
os.mkdir(sys.argv[1]+'/d'); f=os.open(sys.argv[1]+'/pieces', os.O_CREAT|os.O_RDWR)
for n in range(8000): os.close(os.open(f'{sys.argv[1]}/d/name-{n}', os.O_CREAT|os.O_WRONLY))
for n in range(1000): os.pwrite(f, b'%d' % n * 900, n * 12288)`
    await withMount(path, 'rw', top => runOk('python3', ['-c', script, top]))
    const tree = await withMount(path, 'ro,noatime', kernelTree)
    await withBtrfs(path, [], async fs => {
      const own = await ownTree(fs)
      expect(own.size).toBe(8003)
      expect(own).toEqual(tree)
    })
  })
})
