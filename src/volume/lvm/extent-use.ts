import { type Range, RangeSet } from '../../bytes/range-set.ts'
import type { LvMetadata, LvSegment, VgMetadata } from './volume-group.ts'

/** Which extents of physical volumes logical volumes have. */
export interface ExtentUse {
  /** By the key of the physical volume; extents. */
  readonly used: ReadonlyMap<string, RangeSet>
  /** Names of logical volumes that share an extent with another, or have one twice: one of these others. */
  readonly overlaps: ReadonlyMap<string, string>
  /** Whether that is all that they have: some types of segments name extents in ways of their own. */
  readonly complete: boolean
}

/** Types that lie on other logical volumes alone. */
const ON_VOLUMES = /^(snapshot|thin|thin-pool|cache|cache-pool|writecache|raid\w*|vdo|vdo-pool|zero|error)$/

interface Use extends Range {
  readonly key: string
  readonly name: string
}

/** Extents of each stripe. */
export function areaLength(segment: LvSegment): number {
  return segment.extent_count / segment.stripes.length
}

/** Goes through all logical volumes of a group, hidden ones too. */
export function extentUse(group: VgMetadata): ExtentUse {
  const keys = new Set(group.physical_volumes.map(({ key }) => key))
  const uses: Use[] = []
  let complete = group.unreadable.length === 0
  for (const volume of group.logical_volumes)
    for (const segment of volume.segments) {
      if (segment.type !== 'striped' && !ON_VOLUMES.test(segment.type)) complete = false
      uses.push(...usesOf(volume, segment, keys))
    }
  uses.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.start - b.start))
  const used = new Map<string, RangeSet>()
  const overlaps = new Map<string, string>()
  let reaching: Use | undefined
  for (const use of uses) {
    if (reaching?.key === use.key && use.start < reaching.end) {
      overlaps.set(use.name, reaching.name)
      overlaps.set(reaching.name, use.name)
    }
    if (reaching?.key !== use.key || use.end > reaching.end) reaching = use
    const set = used.get(use.key) ?? new RangeSet()
    used.set(use.key, set)
    set.add(use.start, use.end)
  }
  return { used, overlaps, complete: complete && overlaps.size === 0 }
}

function usesOf({ name }: LvMetadata, segment: LvSegment, keys: ReadonlySet<string>): Use[] {
  return segment.stripes
    .filter(({ on }) => keys.has(on))
    .map(({ on, extent }) => ({ key: on, name, start: extent, end: extent + areaLength(segment) }))
}
