import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaBlock, DaFork } from './da-block.ts'
import { checkDaNode, DaNode, daNodeMagic } from './da-node.ts'
import { after, type Soon } from './soon.ts'

/** What the tree's leaves are. */
export interface LeafShape {
  /** Of version 4 or 5 as the filesystem is. */
  readonly magics: readonly number[]
  check(view: ByteView, magic: number): void
}

interface Step {
  readonly node: DaNode
  index: number
}

/** The first leaf that may hold a hash. Levels go down by one, so that there is an end, whatever the tree says. */
export function firstLeaf(
  fork: DaFork,
  block: number,
  hash: number,
  shape: LeafShape,
  above?: number,
): Soon<DaBlock> {
  return after(readLevel(fork, block, shape, above), found => {
    const { isV5 } = fork.volume.superblock
    if (found.magic !== daNodeMagic(isV5)) return found
    const node = new DaNode(found.view, isV5)
    return firstLeaf(fork, node.child(node.indexFrom(hash)), hash, shape, node.level)
  })
}

/** A block of a hashed tree. @param above the level of the node that leads there; `undefined` for the root. */
function readLevel(fork: DaFork, block: number, shape: LeafShape, above: number | undefined): Soon<DaBlock> {
  const { isV5 } = fork.volume.superblock
  const nodeMagic = daNodeMagic(isV5)
  const magics = [
    ...(above === 1 ? [] : [nodeMagic]),
    ...(above === undefined || above === 1 ? shape.magics : []),
  ]
  const check = (view: ByteView, magic: number): void => {
    if (magic === nodeMagic) checkDaNode(fork, new DaNode(view, isV5))
    else shape.check(view, magic)
  }
  return after(fork.read(block, 'index', magics, check), found => {
    const level = found.magic === nodeMagic ? new DaNode(found.view, isV5).level : 0
    if (above !== undefined && level !== above - 1)
      throw fork.corrupt(`a node on level ${level} is below one on level ${above}`)
    return found
  })
}

/**
 * Leaves of a hashed tree in order, from the first that may hold a hash. Several names may have one hash, so the next leaf may go on
 * with it. No block is met twice, whatever the tree says.
 */
export async function* hashLeaves(
  fork: DaFork,
  root: number,
  hash: number,
  shape: LeafShape,
): AsyncIterable<DaBlock> {
  const { isV5 } = fork.volume.superblock
  const nodeMagic = daNodeMagic(isV5)
  const met = new Set<number>()
  const path: Step[] = []
  /** @returns the leaf, or nothing where it was a node. */
  const enter = async (block: number): Promise<DaBlock | undefined> => {
    if (met.has(block)) throw fork.corrupt(`the hashed tree leads to block ${block} twice`)
    met.add(block)
    const found = await readLevel(fork, block, shape, path.at(-1)?.node.level)
    if (found.magic !== nodeMagic) return found
    const node = new DaNode(found.view, isV5)
    // Only the first way down follows the hash; later ones begin on the left.
    path.push({ node, index: met.size === path.length + 1 ? node.indexFrom(hash) : 0 })
    return undefined
  }
  let leaf = await enter(root)
  for (;;) {
    if (leaf !== undefined) yield leaf
    if (leaf === undefined || path.length > 0) {
      if (leaf !== undefined) advance(path)
      const step = path.at(-1)
      if (step === undefined) return
      leaf = await enter(step.node.child(step.index))
    } else return
  }
}

function advance(path: Step[]): void {
  for (;;) {
    const step = path.at(-1)
    if (step === undefined) return
    step.index++
    if (step.index < step.node.count) return
    path.pop()
  }
}
