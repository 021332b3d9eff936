import { truncateSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { run } from './native.ts'

/** Options of mke2fs that decide the shape of a filesystem; not every mix of them is one that mke2fs makes. */
export interface RandomShape {
  readonly kilobytes: number
  readonly options: readonly string[]
  /** For tune2fs -E: how names are hashed from now on. */
  readonly hash: string | undefined
}

/** Features that may be on or off in a filesystem that is written to. */
const TOGGLES = [
  'ext_attr',
  'resize_inode',
  'dir_index',
  'filetype',
  'extent',
  '64bit',
  'flex_bg',
  'meta_bg',
  'sparse_super',
  'sparse_super2',
  'large_file',
  'huge_file',
  'dir_nlink',
  'extra_isize',
  'metadata_csum',
  'metadata_csum_seed',
  'uninit_bg',
  'inline_data',
  'large_dir',
  'ea_inode',
  'orphan_file',
  'fast_commit',
] as const

/** Shapes that mke2fs refuses are refused here by the test: `makeRandom` says so. */
export const randomShape: fc.Arbitrary<RandomShape> = fc
  .record({
    type: fc.constantFrom('ext2', 'ext3', 'ext4', 'ext4', 'ext4'),
    blockSize: fc.constantFrom(1024, 1024, 2048, 4096),
    inodeSize: fc.constantFrom(128, 256, 256, 512, 1024),
    toggles: fc.uniqueArray(fc.tuple(fc.constantFrom(...TOGGLES), fc.boolean()), {
      selector: ([name]) => name,
      maxLength: 6,
    }),
    blocksPerGroup: fc.option(fc.constantFrom(256, 512, 1024, 2048, 8192), { nil: undefined, freq: 2 }),
    groupsPerFlex: fc.constantFrom(undefined, 1, 2, 4, 64),
    inodes: fc.constantFrom(undefined, 64, 128, 600, 4000),
    journal: fc.constantFrom(undefined, undefined, 4, 8),
    megabytes: fc.constantFrom(6, 16, 24, 40),
    reserved: fc.constantFrom(0, 5),
    hash: fc.constantFrom(undefined, 'legacy', 'half_md4', 'tea'),
  })
  .map(shape => {
    const options = ['-t', shape.type, '-b', `${shape.blockSize}`, '-m', `${shape.reserved}`]
    options.push('-I', `${Math.min(shape.inodeSize, shape.blockSize)}`)
    if (shape.toggles.length > 0)
      options.push('-O', shape.toggles.map(([name, on]) => (on ? name : `^${name}`)).join(','))
    if (shape.blocksPerGroup !== undefined)
      options.push('-g', `${Math.min(shape.blocksPerGroup, shape.blockSize * 8)}`)
    if (shape.groupsPerFlex !== undefined) options.push('-G', `${shape.groupsPerFlex}`)
    if (shape.inodes !== undefined) options.push('-N', `${shape.inodes}`)
    if (shape.journal !== undefined && shape.type !== 'ext2') options.push('-J', `size=${shape.journal}`)
    return { kilobytes: shape.megabytes * 1024, options, hash: shape.hash }
  })

/** Makes the image; `false` where mke2fs or e2fsck say that there is no such filesystem. */
export async function makeRandom(path: string, shape: RandomShape): Promise<boolean> {
  writeFileSync(path, '')
  truncateSync(path, shape.kilobytes * 1024)
  if ((await run('mke2fs', ['-q', '-F', ...shape.options, path])).status !== 0) return false
  if (shape.hash !== undefined) await run('tune2fs', ['-E', `hash_alg=${shape.hash}`, path])
  return (await run('e2fsck', ['-fn', path])).status === 0
}
