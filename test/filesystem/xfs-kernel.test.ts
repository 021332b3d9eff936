import { describe, expect, test } from 'vitest'
import { kernelTree, ownTree } from '../../native-fixtures/btrfs-images.ts'
import { makeFullXfs, withXfs, withXfsMount, XFS_VARIANTS } from '../../native-fixtures/xfs-images.ts'
import { haveLoopMounts, haveTool, runOk } from '../support/native.ts'

const able = haveLoopMounts() && haveTool('mkfs.xfs') && haveTool('python3') && haveTool('setfacl')

/** Linux shows ACLs to the root in their stored form as well. */
function withoutStoredAcls(row: unknown): unknown {
  const { xattrs, ...rest } = row as { xattrs: Record<string, string> }
  const shown = Object.entries(xattrs).filter(([name]) => !name.startsWith('trusted.SGI_ACL_'))
  return { ...rest, xattrs: Object.fromEntries(shown) }
}

describe.skipIf(!able)('XFS reads as the kernel does', () => {
  for (const [index, variant] of XFS_VARIANTS.entries())
    test(variant.name, async () => {
      const image = await makeFullXfs(variant, index + 1)
      const uuid = (await runOk('blkid', ['-p', '-o', 'value', '-s', 'UUID', image])).trim()
      const { tree, counts } = await withXfsMount(image, 'ro,norecovery,noatime', async folder => ({
        tree: await kernelTree(folder),
        counts: (await runOk('stat', ['-f', '-c', '%b %f %c %d', folder])).split(' ').map(Number),
      }))
      await withXfs(image, async fs => {
        expect(fs.warnings).toEqual([])
        expect([fs.uuid, fs.label]).toEqual([uuid, 'lab'])
        const own = await ownTree(fs)
        for (const [path, row] of tree) expect(own.get(path), path).toEqual(withoutStoredAcls(row))
        expect([...own.keys()].sort()).toEqual([...tree.keys()].sort())
        const { blocks, overheadBlocks = 0, freeBlocks, inodes, freeInodes } = await fs.statfs()
        expect([blocks - overheadBlocks, freeBlocks, inodes, freeInodes]).toEqual(counts)
        let free = 0
        for await (const { length } of fs.freeRanges()) free += length
        expect(free).toBe(await freeByXfsDb(image))
      })
    })
})

/** What all allocation groups count free, by xfs_db's word. */
async function freeByXfsDb(image: string): Promise<number> {
  const groups = [0, 1, 2, 3].flatMap(agno => ['-c', `agf ${agno}`, '-c', 'p freeblks'])
  const text = await runOk('xfs_db', ['-r', '-c', 'sb 0', '-c', 'p blocksize', ...groups, image])
  const size = Number(/blocksize = (\d+)/.exec(text)?.[1])
  return [...text.matchAll(/freeblks = (\d+)/g)].reduce((sum, [, blocks]) => sum + size * Number(blocks), 0)
}
