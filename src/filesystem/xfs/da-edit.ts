import type { ByteView } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { DaBlock, DaFork } from './da-block.ts'
import {
  checkDaNode,
  DaNode,
  type DaNodeEntry,
  daInfoSize,
  daLinks,
  daNodeMagic,
  MOST_NODE_LEVEL,
} from './da-node.ts'
import type { LeafShape } from './da-tree.ts'
import { after, type Soon } from './soon.ts'

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

/** Nodes are joined where this much of the joint one is left free (xfs_da3_node_toosmall). */
const JOINED_MOST = 3 / 4

/**
 * Changes the tree of nodes above hashed leaves (struct xfs_da_intnode): which leaves there are, their order, and the last
 * hash of each. What is in the leaves is their owner's. Only in a transaction.
 */
export class HashTree {
  readonly #store: HashTreeStore
  readonly #isV5: boolean
  readonly #nodeMagic: number

  constructor(store: HashTreeStore) {
    this.#store = store
    this.#isV5 = store.fork.volume.superblock.isV5
    this.#nodeMagic = daNodeMagic(this.#isV5)
  }

  /**
   * Ways to the leaves in order, from the first that may hold a hash. The tree is not to change meanwhile. No leaf is met
   * twice, whatever the tree says.
   */
  async *paths(hash: number): AsyncIterable<HashPath> {
    const met = new Set<number>()
    let path: HashPath | undefined = await this.firstPath(hash)
    while (path !== undefined) {
      if (met.has(path.leaf)) throw this.#corrupt(`leads to the leaf at block ${path.leaf} twice`)
      met.add(path.leaf)
      yield path
      path = await this.beside(path, 'behind')
    }
  }

  /** The way to the first leaf that may hold a hash. */
  firstPath(hash: number): Soon<HashPath> {
    return this.#descend([], this.#store.root, hash)
  }

  /** The way to a leaf that has the hash (equal ones may be in several leaves). */
  async pathTo(hash: number, leaf: number): Promise<HashPath> {
    for await (const path of this.paths(hash)) if (path.leaf === leaf) return path
    throw this.#corrupt(`does not lead to the leaf at block ${leaf} by the hash ${hash}`)
  }

  /** The way to the next leaf on one side, whatever node it is under; `undefined` when there is none. */
  async beside({ steps }: HashPath, side: 'before' | 'behind'): Promise<HashPath | undefined> {
    for (let at = steps.length - 1; at >= 0; at--) {
      const step = steps[at]
      if (step === undefined) break
      const node = await this.#node(step.block)
      const index = step.index + (side === 'before' ? -1 : 1)
      if (index < 0 || index >= node.count) continue
      const above = [...steps.slice(0, at), { block: step.block, index }]
      return this.#descend(above, node.child(index), side, node.level)
    }
    return undefined
  }

