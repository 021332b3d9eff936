import { equalBytes } from '../../../bytes/compare.ts'
import { DrydiskError } from '../../../errors.ts'
import { ATTR, ATTR_NAMESPACE, type AttrEntry } from '../attr-entry.ts'
import { attrLeafMagic, attrLeafShape } from '../attr-leaf.ts'
import type { AttributeKey } from '../attr-name.ts'
import { DaFork } from '../da-block.ts'
import { type HashPath, HashTree, type HashTreeStore } from '../da-edit.ts'
import type { LeafShape } from '../da-tree.ts'
import type { Dinode } from '../dinode.ts'
import { nameHash } from '../dir-name.ts'
import { ForkEditor } from '../fork/fork-edit.ts'
import { attempt } from '../transaction.ts'
import type { XfsVolume } from '../volume.ts'
import type { XfsWriter } from '../writer.ts'
import {
  entryBytes,
  halfOf,
  isLocal,
  type LeafEntry,
  lastHash,
  leafRoom,
  readLeaf,
  writeLeaf,
} from './leaf-block.ts'
import { type EditedFork, freeRemoteValue, writeRemoteValue } from './remote-value.ts'

/** Leaves are joined where this much of the joint one is left free (xfs_attr3_leaf_toosmall). */
const JOINED_MOST = 3 / 4

/** Where an attribute is in the tree. */
interface Place {
  readonly path: HashPath
  readonly entries: readonly LeafEntry[]
  readonly index: number
}

/** The attribute fork as the hash tree's home. */
class AttributeFork implements HashTreeStore, EditedFork {
  readonly root = 0
  readonly leaf: LeafShape
  readonly editor: ForkEditor
  readonly #volume: XfsVolume
  readonly #ino: number

  constructor(writer: XfsWriter, inode: Dinode) {
    this.editor = new ForkEditor(writer, inode, 'attribute')
    this.#volume = writer.volume
    this.#ino = inode.ino
    this.leaf = attrLeafShape(this.fork)
  }

