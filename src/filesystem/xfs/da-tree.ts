import type { ByteView } from '../../bytes/byte-view.ts'
import type { DaBlock, DaFork } from './da-block.ts'

const NODE_MAGIC = { v4: 0xfebe, v5: 0x3ebe } as const
/** XFS_DA_NODE_MAXDEPTH */
const MOST_LEVEL = 5
const ENTRY = 8

/** What the tree's leaves are. */
export interface LeafShape {
  /** Of version 4 or 5 as the filesystem is. */
  readonly magics: readonly number[]
  check(view: ByteView, magic: number): void
}

/** struct xfs_da_intnode: for each child the highest hash in it, and its first block in the fork. */
interface Node {
  readonly level: number
  readonly count: number
  hash(index: number): number
  child(index: number): number
}

function parseNode(view: ByteView, isV5: boolean): Node {
  const base = isV5 ? 56 : 12
  const entries = isV5 ? 64 : 16
  return {
    count: view.u16(base),
    level: view.u16(base + 2),
    hash: index => view.u32(entries + index * ENTRY),
    child: index => view.u32(entries + index * ENTRY + 4),
  }
}

interface Step {
  readonly node: Node
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
  const nodeMagic = isV5 ? NODE_MAGIC.v5 : NODE_MAGIC.v4
  const met = new Set<number>()
  const path: Step[] = []
  const check = (view: ByteView, magic: number): void => {
    if (magic !== nodeMagic) {
      shape.check(view, magic)
      return
    }
    const { count, level } = parseNode(view, isV5)
    const most = Math.floor((view.length - (isV5 ? 64 : 16)) / ENTRY)
    if (count < 1 || count > most || level < 1 || level > MOST_LEVEL)
      throw fork.corrupt(
        `a node has ${count} entries on level ${level}, expected 1 to ${most} on 1 to ${MOST_LEVEL}`,
      )
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
    const node = parseNode(found.view, isV5)
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
