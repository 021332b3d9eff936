import type { FreeExtents, Run } from './free-extents.ts'

/** Runs on each side of the goal that are looked at before length counts for more than nearness. */
const NEAR_RUNS = 32

export interface Wish {
  /** A block of the group. */
  readonly goal: number
  readonly wanted: number
  /** What the first block is a multiple of. */
  readonly alignment: number
  /** Parts of a run that may be taken, in order. */
  usable(run: Run): Iterable<Run>
}

export interface Found {
  /** The free run that it is a part of. */
  readonly from: Run
  readonly taken: Run
}

/**
 * `required` blocks or more, and not more than are wanted: behind the goal or else near it where enough are in a row; else
 * the shortest run that has enough.
 */
export async function findFree(free: FreeExtents, wish: Wish, required: number): Promise<Found | undefined> {
  const near = await findNear(free, wish, required)
  if (near !== undefined) return near
  for await (const from of free.atLeast(required)) {
    const taken = partOf(from, wish, required)
    if (taken !== undefined) return { from, taken }
  }
  return undefined
}

/** The longest run, cut down to what is wanted, if it has `least` blocks. */
export async function findLongest(free: FreeExtents, wish: Wish, least: number): Promise<Found | undefined> {
  let best: Found | undefined
  for (let from = await free.shorterThan(); from !== undefined; from = await free.shorterThan(from)) {
    if (from.count < least || from.count <= (best?.taken.count ?? 0)) return best
    const taken = partOf(from, { ...wish, goal: 0 }, Math.max(least, (best?.taken.count ?? 0) + 1))
    if (taken !== undefined) best = { from, taken }
  }
  return best
}

async function findNear(free: FreeExtents, wish: Wish, required: number): Promise<Found | undefined> {
  const around = await free.before(wish.goal)
  if (around !== undefined) {
    const taken = partOf(around, wish, required)
    if (taken !== undefined && around.start + around.count > wish.goal) return { from: around, taken }
  }
  const behind = await firstFit(free.from(wish.goal + 1), wish, required)
  const before = await firstFit(downwards(free, around), wish, required)
  if (behind === undefined || before === undefined) return behind ?? before
  const farther = behind.taken.start - wish.goal > wish.goal - before.taken.start
  return farther ? before : behind
}

async function firstFit(runs: AsyncIterable<Run>, wish: Wish, required: number): Promise<Found | undefined> {
  let seen = 0
  for await (const from of runs) {
    const taken = partOf(from, wish, required)
    if (taken !== undefined) return { from, taken }
    if (++seen >= NEAR_RUNS) return undefined
  }
  return undefined
}

async function* downwards(free: FreeExtents, first: Run | undefined): AsyncIterable<Run> {
  for (let run = first; run !== undefined; ) {
    yield run
    if (run.start === 0) return
    run = await free.before(run.start - 1)
  }
}

/** As much of a run as is wanted, behind the goal if that is possible. */
function partOf(from: Run, wish: Wish, required: number): Run | undefined {
  const parts = [...wish.usable(from)]
  for (const least of [wish.goal, 0])
    for (const part of parts) {
      const start = Math.ceil(Math.max(part.start, least) / wish.alignment) * wish.alignment
      const count = Math.min(wish.wanted, part.start + part.count - start)
      if (count >= required && count > 0) return { start, count }
    }
  return undefined
}
