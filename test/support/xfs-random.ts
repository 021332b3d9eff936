import fc from 'fast-check'
import { run, runOk } from './native.ts'

/** Options of mkfs.xfs that decide the shape of a filesystem; not every mix of them is one that mkfs.xfs makes. */
export interface XfsShape {
  readonly isV5: boolean
  readonly blockSize: number
  readonly options: readonly string[]
  /** It has another UUID than its metadata (metauuid of version 5). */
  readonly renamed: boolean
}

const toggle = fc.integer({ min: 0, max: 1 })

/** Every switch that mkfs.xfs 6.1 has. What it refuses is refused here by the test: `makeXfsShape` says so. */
export const xfsShape: fc.Arbitrary<XfsShape> = fc
  .record({
    isV5: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
    blockSize: fc.constantFrom(512, 1024, 1024, 2048, 4096, 4096, 4096, 16_384, 65_536),
    sectorSize: fc.constantFrom(512, 512, 4096),
    inodeSize: fc.constantFrom(256, 512, 512, 1024, 2048),
    directorySize: fc.constantFrom(4096, 4096, 8192, 65_536),
    groups: fc.constantFrom(1, 2, 4, 8, 17),
    finobt: toggle,
    rmapbt: toggle,
    reflink: toggle,
    inobtcount: toggle,
    bigtime: toggle,
    sparse: toggle,
    nrext64: toggle,
    lazy: toggle,
    ftype: toggle,
    attr: fc.constantFrom(1, 2, 2),
    projid32: toggle,
    ascii: fc.constantFrom(false, false, false, true),
    renamed: fc.boolean(),
  })
  .map(shape => {
    const { isV5, blockSize, sectorSize, groups, finobt, bigtime, sparse, nrext64 } = shape
    const block = isV5 ? Math.max(1024, blockSize) : blockSize
    const inode = Math.min(isV5 ? Math.max(512, shape.inodeSize) : shape.inodeSize, block / 2)
    const metadata = isV5
      ? [`crc=1,finobt=${finobt},rmapbt=${shape.rmapbt},reflink=${shape.reflink},bigtime=${bigtime}`]
      : ['crc=0,finobt=0,rmapbt=0,reflink=0,bigtime=0,inobtcount=0']
    if (isV5) metadata.push(`inobtcount=${finobt & shape.inobtcount}`)
    const names = [`size=${Math.max(block, shape.directorySize)}`, ...(isV5 ? [] : [`ftype=${shape.ftype}`])]
    if (shape.ascii) names.push('version=ci')
    const inodes = [`size=${inode}`, ...(isV5 ? [`sparse=${sparse},nrext64=${nrext64}`] : ['sparse=0'])]
    if (!isV5) inodes.push(`attr=${shape.attr},projid32bit=${shape.projid32}`)
    const options = ['-b', `size=${block}`, '-s', `size=${Math.min(sectorSize, block)}`]
    options.push('-m', metadata.join(','), '-n', names.join(','), '-i', inodes.join(','))
    options.push('-d', `agcount=${groups}`)
    if (!isV5) options.push('-l', `lazy-count=${shape.lazy}`)
    return { isV5, blockSize: block, options, renamed: shape.renamed }
  })

/** Makes the image; `false` where mkfs.xfs or xfs_repair say that there is no such filesystem. */
export async function makeXfsShape(
  path: string,
  megabytes: number,
  { options, renamed }: XfsShape,
): Promise<boolean> {
  await run('truncate', ['-s', '0', path])
  await run('truncate', ['-s', `${megabytes}M`, path])
  if ((await run('mkfs.xfs', ['-q', '-f', ...options, path])).status !== 0) return false
  if (renamed) await runOk('xfs_admin', ['-U', 'generate', path])
  return (await run('xfs_repair', ['-n', '-f', path])).status === 0
}
