import { equalBytes } from '../../bytes/compare.ts'
import type { DaFork } from './da-block.ts'
import { firstLeaf, hashLeaves } from './da-tree.ts'
import {
  blockLeafCount,
  blockLeafStart,
  type DirData,
  NAME_AT,
  nameLengthAt,
  readDirData,
} from './dir-data.ts'
import {
  checkOrder,
  dirLeafShape,
  firstFrom,
  type HashEntries,
  hashEntries,
  leafEntries,
} from './dir-leaf.ts'
import type { NameRules } from './dir-name.ts'
import { after, type Soon } from './soon.ts'

/** Bytes that one step of an address in a hash entry stands for (XFS_DIR2_DATA_ALIGN). */
const ADDRESS_UNIT = 8
/** XFS_DIR2_LEAF_OFFSET: data is below, hashes are from here. */
export const LEAF_OFFSET = 2 ** 35
/** Which check of a buffer it is that the hashes of a directory of one block are in order. */
const ORDER_CHECK = 3

/** A directory with blocks. */
export interface BlockDirectory {
  readonly fork: DaFork
  /** All of it is one block, with the hashes behind the entries. */
  readonly single: boolean
  readonly rules: NameRules
}

/** Where an entry is: its hash, its data block and the byte in that; and what it leads to. */
export interface EntryPlace {
  readonly hash: number
  readonly index: number
  readonly offset: number
  readonly ino: number
}

/**
 * The entry that a name leads to, by its hash; where case does not count, that of the name as it is written comes first.
 * @param ino what it is to lead to, when that counts.
 */
export function searchEntry(
  directory: BlockDirectory,
  name: Uint8Array,
  ino?: number,
): Soon<EntryPlace | undefined> {
  const search = new Search(directory, name, ino)
  const { fork, single } = directory
  if (single)
    return after(readDirData(fork, 0, true), ({ view }) => {
      const entries = hashEntries(view, blockLeafStart(view), blockLeafCount(view))
      fork.volume.verifyOnce(view.bytes, () => checkOrder(fork, entries), ORDER_CHECK)
      return after(search.among(entries), () => search.found)
    })
  const { isV5, sb_blocksize } = fork.volume.superblock
  const shape = dirLeafShape(fork)
  return after(firstLeaf(fork, LEAF_OFFSET / sb_blocksize, search.hash, shape), ({ view }) =>
    after(search.among(leafEntries(view, isV5)), done =>
      done ? search.found : searchLeaves(directory, search),
    ),
  )
}

/** The hash is the last of its leaf, or behind it: it may go on in the leaves behind. */
async function searchLeaves({ fork }: BlockDirectory, search: Search): Promise<EntryPlace | undefined> {
  const { isV5, sb_blocksize } = fork.volume.superblock
  for await (const { view } of hashLeaves(fork, LEAF_OFFSET / sb_blocksize, search.hash, dirLeafShape(fork)))
    if (await search.among(leafEntries(view, isV5))) break
  return search.found
}

class Search {
  readonly hash: number
  readonly #directory: BlockDirectory
  readonly #name: Uint8Array
  readonly #ino: number | undefined
  #first: EntryPlace | undefined
  #exact: EntryPlace | undefined

  constructor(directory: BlockDirectory, name: Uint8Array, ino: number | undefined) {
    this.#directory = directory
    this.#name = name
    this.#ino = ino
    this.hash = directory.rules.hash(name)
  }

  get found(): EntryPlace | undefined {
    return this.#exact ?? this.#first
  }

  /** Looks at the entries of the hash. @returns whether there are none of it behind these, or no better one is to be found. */
  among(entries: HashEntries): Soon<boolean> {
    return this.#amongFrom(entries, firstFrom(entries, this.hash))
  }

  #amongFrom(entries: HashEntries, from: number): Soon<boolean> {
    const { fork, single } = this.#directory
    const { dirBlockSize } = fork.volume.superblock
    for (let at = from; at < entries.count; at++) {
      if (this.#exact !== undefined || entries.hash(at) !== this.hash) return true
      const address = entries.address(at) * ADDRESS_UNIT
      if (address === 0) continue
      const [index, offset] = [Math.floor(address / dirBlockSize), address % dirBlockSize]
      const data = readDirData(fork, index, single)
      if (data instanceof Promise)
        return data.then(ready => {
          this.#look(ready, index, offset)
          return this.#amongFrom(entries, at + 1)
        })
      this.#look(data, index, offset)
    }
    return this.#exact !== undefined
  }

  #look(data: DirData, index: number, offset: number): void {
    const { fork, rules } = this.#directory
    const namelen = nameLengthAt(fork, data, offset, fork.volume.superblock.hasFtype)
    const name = data.view.slice(offset + NAME_AT, namelen)
    if (!rules.equal(name, this.#name)) return
    const ino = data.view.u64(offset)
    if (this.#ino !== undefined && ino !== this.#ino) return
    const place = { hash: this.hash, index, offset, ino }
    if (equalBytes(name, this.#name)) this.#exact = place
    else this.#first ??= place
  }
}
