import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaBlock, DaFork } from './da-block.ts'
import { checkDaNode, DaNode, daNodeMagic } from './da-node.ts'

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
  const check = (view: ByteView, magic: number): void => {
    if (magic === nodeMagic) checkDaNode(fork, new DaNode(view, isV5))
    else shape.check(view, magic)
  }
  /** @returns the leaf, or nothing where it was a node. */
  const enter = async (block: number): Promise<DaBlock | undefined> => {
    if (met.has(block)) throw fork.corrupt(`the hashed tree leads to block ${block} twice`)
    met.add(block)
    const above = path.at(-1)?.node.level
    const magics = [
      ...(above === 1 ? [] : [nodeMagic]),
      ...(above === undefined || above === 1 ? shape.magics : []),
    ]
    const found = await fork.read(block, 'index', magics, check)
    if (found.magic !== nodeMagic) return found
    const node = new DaNode(found.view, isV5)
    if (above !== undefined && node.level !== above - 1)
      throw fork.corrupt(`a node on level ${node.level} is below one on level ${above}`)
    let index = 0
    // Only the first way down follows the hash; later ones begin on the left.
    if (met.size === path.length + 1) while (index < node.count - 1 && node.hash(index) < hash) index++
    path.push({ node, index })
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
