import { after, type Soon } from '../soon.ts'
import type { FreeExtents, Run } from './free-extents.ts'

/** Runs on each side of the goal that are looked at before length counts for more than nearness. */
const NEAR_RUNS = 32

export interface Wish {
  /** A block of the group. */
  readonly goal: number
  readonly wanted: number
  /** What the first block is a multiple of. */
  readonly alignment: number
  /** Where the goal is taken: as many blocks stay free before what is found, in a run that has them twice. */
  readonly room: number
  /** Parts of a run that may be taken, in order. */
  usable(run: Run): readonly Run[]
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
export function findFree(free: FreeExtents, wish: Wish, required: number): Soon<Found | undefined> {
  return after(findNear(free, wish, required), near => near ?? findShortest(free, wish, required))
}

async function findShortest(free: FreeExtents, wish: Wish, required: number): Promise<Found | undefined> {
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

function findNear(free: FreeExtents, wish: Wish, required: number): Soon<Found | undefined> {
  return after(free.before(wish.goal), around => {
    if (around !== undefined && around.start + around.count > wish.goal) {
      const taken = partOf(around, wish, required)
      if (taken !== undefined) return { from: around, taken }
    }
    const apart = wish.room === 0 ? undefined : findApart(free, wish, required)
    return after(apart, found => found ?? findNearest(free, wish, required, around))
  })
}

/** In a long run behind the goal, so that two that grow by turns are not in each other's way at every step. */
function findApart(free: FreeExtents, wish: Wish, required: number): Soon<Found | undefined> {
  const { goal, room, wanted } = wish
  const choose = (from: Run) =>
    from.count < 2 * room + wanted
      ? undefined
      : firstPart(wish.usable(from), wish, required, from.start + room)
  return firstFit(free.from(goal + 1), run => free.from(run.start + 1), choose)
}

/** @param around the last run that begins before the goal. */
function findNearest(
  free: FreeExtents,
  wish: Wish,
  required: number,
  around: Run | undefined,
): Soon<Found | undefined> {
  const { goal } = wish
  const choose = (from: Run) => partOf(from, wish, required)
  const upwards = (run: Run) => free.from(run.start + 1)
  const downwards = (run: Run) => (run.start === 0 ? undefined : free.before(run.start - 1))
  return after(firstFit(free.from(goal + 1), upwards, choose), behind =>
    after(firstFit(around, downwards, choose), before => {
      if (behind === undefined || before === undefined) return behind ?? before
      return behind.taken.start - goal > goal - before.taken.start ? before : behind
    }),
  )
}

/** @param runs that are looked at, at most. */
function firstFit(
  first: Soon<Run | undefined>,
  next: (run: Run) => Soon<Run | undefined>,
  choose: (run: Run) => Run | undefined,
  runs = NEAR_RUNS,
): Soon<Found | undefined> {
  return after(first, from => {
    if (from === undefined || runs === 0) return undefined
    const taken = choose(from)
    return taken === undefined ? firstFit(next(from), next, choose, runs - 1) : { from, taken }
  })
}

/** As much of a run as is wanted, behind the goal if that is possible. */
function partOf(from: Run, wish: Wish, required: number): Run | undefined {
  const parts = wish.usable(from)
  return firstPart(parts, wish, required, wish.goal) ?? firstPart(parts, wish, required, 0)
}

/** @param least the first block that may be taken. */
function firstPart(
  parts: readonly Run[],
  { wanted, alignment }: Wish,
  required: number,
  least: number,
): Run | undefined {
  for (const part of parts) {
    const start = Math.ceil(Math.max(part.start, least) / alignment) * alignment
    const count = Math.min(wanted, part.start + part.count - start)
    if (count >= required && count > 0) return { start, count }
  }
  return undefined
}
