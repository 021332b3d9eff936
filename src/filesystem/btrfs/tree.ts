import type { ByteView } from '../../bytes/byte-view.ts'
import type { Blocks } from './blocks.ts'
import { corrupt } from './errors.ts'
import { compareKeys, type Key, keyText } from './key.ts'
import type { Node, NodeReference } from './node.ts'

export interface Item {
  readonly key: Key
  readonly data: ByteView
}

/** A node and which of its entries is meant. */
interface Step {
  readonly node: Node
  index: number
}

/** A B-tree of items. Every step down lowers the level, so a walk ends whatever the blocks hold. */
export class Tree {
  readonly #blocks: Blocks
  readonly #root: NodeReference

  constructor(blocks: Blocks, root: NodeReference) {
    this.#blocks = blocks
    this.#root = root
  }

  async find(key: Key): Promise<ByteView | undefined> {
    const found = await this.floor(key)
    return found !== undefined && compareKeys(found.key, key) === 0 ? found.data : undefined
  }

  /** The last item that is not above the key. */
  async floor(key: Key): Promise<Item | undefined> {
    let node = await this.#blocks.read(this.#root)
    for (;;) {
      const index = node.floor(key)
      const found = node.keys[index]
      if (found === undefined) return undefined
      if (node.level === 0) return { key: found, data: node.data(index) }
      node = await this.#child(node, index)
    }
  }

  /** The items from one key up to and including another, in order. */
  async *range(from: Key, to: Key): AsyncIterable<Item> {
    const path = await this.#pathTo(from)
    let last: Key | undefined
    for (;;) {
      const step = path.at(-1)
      if (step === undefined) return
      const key = step.node.keys[step.index]
      if (key === undefined) {
        path.pop()
        const above = path.at(-1)
        if (above !== undefined) above.index++
        continue
      }
      if (compareKeys(key, to) > 0) return
      if (step.node.level > 0) {
        path.push({ node: await this.#child(step.node, step.index), index: 0 })
        continue
      }
      // Leaves are in order each by itself; that they are among each other is known here.
      if (last !== undefined && compareKeys(last, key) >= 0)
        throw corrupt('tree', `the item ${keyText(key)} follows ${keyText(last)} in a tree`)
      last = key
      if (compareKeys(key, from) >= 0) yield { key, data: step.node.data(step.index) }
      step.index++
    }
  }

  async #pathTo(key: Key): Promise<Step[]> {
    const path: Step[] = []
    let node = await this.#blocks.read(this.#root)
    for (;;) {
      const index = Math.max(0, node.floor(key))
      path.push({ node, index })
      if (node.level === 0) return path
      if (node.keys.length === 0) return path
      node = await this.#child(node, index)
    }
  }

  async #child(node: Node, index: number): Promise<Node> {
    const child = await this.#blocks.read(node.child(index))
    const next = node.keys[index + 1]
    const last = child.keys.at(-1)
    if (next !== undefined && last !== undefined && compareKeys(last, next) >= 0)
      throw corrupt(
        'tree',
        `a metadata block reaches up to ${keyText(last)}, and the next begins with ${keyText(next)}`,
      )
    return child
  }
}
