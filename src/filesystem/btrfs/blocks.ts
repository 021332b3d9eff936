import { LruCache } from '../../bytes/lru-cache.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import type { ChunkMap } from './chunk-map.ts'
import { corrupt } from './errors.ts'
import { compareKeys } from './key.ts'
import { type Node, type NodeReference, type NodeShape, parseNode } from './node.ts'

/** Bytes of metadata blocks kept in memory; their parsed keys come to about three times as much. */
const CACHED_BYTES = 4 << 20

/** Whether a block in memory is what a reference describes; one that is not is read again, and the error told. */
function isMeant(node: Node, { level, firstKey }: NodeReference): boolean {
  const [first] = node.keys
  return (
    node.level === level &&
    (firstKey === undefined || (first !== undefined && compareKeys(first, firstKey) === 0))
  )
}

/** The metadata blocks of one filesystem, checked when they are read. */
export class Blocks {
  readonly map: ChunkMap
  readonly shape: NodeShape
  readonly #device: BlockDevice
  readonly #nodes = new LruCache<number, { readonly node: Node; readonly generation: number }>(CACHED_BYTES)

  constructor(device: BlockDevice, map: ChunkMap, shape: NodeShape) {
    this.#device = device
    this.map = map
    this.shape = shape
  }

  /** A block as its reference describes it. Of several copies the first that is right counts; `ERR_CORRUPT` when none is. */
  async read(reference: NodeReference): Promise<Node> {
    const held = this.#nodes.get(reference.bytenr)
    if (held !== undefined && held.generation === reference.generation && isMeant(held.node, reference))
      return held.node
    const { nodesize } = this.shape
    const { copies, length } = this.map.place(reference.bytenr, nodesize)
    if (length < nodesize)
      throw corrupt('node', `the metadata block at ${reference.bytenr} reaches over the end of its chunk`)
    let problem: unknown
    for (const at of copies)
      try {
        const bytes = new Uint8Array(nodesize)
        await this.#device.read(at, bytes)
        const node = parseNode(bytes, reference, this.shape)
        this.#nodes.set(reference.bytenr, { node, generation: reference.generation }, nodesize)
        return node
      } catch (error) {
        // Another copy may be right, also where this one cannot be read at all.
        if (!isDrydiskError(error, 'ERR_CORRUPT', 'EIO')) throw error
        problem ??= error
      }
    throw problem
  }
}
