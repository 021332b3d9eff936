import type { InobtRecord } from '../btree-kinds.ts'
import { after, type Soon } from '../soon.ts'
import type { GroupInodes } from './group-inodes.ts'
import { CHUNK } from './inode-geometry.ts'

/** Chunks that are looked at around the parent's where nothing tells which have free inodes (searchdistance of Linux). */
const MOST_AROUND = 10

/** Where chunks begin that may have free inodes. */
export interface ChunkHints {
  /** Found for the same inode before. */
  readonly last: number | undefined
  /** Made last in the group. */
  readonly newest: number | undefined
}

/** A chunk with free inodes in a group that has some: near an inode where one is given, else one that a hint leads to, or the first. */
export function nearestFree(
  trees: GroupInodes,
  near: number | undefined,
  hints: ChunkHints,
): Soon<InobtRecord | undefined> {
  if (near === undefined) return anyFree(trees, hints)
  const found = trees.hasFreeTree
    ? nearest(trees, near)
    : after(starting(trees, hints.last), last => last ?? around(trees, near))
  return after(found, chunk => chunk ?? anyFree(trees, hints))
}

async function anyFree(trees: GroupInodes, { newest }: ChunkHints): Promise<InobtRecord | undefined> {
  const made = await starting(trees, newest)
  if (made !== undefined) return made
  for await (const chunk of trees.chunks()) if (chunk.ir_freecount > 0) return chunk
  return undefined
}

function starting(trees: GroupInodes, agino: number | undefined): Soon<InobtRecord | undefined> {
  return after(agino === undefined ? undefined : trees.starting(agino), chunk =>
    chunk !== undefined && chunk.ir_freecount > 0 ? chunk : undefined,
  )
}

/** With a tree of the chunks that have free inodes. */
function nearest(trees: GroupInodes, agino: number): Soon<InobtRecord | undefined> {
  return after(trees.around(agino), ({ floor, next }) => nearer(floor, next, agino))
}

function nearer(
  before: InobtRecord | undefined,
  behind: InobtRecord | undefined,
  agino: number,
): InobtRecord | undefined {
  if (before === undefined || behind === undefined) return before ?? behind
  return agino - (before.ir_startino + CHUNK - 1) < behind.ir_startino - agino ? before : behind
}

/** Without one: outwards from the inode's own chunk. */
async function around(trees: GroupInodes, agino: number): Promise<InobtRecord | undefined> {
  let before = await trees.floor(agino)
  let behind = await trees.ceiling(agino + 1)
  for (let step = 0; step < MOST_AROUND; step++) {
    const chunk = nearer(before, behind, agino)
    if (chunk === undefined || chunk.ir_freecount > 0) return chunk
    if (chunk === before)
      before = chunk.ir_startino === 0 ? undefined : await trees.floor(chunk.ir_startino - 1)
    else behind = await trees.ceiling(chunk.ir_startino + 1)
  }
  return undefined
}
