import type { InobtRecord } from '../btree-kinds.ts'
import type { GroupInodes } from './group-inodes.ts'
import { CHUNK } from './inode-geometry.ts'
import { covers } from './inode-record.ts'

/** Chunks that are looked at around the parent's where nothing tells which have free inodes (searchdistance of Linux). */
const MOST_AROUND = 10

/**
 * A chunk with free inodes in a group that has some: the nearest one to an inode, or one of the hints, or the first.
 * @param hints where chunks begin that may have free inodes.
 */
export async function nearestFree(
  trees: GroupInodes,
  near: number | undefined,
  hints: readonly (number | undefined)[],
): Promise<InobtRecord | undefined> {
  if (near !== undefined) {
    const found = trees.hasFreeTree ? await nearest(trees, near) : await around(trees, near)
    if (found !== undefined) return found
  }
  for (const hint of hints) {
    const chunk = hint === undefined ? undefined : await trees.starting(hint)
    if (chunk !== undefined && chunk.ir_freecount > 0) return chunk
  }
  for await (const chunk of trees.chunks()) if (chunk.ir_freecount > 0) return chunk
  return undefined
}

/** With a tree of the chunks that have free inodes. */
async function nearest(trees: GroupInodes, agino: number): Promise<InobtRecord | undefined> {
  const before = await trees.floor(agino)
  if (before !== undefined && covers(before, agino)) return before
  return nearer(before, await trees.ceiling(agino), agino)
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