  /** Whether the tree has no other leaf. */
  async isOnlyLeaf({ steps }: HashPath): Promise<boolean> {
    for (const { block } of steps) if ((await this.#node(block)).count > 1) return false
    return true
  }

  readLeaf({ leaf }: { readonly leaf: number }): Soon<DaBlock> {
    const { fork, leaf: shape } = this.#store
    return fork.read(leaf, 'index', shape.magics, shape.check)
  }

  /** The leaf, to be changed until the transaction ends. */
  editLeaf({ leaf }: { readonly leaf: number }): Soon<DaBlock> {
    const { fork, leaf: shape } = this.#store
    return fork.edit(leaf, 'index', shape.magics, shape.check)
  }

  /**
   * Puts a new leaf behind the path's.
   * @param divide fills the new leaf, of which only the header is there (magic, owner and place), and takes from the old what moved.
   *   Both have an entry afterwards, and none of the old leaf's hashes is above the new one's.
   * @returns where both are now: a leaf that was the root moves to another block.
   */
  async splitLeaf(
    path: HashPath,
    divide: (old: ByteView, added: ByteView) => void,
  ): Promise<{ old: number; added: number }> {
    const alone = path.steps.length === 0
    const leaf = alone ? await this.#growRoot() : path.leaf
    const steps = alone ? [{ block: this.#store.root, index: 0 }] : path.steps
    const added = await this.#store.allocate()
    const old = await this.editLeaf({ leaf })
    const view = await this.#store.fork.fresh(added, 'index', old.magic)
    divide(old.view, view)
    await this.#linkBehind({ block: leaf, view: old.view }, { block: added, view })
    await this.#setHash(steps, this.#store.lastHash(old))
    await this.#insert(steps, { hash: this.#store.lastHash({ view, magic: old.magic }), child: added })
    return { old: leaf, added }
  }

  /** Takes out a leaf that is not the only one, and frees its blocks. What is left of a tree with one leaf is that leaf, as the root. */
  async removeLeaf({ steps, leaf }: HashPath): Promise<void> {
    await this.#unlink(leaf, (await this.readLeaf({ leaf })).view)
    await this.#store.free(leaf)
    await this.#remove(steps)
  }

  /** The leaf's last hash may have changed: nodes above it are told. */
  leafChanged({ steps, leaf }: HashPath): Soon<void> {
    if (steps.length === 0) return
    return after(this.readLeaf({ leaf }), found => this.#raise(steps, this.#store.lastHash(found)))
  }

  /** @param level of the node above, `undefined` from the root. */
  #descend(
    steps: readonly HashStep[],
    block: number,
    to: number | 'before' | 'behind',
    level?: number,
  ): Soon<HashPath> {
    return after(this.#any(block, level === undefined ? undefined : level - 1), node => {
      if (node === undefined) return { steps, leaf: block }
      const index = to === 'before' ? node.count - 1 : to === 'behind' ? 0 : node.indexFrom(to)
      return this.#descend([...steps, { block, index }], node.child(index), to, node.level)
    })
  }

  /** The node, or nothing where there is a leaf. */
  #any(block: number, level: number | undefined): Soon<DaNode | undefined> {
    const { fork, leaf } = this.#store
    const magics = [
      ...(level === 0 ? [] : [this.#nodeMagic]),
      ...(level === undefined || level === 0 ? leaf.magics : []),
    ]
    const check = (bytes: ByteView, found: number) => this.#check(bytes, found)
    return after(fork.read(block, 'index', magics, check), ({ view, magic }) => {
      if (magic !== this.#nodeMagic) return undefined
      const node = new DaNode(view, this.#isV5)
      if (level !== undefined && node.level !== level)
        throw this.#corrupt(`has a node on level ${node.level} at block ${block}, expected level ${level}`)
      return node
    })
  }

  #node(block: number): Soon<DaNode> {
    const read = this.#store.fork.read(block, 'index', [this.#nodeMagic], (bytes, magic) =>
      this.#check(bytes, magic),
    )
    return after(read, ({ view }) => new DaNode(view, this.#isV5))
  }

  #edit(block: number): Soon<DaNode> {
    const edit = this.#store.fork.edit(block, 'index', [this.#nodeMagic], (bytes, magic) =>
      this.#check(bytes, magic),
    )
    return after(edit, ({ view }) => new DaNode(view, this.#isV5))
  }

  #readAny(block: number): Soon<DaBlock> {
    const magics = [this.#nodeMagic, ...this.#store.leaf.magics]
    return this.#store.fork.read(block, 'index', magics, (bytes, magic) => this.#check(bytes, magic))
  }

  #editAny(block: number): Soon<DaBlock> {
    const magics = [this.#nodeMagic, ...this.#store.leaf.magics]
    return this.#store.fork.edit(block, 'index', magics, (bytes, magic) => this.#check(bytes, magic))
  }

  #check(view: ByteView, magic: number): void {
    const { fork, leaf } = this.#store
    if (magic === this.#nodeMagic) checkDaNode(fork, new DaNode(view, this.#isV5))
    else leaf.check(view, magic)
  }

  #corrupt(what: string): Error {
    return this.#store.fork.corrupt(`the hashed tree ${what}`)
  }

  /** The entry that the way goes by gets another hash. Nodes above are told by `#raise`. */
  #setHash(steps: readonly HashStep[], hash: number): Soon<void> {
    const step = steps.at(-1)
    if (step === undefined) return
    return after(this.#node(step.block), node => {
      if (node.hash(step.index) === hash) return
      return after(this.#edit(step.block), open => open.setHash(step.index, hash))
    })
  }

  /** What is below the end of the way has this last hash: the nodes above are told of it, and each of the last hash of the one below. */
  #raise(steps: readonly HashStep[], hash: number): Soon<void> {
    return steps.length === 0 ? undefined : after(this.#setHash(steps, hash), () => this.#raiseAbove(steps))
  }

  /** The same, where the hashes of the last node on the way are right. */
  #raiseAbove(steps: readonly HashStep[]): Soon<void> {
    const step = steps.at(-1)
    if (step === undefined) return
    return after(this.#node(step.block), ({ lastHash }) => this.#raise(steps.slice(0, -1), lastHash))
  }

  /** What is in the root moves to a new block, the root's only child. */
  async #growRoot(): Promise<number> {
    const { root } = this.#store
    const moved = await this.#store.allocate()
    const block = await this.#editAny(root)
    const { fork } = this.#store
    const isNode = block.magic === this.#nodeMagic
    const level = isNode ? new DaNode(block.view, this.#isV5).level + 1 : 1
    if (level > MOST_NODE_LEVEL)
      throw new DrydiskError('ENOSPC', `inode ${fork.ino} has as many names as its hashed tree can hold`, {
        inode: fork.ino,
      })
    const view = await fork.fresh(moved, 'index', block.magic)
    this.#copy(block.view, view)
    const hash = isNode
      ? new DaNode(view, this.#isV5).lastHash
      : this.#store.lastHash({ view, magic: block.magic })
    this.#become(block.view, this.#nodeMagic)
    const node = new DaNode(block.view, this.#isV5)
    node.level = level
    node.entries = [{ hash, child: moved }]
    return moved
  }

  /** Content behind the header. */
  #copy(from: ByteView, to: ByteView): void {
    const header = daInfoSize(this.#isV5)
    to.bytes.set(from.bytes.subarray(header), header)
  }

  /** The root is something else from now on; it has no neighbours. */
  #become(root: ByteView, magic: number): void {
    daLinks.setForw(root, 0)
    daLinks.setBack(root, 0)
    root.setU16(8, magic)
    root.bytes.fill(0, daInfoSize(this.#isV5))
  }

  /** A new child behind the one that the way goes by. */
  async #insert(steps: readonly HashStep[], entry: DaNodeEntry): Promise<void> {
    const last = steps.at(-1)
    if (last === undefined) throw new Error('a leaf was added to a tree without nodes')
    const node = await this.#edit(last.block)
    if (node.count < node.capacity) {
      node.insert(last.index + 1, entry)
      await this.#raiseAbove(steps)
      return
    }
    const { index } = last
    const isRoot = steps.length === 1
    const block = isRoot ? await this.#growRoot() : last.block
    const above = isRoot ? [{ block: this.#store.root, index: 0 }] : steps.slice(0, -1)
    const added = await this.#store.allocate()
    const full = await this.#edit(block)
    const entries = full.entries.toSpliced(index + 1, 0, entry)
    const half = Math.ceil(entries.length / 2)
    const view = await this.#store.fork.fresh(added, 'index', this.#nodeMagic)
    const upper = new DaNode(view, this.#isV5)
    upper.level = full.level
    upper.entries = entries.slice(half)
    full.entries = entries.slice(0, half)
    await this.#linkBehind({ block, view: full.view }, { block: added, view })
    await this.#setHash(above, full.lastHash)
    await this.#insert(above, { hash: upper.lastHash, child: added })
  }

  /** Takes out the entry that the way goes by, whose block is freed already. */
  async #remove(steps: readonly HashStep[]): Promise<void> {
    const last = steps.at(-1)
    if (last === undefined) throw new Error('the only leaf of a tree was removed')
    const above = steps.slice(0, -1)
    const node = await this.#edit(last.block)
    if (node.count === 1) {
      if (above.length === 0) throw new Error('the only leaf of a tree was removed')
      await this.#unlink(last.block, node.view)
      await this.#store.free(last.block)
      return this.#remove(above)
    }
    node.remove(last.index)
    await this.#raiseAbove(steps)
    if (above.length === 0) await this.#shrinkRoot()
    else if (node.count <= node.capacity / 2) await this.#join(steps)
  }

  /** Joins a node that is half empty with one beside it, under the same parent, where both leave room in one. */
  async #join(steps: readonly HashStep[]): Promise<void> {
    const parent = steps.at(-2)
    if (parent === undefined) return
    const above = await this.#node(parent.block)
    for (const left of [parent.index, parent.index - 1]) {
      if (left < 0 || left + 1 >= above.count) continue
      const [lower, upper] = [await this.#node(above.child(left)), await this.#node(above.child(left + 1))]
      if (lower.count + upper.count > lower.capacity * JOINED_MOST) continue
      const [kept, gone] = [above.child(left), above.child(left + 1)]
      const joined = await this.#edit(kept)
      joined.entries = [...joined.entries, ...upper.entries]
      const way = steps.slice(0, -2)
      await this.#setHash([...way, { block: parent.block, index: left }], joined.lastHash)
      await this.#unlink(gone, upper.view)
      await this.#store.free(gone)
      return this.#remove([...way, { block: parent.block, index: left + 1 }])
    }
  }

  /** A root with one child becomes what that is. */
  async #shrinkRoot(): Promise<void> {
    const { root } = this.#store
    for (;;) {
      const { view, magic } = await this.#editAny(root)
      if (magic !== this.#nodeMagic) return
      const node = new DaNode(view, this.#isV5)
      if (node.count > 1) return
      const child = node.child(0)
      if (child === root) throw this.#corrupt('leads to its own root')
      const below = await this.#readAny(child)
      this.#become(view, below.magic)
      this.#copy(below.view, view)
      await this.#store.free(child)
    }
  }

  /** Between a block and the one behind it on its level. */
  async #linkBehind(
    old: { readonly block: number; readonly view: ByteView },
    added: { readonly block: number; readonly view: ByteView },
  ): Promise<void> {
    const behind = daLinks.forw(old.view)
    daLinks.setBack(added.view, old.block)
    daLinks.setForw(added.view, behind)
    daLinks.setForw(old.view, added.block)
    if (behind !== 0) daLinks.setBack(await this.#neighbour(behind, daLinks.back, old.block), added.block)
  }

  async #unlink(block: number, view: ByteView): Promise<void> {
    const [before, behind] = [daLinks.back(view), daLinks.forw(view)]
    if (before !== 0) daLinks.setForw(await this.#neighbour(before, daLinks.forw, block), behind)
    if (behind !== 0) daLinks.setBack(await this.#neighbour(behind, daLinks.back, block), before)
  }

  /** A block beside another one, which it must name in its own link. */
  async #neighbour(block: number, link: (view: ByteView) => number, expected: number): Promise<ByteView> {
    const { view } = await this.#editAny(block)
    if (link(view) !== expected)
      throw this.#corrupt(
        `has a block ${block} beside block ${expected} that names block ${link(view)} instead`,
      )
    return view
  }
}
