import { decodeUtf8, printable, toBytes } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { Blocks } from './blocks.ts'
import { nameHash, parseDirItems } from './dir-item.ts'
import { corrupt } from './errors.ts'
import { parentDirectory } from './inode-ref.ts'
import { ITEM, isSubvolumeId, MOST, OBJECTID } from './key.ts'
import { parseRootItem, parseRootRef, type RootRef } from './root-item.ts'
import type { Superblock } from './superblock.ts'
import { Tree } from './tree.ts'

/** Names of a subvolume's path are no more than that: what is longer is a loop. */
const MOST_DEPTH = 4096

/** A tree of files: the top level (5) or a subvolume. */
export interface Subvolume {
  readonly id: bigint
  readonly tree: Tree
  /** Inode number of the root directory. */
  readonly rootDirid: bigint
}

/** Where a subvolume hangs. */
export interface SubvolumeParent extends RootRef {
  readonly id: bigint
}

/** The trees of a filesystem, by the root tree. */
export class Subvolumes {
  readonly #blocks: Blocks
  readonly #superblock: Superblock
  readonly #roots: Tree
  readonly #opened = new Map<bigint, Subvolume>()

  constructor(blocks: Blocks, superblock: Superblock, roots: Tree) {
    this.#blocks = blocks
    this.#superblock = superblock
    this.#roots = roots
  }

  /** Any tree of the root tree; `undefined` when there is none with that number, or it is being deleted. */
  async tree(id: bigint): Promise<{ tree: Tree; rootDirid: bigint } | undefined> {
    // A snapshot's item has the transaction that made it as its offset; the newest counts.
    const found = await this.#roots.floor({ objectid: id, type: ITEM.ROOT_ITEM, offset: MOST })
    if (found?.key.objectid !== id || found.key.type !== ITEM.ROOT_ITEM) return undefined
    const item = parseRootItem(found.data, id)
    if (item.refs === 0) return undefined
    return { tree: new Tree(this.#blocks, item.root), rootDirid: item.rootDirid }
  }

  async find(id: bigint): Promise<Subvolume | undefined> {
    const held = this.#opened.get(id)
    if (held !== undefined) return held
    if (!isSubvolumeId(id)) return undefined
    const found = await this.tree(id)
    if (found === undefined) return undefined
    const subvolume = { id, ...found }
    this.#opened.set(id, subvolume)
    return subvolume
  }

  /** What mount(8) takes when it is told nothing: the entry `default` of the root tree's directory, else the top level. */
  async defaultId(): Promise<bigint> {
    const name = toBytes('default')
    const objectid = this.#superblock.rootDirObjectid
    const found = await this.#roots.find({ objectid, type: ITEM.DIR_ITEM, offset: nameHash(name) })
    if (found === undefined) return OBJECTID.FS_TREE
    const entry = parseDirItems(found).find(item => decodeUtf8(item.name) === 'default')
    return entry?.location.objectid ?? OBJECTID.FS_TREE
  }

  /** Where a parent's entry for the subvolume has to be; `undefined` when it is no child of that parent. */
  async refOf(parent: bigint, child: bigint): Promise<RootRef | undefined> {
    const data = await this.#roots.find({ objectid: parent, type: ITEM.ROOT_REF, offset: child })
    return data && parseRootRef(data)
  }

  /** Where the subvolume hangs; a subvolume has one place. `undefined` of the top level. */
  async parentOf(id: bigint): Promise<SubvolumeParent | undefined> {
    const key = (offset: bigint) => ({ objectid: id, type: ITEM.ROOT_BACKREF, offset })
    for await (const item of this.#roots.range(key(0n), key(MOST)))
      return { id: item.key.offset, ...parseRootRef(item.data) }
    return undefined
  }

  /** Path from the top level, as findmnt(8) prints it: `/`, `/root`, `/@/.snapshots/1/snapshot`. Not UTF-8: as `printable`. */
  async pathOf(id: bigint): Promise<string> {
    const names: string[] = []
    for (let at = id; at !== OBJECTID.FS_TREE; ) {
      const parent = await this.parentOf(at)
      const above = parent && (await this.find(parent.id))
      if (parent === undefined || above === undefined)
        throw corrupt('root tree', `subvolume ${at} hangs nowhere`, { subvolume: at })
      names.unshift(textOf(parent.name))
      for (let dir = parent.dirid; dir !== above.rootDirid; ) {
        const entry = await parentDirectory(above.tree, dir)
        if (entry === undefined || names.length >= MOST_DEPTH)
          throw corrupt('root tree', `the directory ${dir} of subvolume ${parent.id} hangs nowhere`, {
            inode: dir,
          })
        names.unshift(textOf(entry.name))
        dir = entry.parent
      }
      at = parent.id
      if (names.length >= MOST_DEPTH) throw corrupt('root tree', 'subvolumes hang in each other')
    }
    return `/${names.join('/')}`
  }

  /** Numbers of all subvolumes that hang in the tree, below the top level, parents before children. */
  async ids(): Promise<bigint[]> {
    const out = new Set<bigint>([OBJECTID.FS_TREE])
    for (const id of out) {
      const key = (offset: bigint) => ({ objectid: id, type: ITEM.ROOT_REF, offset })
      for await (const item of this.#roots.range(key(0n), key(MOST))) out.add(item.key.offset)
    }
    out.delete(OBJECTID.FS_TREE)
    return [...out]
  }

  /** The subvolume with that number, or an error that says so. */
  async require(id: bigint): Promise<Subvolume> {
    const found = await this.find(id)
    if (found !== undefined) return found
    throw new DrydiskError('ENOENT', `btrfs: there is no subvolume with the number ${id}`, { subvolume: id })
  }
}

function textOf(name: Uint8Array): string {
  return decodeUtf8(name) ?? printable(name)
}
