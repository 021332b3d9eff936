import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaBlock, DaFork } from './da-block.ts'
import type { LeafShape } from './da-tree.ts'

/** Where a hash tree lives, and what its leaves are. */
export interface HashTreeStore {
  /** With the map as it is now: another one after each `allocate` and `free`. */
  readonly fork: DaFork
  /** The first filesystem block, in the fork, of the tree's root, which never moves: 0, or where hashes of directories begin. */
  readonly root: number
  readonly leaf: LeafShape
  /** The hash of a leaf's last entry; the leaf has one. */
  lastHash(leaf: DaBlock): number
  /** Blocks of the fork for one more block of the tree: the first of them. */
  allocate(): Promise<number>
  /** Takes them out of the fork again. */
  free(block: number): Promise<void>
}

/** A node on the way to a leaf, and which of its entries leads on. */
export interface HashStep {
  readonly block: number
  readonly index: number
}

/** The way from the root to a leaf. Good until the tree changes. */
export interface HashPath {
  /** From the root; none where the root is the leaf. */
  readonly steps: readonly HashStep[]
  /** The leaf's first block in the fork. */
  readonly leaf: number
}

/**
 * Changes the tree of nodes above hashed leaves (struct xfs_da_intnode): which leaves there are, their order, and the last
 * hash of each. What is in the leaves is their owner's. Only in a transaction.
 */
export class HashTree {
  readonly #store: HashTreeStore

  constructor(store: HashTreeStore) {
    this.#store = store
  }

  /** Leaves in order, from the first that may hold a hash. The tree is not to change meanwhile. */
  async *paths(hash: number): AsyncIterable<HashPath> {
    yield { steps: [], leaf: this.#store.root + hash }
  }

  /** The way to a leaf that has the hash (equal ones may be in several leaves). */
  async pathTo(hash: number, leaf: number): Promise<HashPath> {
    throw new Error(`${hash} ${leaf}`)
  }

  async readLeaf({ leaf }: HashPath): Promise<DaBlock> {
    throw new Error(`${leaf}`)
  }

  /** The leaf, to be changed until the transaction ends. */
  async editLeaf({ leaf }: HashPath): Promise<DaBlock> {
    throw new Error(`${leaf}`)
  }

  /** Blocks of the leaves before and behind, by the leaf's own links; 0 where there is none. */
  async neighbours({ leaf }: HashPath): Promise<{ before: number; behind: number }> {
    throw new Error(`${leaf}`)
  }

  /**
   * Puts a new leaf behind the path's.
   * @param divide fills the new leaf, of which only the header is there (magic, owner and place), and takes from the old what moved.
   *   Both have an entry afterwards, and none of the old leaf's hashes is above the new one's.
   * @returns where both are now: a leaf that was the root moves to another block.
   */
  async splitLeaf(
    { leaf }: HashPath,
    divide: (old: ByteView, added: ByteView) => void,
  ): Promise<{ old: number; added: number }> {
    throw new Error(`${leaf} ${divide}`)
  }

  /** Takes out a leaf that is not the only one, and frees its blocks. What is left of a tree with one leaf is that leaf, as the root. */
  async removeLeaf({ leaf }: HashPath): Promise<void> {
    throw new Error(`${leaf}`)
  }

  /** The leaf's last hash may have changed: nodes above it are told. */
  async leafChanged({ leaf }: HashPath): Promise<void> {
    throw new Error(`${leaf}`)
  }
}
