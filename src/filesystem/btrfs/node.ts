import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import { type Checksum, matches } from './checksum.ts'
import { corrupt } from './errors.ts'
import { compareKeys, type Key, keyText } from './key.ts'
import { MOST_LEVEL } from './superblock.ts'

const HEADER_SIZE = 101
const CSUM_SIZE = 32
/** A key, then offset and size of the data. */
const LEAF_ITEM = 25
/** A key, then address and generation of the child. */
const NODE_POINTER = 33

/** What refers to a metadata block says about it. */
export interface NodeReference {
  /** Logical address. */
  readonly bytenr: number
  readonly level: number
  readonly generation: number
  /** The first key, where a parent says it. */
  readonly firstKey?: Key | undefined
}

/** What all metadata blocks of a filesystem have in common. */
export interface NodeShape {
  readonly checksum: Checksum
  readonly nodesize: number
  readonly fsid: Uint8Array
}

/** A metadata block whose checksum and structure are right: keys ascend, and every item lies inside. */
export class Node {
  readonly level: number
  readonly keys: readonly Key[]
  readonly #view: ByteView

  constructor(level: number, keys: readonly Key[], view: ByteView) {
    this.level = level
    this.keys = keys
    this.#view = view
  }

  /** Index of the last key that is not above the given one; -1 when all are. */
  floor(key: Key): number {
    let low = 0
    let high = this.keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const found = this.keys[middle]
      if (found !== undefined && compareKeys(found, key) <= 0) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  /** The data of a leaf's item. */
  data(index: number): ByteView {
    const at = HEADER_SIZE + index * LEAF_ITEM
    const [offset, size] = [this.#view.u32(at + 17), this.#view.u32(at + 21)]
    return littleEndian(this.#view.slice(HEADER_SIZE + offset, size), 'btrfs item')
  }

  /** The child of an inner node. */
  child(index: number): NodeReference {
    const at = HEADER_SIZE + index * NODE_POINTER
    return {
      bytenr: this.#view.u64(at + 17),
      level: this.level - 1,
      generation: this.#view.u64(at + 25),
      firstKey: this.keys[index],
    }
  }
}

/**
 * Checks and parses a metadata block (on-disk format, "Node header"). Levels fall by one on the way down, and a child begins with the
 * key that its parent gives: so no tree has a loop, and no block is met twice.
 */
export function parseNode(bytes: Uint8Array, reference: NodeReference, shape: NodeShape): Node {
  const { bytenr, level, generation, firstKey } = reference
  const wrong = (what: string) =>
    corrupt('node', `the metadata block at ${bytenr} ${what}`, { bytenr, level })
  const view = littleEndian(bytes, 'btrfs node')
  if (!matches(shape.checksum, bytes.subarray(CSUM_SIZE), bytes)) throw wrong('has a wrong checksum')
  if (view.big(48) !== BigInt(bytenr)) throw wrong(`says that it belongs at ${view.big(48)}`)
  if (!equalBytes(view.slice(32, 16), shape.fsid)) throw wrong('belongs to another filesystem')
  if (view.u8(100) !== level || level > MOST_LEVEL)
    throw wrong(`has level ${view.u8(100)}, expected ${level}`)
  if (view.big(80) !== BigInt(generation))
    throw wrong(`has generation ${view.big(80)}, expected ${generation}: a write was lost`)
  const count = view.u32(96)
  const entry = level === 0 ? LEAF_ITEM : NODE_POINTER
  const most = Math.floor((shape.nodesize - HEADER_SIZE) / entry)
  if (count > most || (count === 0 && (level > 0 || firstKey !== undefined)))
    throw wrong(`has ${count} items, expected 1 to ${most}`)
  const keys: Key[] = new Array(count)
  let previous: Key | undefined
  for (let index = 0; index < count; index++) {
    const at = HEADER_SIZE + index * entry
    const key = { objectid: view.big(at), type: view.u8(at + 8), offset: view.big(at + 9) }
    if (previous !== undefined && compareKeys(previous, key) >= 0)
      throw wrong(`has its keys out of order: ${keyText(previous)} before ${keyText(key)}`)
    keys[index] = key
    previous = key
  }
  if (firstKey !== undefined && keys[0] !== undefined && compareKeys(firstKey, keys[0]) !== 0)
    throw wrong(`begins with ${keyText(keys[0])}, and its parent says ${keyText(firstKey)}`)
  if (level === 0) checkItems(view, count, shape.nodesize, wrong)
  return new Node(level, keys, view)
}

/** Data grows from the leaf's end towards the items, without gaps. */
function checkItems(view: ByteView, count: number, nodesize: number, wrong: (what: string) => Error): void {
  const itemsEnd = count * LEAF_ITEM
  let end = nodesize - HEADER_SIZE
  for (let index = 0; index < count; index++) {
    const at = HEADER_SIZE + index * LEAF_ITEM
    const [offset, size] = [view.u32(at + 17), view.u32(at + 21)]
    if (offset + size !== end || offset < itemsEnd)
      throw wrong(
        `has the data of item ${index} at ${offset} with ${size} bytes, expected it to end at ${end}`,
      )
    end = offset
  }
}