  get fork(): DaFork {
    return new DaFork(this.#volume, this.#ino, this.editor.map, 1)
  }

  lastHash({ view }: Parameters<HashTreeStore['lastHash']>[0]): number {
    return lastHash(view, this.#volume.superblock.isV5)
  }

  async allocate(): Promise<number> {
    const block = await this.editor.firstHole(0, 1)
    await this.editor.allocate(block, 1)
    return block
  }

  async free(block: number): Promise<void> {
    await this.editor.unmap(block, block + 1)
  }
}

/** Attributes in blocks: one leaf, or a tree of them. Only in a transaction, of an inode that is open for change. */
export class AttributeTree {
  readonly #home: AttributeFork
  readonly #tree: HashTree
  readonly #writer: XfsWriter
  readonly #inode: Dinode
  readonly #isV5: boolean
  readonly #blockSize: number

  constructor(writer: XfsWriter, inode: Dinode) {
    this.#writer = writer
    this.#inode = inode
    this.#home = new AttributeFork(writer, inode)
    this.#tree = new HashTree(this.#home)
    this.#isV5 = writer.volume.superblock.isV5
    this.#blockSize = writer.volume.superblock.sb_blocksize
  }

  /** Makes an empty attribute fork one leaf with these attributes. */
  async create(entries: readonly AttrEntry[]): Promise<void> {
    const block = await this.#home.allocate()
    const view = await this.#home.fork.fresh(block, 'index', attrLeafMagic(this.#isV5))
    const leaf = entries.map(entry => ({
      ...entry,
      hash: nameHash(entry.name),
      flags: entry.flags | ATTR.LOCAL,
    }))
    writeLeaf(
      view,
      this.#isV5,
      leaf.sort((a, b) => a.hash - b.hash),
    )
  }

  /** @returns whether the attribute was there. */
  async set(key: AttributeKey, value: Uint8Array): Promise<boolean> {
    const old = await this.#find(key)
    if (old !== undefined) await this.#freeValue(old)
    const { path, entries, index } = old ?? (await this.#placeFor(nameHash(key.name)))
    const entry = await this.#entry(key, value)
    const others = old === undefined ? entries : entries.toSpliced(index, 1)
    await this.#store(path, others.toSpliced(index, 0, entry), index)
    return old !== undefined
  }

  /** @returns whether it was there. */
  async remove(key: AttributeKey): Promise<boolean> {
    const old = await this.#find(key)
    if (old === undefined) return false
    await this.#freeValue(old)
    const entries = old.entries.toSpliced(old.index, 1)
    if (entries.length > 0 || (await this.#tree.isOnlyLeaf(old.path)))
      await this.#shrinkLeaf(old.path, entries)
    else if (!(await this.#attempt(() => this.#tree.removeLeaf(old.path)))) await this.#borrow(old.path)
    return true
  }

  /** All of them, where they are in one leaf. */
  async onlyLeaf(): Promise<readonly LeafEntry[] | undefined> {
    for await (const path of this.#tree.paths(0))
      return (await this.#tree.isOnlyLeaf(path)) ? this.#entries(path) : undefined
    return undefined
  }

  async #entry(key: AttributeKey, value: Uint8Array): Promise<LeafEntry> {
    const hash = nameHash(key.name)
    return isLocal(key.name.length, value.length, this.#blockSize)
      ? { hash, name: key.name, flags: key.flags | ATTR.LOCAL, value }
      : { hash, name: key.name, flags: key.flags, value: await writeRemoteValue(this.#home, value) }
  }

  async #freeValue({ entries, index }: Place): Promise<void> {
    const value = entries[index]?.value
    if (value !== undefined && !(value instanceof Uint8Array)) await freeRemoteValue(this.#home, value)
  }

  async #entries(path: HashPath): Promise<LeafEntry[]> {
    return readLeaf(this.#home.fork, (await this.#tree.readLeaf(path)).view)
  }

  /** Attributes that were never completed are not found. */
  async #find({ flags, name }: AttributeKey): Promise<Place | undefined> {
    const hash = nameHash(name)
    for await (const path of this.#tree.paths(hash)) {
      const entries = await this.#entries(path)
      const index = entries.findIndex(
        entry =>
          entry.hash === hash &&
          (entry.flags & (ATTR_NAMESPACE | ATTR.INCOMPLETE)) === flags &&
          equalBytes(entry.name, name),
      )
      if (index >= 0) return { path, entries, index }
      if ((entries.at(-1)?.hash ?? 0) > hash) return undefined
    }
    return undefined
  }

  /** Where an attribute goes that is not there yet: before the first whose hash is not below. */
  async #placeFor(hash: number): Promise<Place> {
    for await (const path of this.#tree.paths(hash)) {
      const entries = await this.#entries(path)
      const index = entries.findIndex(entry => entry.hash >= hash)
      return { path, entries, index: index < 0 ? entries.length : index }
    }
    throw this.#home.fork.corrupt('the attributes have no leaf')
  }

  get #room(): number {
    return leafRoom(this.#blockSize, this.#isV5)
  }

  #size(entries: readonly LeafEntry[]): number {
    return entries.reduce((sum, entry) => sum + entryBytes(entry), 0)
  }

  async #write(path: HashPath, entries: readonly LeafEntry[]): Promise<void> {
    writeLeaf((await this.#tree.editLeaf(path)).view, this.#isV5, entries)
    await this.#tree.leafChanged(path)
  }

  /** What a leaf has from now on, in as many leaves as it takes. */
  async #store(path: HashPath, entries: readonly LeafEntry[], added: number): Promise<void> {
    if (this.#size(entries) <= this.#room) return this.#write(path, entries)
    const half = halfOf(entries, this.#room)
    if (half !== undefined) {
      await this.#split(path, entries.slice(0, half), entries.slice(half))
      return
    }
    // A large one between two that are large as well gets a leaf for itself.
    const [before, behind] = [entries.slice(0, added), entries.slice(added + 1)]
    const { old } = await this.#split(path, before, behind)
    const again = await this.#tree.pathTo(before.at(-1)?.hash ?? 0, old)
    await this.#split(again, before, entries.slice(added, added + 1))
  }

  #split(path: HashPath, lower: readonly LeafEntry[], upper: readonly LeafEntry[]) {
    return this.#tree.splitLeaf(path, (old, added) => {
      writeLeaf(old, this.#isV5, lower)
      writeLeaf(added, this.#isV5, upper)
    })
  }

  /** What is left of a leaf; joined with one beside it where both leave room in one. */
  async #shrinkLeaf(path: HashPath, entries: readonly LeafEntry[]): Promise<void> {
    if (this.#size(entries) <= this.#room / 2)
      for (const side of ['behind', 'before'] as const) {
        const beside = await this.#tree.beside(path, side)
        if (beside === undefined) continue
        const others = await this.#entries(beside)
        const joint = side === 'before' ? [...others, ...entries] : [...entries, ...others]
        if (this.#size(joint) > this.#room * JOINED_MOST) continue
        // The upper one keeps its place and its last hash.
        const [gone, kept] = side === 'before' ? [beside, path] : [path, beside]
        const joined = await this.#attempt(async () => {
          await this.#write(kept, joint)
          await this.#tree.removeLeaf(gone)
        })
        if (joined) return
      }
    await this.#write(path, entries)
  }

  /** An empty leaf that cannot be freed gets an attribute of one beside it. */
  async #borrow(path: HashPath): Promise<void> {
    for (const side of ['behind', 'before'] as const) {
      const beside = await this.#tree.beside(path, side)
      const others = beside === undefined ? [] : await this.#entries(beside)
      if (beside === undefined || others.length < 2) continue
      const at = side === 'behind' ? 1 : others.length - 1
      const [lower, upper] = [others.slice(0, at), others.slice(at)]
      await this.#write(beside, side === 'behind' ? upper : lower)
      return this.#write(path, side === 'behind' ? lower : upper)
    }
    const { ino } = this.#inode
    throw new DrydiskError('ENOSPC', `there is no space for what fewer attributes need`, { inode: ino })
  }

  /**
   * Frees blocks out of the middle of an extent, where there may be no space for the extent that it splits: then it is taken back.
   * @returns whether it was done.
   */
  async #attempt(work: () => Promise<void>): Promise<boolean> {
    const done = await attempt(this.#writer, async () => {
      // What is taken back is what was opened for change in the attempt.
      await this.#writer.inodes.edit(this.#inode.ino)
      await work()
      return true
    })
    return done ?? false
  }
}
