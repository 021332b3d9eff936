import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { type AgfTree, agfRoot, agiRoot, type HeaderRoot } from '../../src/filesystem/xfs/btree-edit-store.ts'
import { type Dinode, FORMAT } from '../../src/filesystem/xfs/dinode.ts'
import { Inodes } from '../../src/filesystem/xfs/inodes.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { XfsVolume } from '../../src/filesystem/xfs/volume.ts'
import { type Subject, subjects } from './xfs-btree-records.ts'
import { type Walked, walkTree } from './xfs-btree-walk.ts'

/** Levels of the highest tree of each kind. */
export type Levels = Record<string, number>

const AGF_TREES: Readonly<Record<AgfTree, Subject<unknown>>> = {
  bno: subjects.bnobt as Subject<unknown>,
  cnt: subjects.cntbt as Subject<unknown>,
  rmap: subjects.rmapbt as Subject<unknown>,
  refcount: subjects.refcountbt as Subject<unknown>,
}

/** Walks all trees of a filesystem at rest by bytes (`walkTree`): those of the groups, and those of all inodes in use. */
export async function walkVolume(image: string): Promise<Levels> {
  const device = new StorageDevice(await FileStorage.open(image, 'read'))
  try {
    const volume = new XfsVolume(device, await readSuperblock(device))
    const levels: Levels = {}
    const seen = (name: string, { levels: count }: Walked<unknown>) => {
      levels[name] = Math.max(levels[name] ?? 0, count)
    }
    for (let agno = 0; agno < volume.geometry.agCount; agno++) {
      const { hasRmapbt, hasReflink, hasFinobt } = volume.superblock
      const trees: AgfTree[] = [
        'bno',
        'cnt',
        ...(hasRmapbt ? ['rmap' as const] : []),
        ...(hasReflink ? ['refcount' as const] : []),
      ]
      for (const tree of trees)
        seen(
          AGF_TREES[tree].kind.name,
          await walkGroup(volume, agno, AGF_TREES[tree], agfRoot(volume, agno, tree)),
        )
      if (hasFinobt)
        seen(
          'finobt',
          await walkGroup(volume, agno, inobtSubject(volume, 'finobt'), agiRoot(volume, agno, 'finobt')),
        )
      const chunks = await walkGroup(
        volume,
        agno,
        inobtSubject(volume, 'inobt'),
        agiRoot(volume, agno, 'inobt'),
      )
      seen('inobt', chunks)
      for (const { ir_startino, ir_free } of chunks.records)
        for (let index = 0; index < 64; index++)
          if (((ir_free >> BigInt(index)) & 1n) === 0n)
            for (const found of await walkForks(
              volume,
              volume.geometry.inodeNumber(agno, ir_startino + index),
            ))
              seen('bmbt', found)
    }
    return levels
  } finally {
    await device.close()
  }
}

const inobtSubject = ({ superblock }: XfsVolume, tree: 'inobt' | 'finobt') => {
  const { kind } = superblock.hasSparseInodes ? subjects.finobt : subjects.inobt
  const [magic, crcMagic] = tree === 'inobt' ? [0x4941_4254, 0x4941_4233] : [0x4649_4254, 0x4649_4233]
  return { ...subjects.inobt, kind: { ...kind, name: tree, magic, crcMagic } }
}

async function walkGroup<Record>(
  volume: XfsVolume,
  agno: number,
  { kind, expectedKey }: Subject<Record>,
  root: HeaderRoot,
): Promise<Walked<Record>> {
  return walkTree(kind, expectedKey, {
    superblock: volume.superblock,
    read: pointer => volume.buffers.read(volume.geometry.inAg(agno, pointer)),
    sector: pointer => volume.geometry.diskAddress(volume.geometry.inAg(agno, pointer)),
    owner: agno,
    root: await root.read(),
  })
}

async function walkForks(volume: XfsVolume, ino: number): Promise<Walked<unknown>[]> {
  const inode: Dinode = await new Inodes(volume).read(ino)
  const walked: Walked<unknown>[] = []
  for (const fork of [inode.data, inode.attributes]) {
    if (fork?.format !== FORMAT.BTREE) continue
    const { kind, expectedKey } = subjects.bmbt
    const found = await walkTree(kind, expectedKey, {
      superblock: volume.superblock,
      read: pointer => volume.buffers.read(volume.geometry.volumeBlock(pointer)),
      sector: pointer => volume.geometry.diskAddress(volume.geometry.volumeBlock(pointer)),
      owner: ino,
      root: fork.literal.bytes,
    })
    if (found.records.length !== fork.nextents)
      throw new Error(`inode ${ino} counts ${fork.nextents} extents, and has ${found.records.length}`)
    if (found.records.length <= Math.floor(fork.literal.length / 16))
      throw new Error(`inode ${ino} has a tree of ${found.records.length} extents, which fit into it`)
    walked.push(found)
  }
  return walked
}
