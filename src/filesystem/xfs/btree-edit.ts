import type { ByteView } from '../../bytes/byte-view.ts'
import type { BlockSource, HeaderRoot, TreeStore } from './btree-edit-store.ts'
import { BMBT, type BmbtRecord, type BtreeKey, type BtreeKind } from './btree-kinds.ts'
import type { XfsVolume } from './volume.ts'

/** One B+tree, searched and changed. It keeps nothing: every call begins at the root. Changes are made in a transaction. */
export class BtreeEditor<Record> {
  readonly store: TreeStore<Record>

  constructor(store: TreeStore<Record>) {
    this.store = store
  }

  /** Levels, the root among them; in an inode the root counts as one too. */
  async levels(): Promise<number> {
    throw new Error('not written')
  }

  /** The record with exactly this key. */
  async find(_key: BtreeKey): Promise<Record | undefined> {
    throw new Error('not written')
  }

  /** The last record whose key is not above this one. */
  async floor(_key: BtreeKey): Promise<Record | undefined> {
    throw new Error('not written')
  }

  /** The first record whose key is not below this one. */
  async ceiling(_key: BtreeKey): Promise<Record | undefined> {
    throw new Error('not written')
  }

  /** In order, from the first one whose key is not below `from`. The tree is not to be changed meanwhile. */
  records(_from?: BtreeKey): AsyncIterable<Record> {
    throw new Error('not written')
  }

  /**
   * Records from `low` to `high` where keys overlap (rmapbt): all whose highest key is not below `low` and whose key is not
   * above `high`. The tree is not to be changed meanwhile.
   */
  overlapping(_low: BtreeKey, _high: BtreeKey): AsyncIterable<Record> {
    throw new Error('not written')
  }

  /** `ERR_CORRUPT` when there is one with the same key. */
  async insert(_record: Record): Promise<void> {
    throw new Error('not written')
  }

  /** Gives what was removed; `ERR_CORRUPT` when there is none. The last record of a tree in an inode cannot be removed: see `dissolve`. */
  async remove(_key: BtreeKey): Promise<Record> {
    throw new Error('not written')
  }

  /** Puts a record in the place of another. Its key may be another as long as the order stays. `ERR_CORRUPT` when there is none, or it does not. */
  async replace(_key: BtreeKey, _record: Record): Promise<void> {
    throw new Error('not written')
  }

  /** Pointers of all blocks of the tree, the root in a header among them, parents before children. */
  blocks(): AsyncIterable<number> {
    throw new Error('not written')
  }
}

/** A tree whose root is in the header of an allocation group: `agTree(volume, BNOBT, agno, agfRoot(volume, agno, 'bno'), blocks)`. */
export function agTree<Record>(
  volume: XfsVolume,
  kind: BtreeKind<Record>,
  agno: number,
  root: HeaderRoot,
  blocks: BlockSource,
): BtreeEditor<Record> {
  const volumeBlock = (pointer: number) => volume.geometry.inAg(agno, pointer)
  return new BtreeEditor({ volume, kind, owner: agno, root, blocks, volumeBlock })
}

/** The tree of a fork's extents. Its root in the inode is one already: see `buildForkTree`. */
export class ForkTree extends BtreeEditor<BmbtRecord> {
  /** @param literal the fork's literal area, of an inode that is open for change when the tree is changed. */
  constructor(volume: XfsVolume, ino: number, literal: () => ByteView, blocks: BlockSource) {
    const volumeBlock = (pointer: number) => volume.geometry.volumeBlock(pointer)
    super({ volume, kind: BMBT, owner: ino, root: { in: 'inode', literal }, blocks, volumeBlock })
  }

  /**
   * Makes the literal area, whatever it holds, the root of a tree of these extents, in order and at least one.
   * The inode's format is the caller's to set.
   */
  async build(_records: readonly BmbtRecord[], _near: number): Promise<void> {
    throw new Error('not written')
  }

  /**
   * Frees all blocks of the tree and gives its records; the literal area is zeros then.
   * @param most `ERR_CORRUPT` when there are more.
   */
  async dissolve(_most: number): Promise<BmbtRecord[]> {
    throw new Error('not written')
  }

  /** Frees all blocks of the tree without reading its leaves; the literal area is zeros then. */
  async freeAll(): Promise<void> {
    throw new Error('not written')
  }

  /**
   * Makes the root fit into a literal area of so many bytes: pushes its entries down into a new block where they do not, and
   * pulls those of an only child up where they do. Before the area becomes smaller, and after it has become larger.
   */
  async fitRoot(_bytes: number): Promise<void> {
    throw new Error('not written')
  }
}

/** Moves a root from one literal area (a copy) to another, larger or smaller, into which it fits (`fitRoot`): where pointers are depends on the size. */
export function moveForkRoot(_from: Uint8Array, _to: Uint8Array): void {
  throw new Error('not written')
}
