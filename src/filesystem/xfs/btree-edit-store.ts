import type { ByteView } from '../../bytes/byte-view.ts'
import type { Agf } from './agf.ts'
import type { Agi } from './agi.ts'
import type { BtreeKind } from './btree-kinds.ts'
import type { VolumeBlock } from './geometry.ts'
import { after, type Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

/**
 * Gives a tree its blocks and takes them back. Pointers are as the tree has them: block numbers in the allocation group, or
 * (bmbt) filesystem block numbers.
 *
 * Both are called in the middle of a change. They may change other trees, the headers of allocation groups and the inode's
 * core, but may neither read nor change the tree that calls them. Counters of the tree's blocks (agf_btreeblks,
 * agf_rmap_blocks, agi_iblocks, di_nblocks, …) are theirs to keep.
 */
export interface BlockSource {
  /** @param near a block of the same tree. */
  allocateBlock(near: number): Promise<number>
  freeBlock(pointer: number): Promise<void>
}

/** Root and levels in the header of an allocation group: one level when the root is a leaf. */
export interface TreeRoot {
  readonly pointer: number
  readonly levels: number
}

export interface HeaderRoot {
  readonly in: 'header'
  read(): Soon<TreeRoot>
  write(root: TreeRoot): Promise<void>
}

/** The root is in an inode, and never a leaf. */
export interface InodeRoot {
  readonly in: 'inode'
  /** The fork's literal area, of an inode that is open for change when the tree is changed. */
  literal(): ByteView
}

/** Where one tree lives. */
export interface TreeStore<Record> {
  readonly volume: XfsVolume
  readonly kind: BtreeKind<Record>
  /** bb_owner: the allocation group, or the inode. */
  readonly owner: number
  readonly root: HeaderRoot | InodeRoot
  readonly blocks: BlockSource
  volumeBlock(pointer: number): VolumeBlock
}

/** In the AGF: of free space by block, by length, of the reverse mapping, of reference counts. */
export type AgfTree = 'bno' | 'cnt' | 'rmap' | 'refcount'

export function agfRoot(volume: XfsVolume, agno: number, tree: AgfTree): HeaderRoot {
  const rootIn = (agf: Agf): TreeRoot => {
    if (tree === 'bno') return { pointer: agf.bnoRoot, levels: agf.bnoLevel }
    if (tree === 'cnt') return { pointer: agf.cntRoot, levels: agf.cntLevel }
    if (tree === 'rmap') return { pointer: agf.rmapRoot, levels: agf.rmapLevel }
    return { pointer: agf.agf_refcount_root, levels: agf.agf_refcount_level }
  }
  return {
    in: 'header',
    read: () => after(volume.readAgf(agno), rootIn),
    async write({ pointer, levels }) {
      const agf = await volume.editAgf(agno)
      if (tree === 'bno') [agf.bnoRoot, agf.bnoLevel] = [pointer, levels]
      else if (tree === 'cnt') [agf.cntRoot, agf.cntLevel] = [pointer, levels]
      else if (tree === 'rmap') [agf.rmapRoot, agf.rmapLevel] = [pointer, levels]
      else [agf.agf_refcount_root, agf.agf_refcount_level] = [pointer, levels]
    },
  }
}

/** In the AGI: of all inodes, or of chunks with free ones. */
export function agiRoot(volume: XfsVolume, agno: number, tree: 'inobt' | 'finobt'): HeaderRoot {
  const rootIn = (agi: Agi): TreeRoot =>
    tree === 'inobt'
      ? { pointer: agi.agi_root, levels: agi.agi_level }
      : { pointer: agi.agi_free_root, levels: agi.agi_free_level }
  return {
    in: 'header',
    read: () => after(volume.readAgi(agno), rootIn),
    async write({ pointer, levels }) {
      const agi = await volume.editAgi(agno)
      if (tree === 'inobt') [agi.agi_root, agi.agi_level] = [pointer, levels]
      else [agi.agi_free_root, agi.agi_free_level] = [pointer, levels]
    },
  }
}
