import type { BlockDevice } from '../../device/block-device.ts'
import { type MappedRun, RunBatch, runsOf } from '../../device/mapped-runs.ts'
import type { Storage } from '../../device/storage.ts'
import type { ClusterMap, Run } from './cluster-map.ts'
import type { Header } from './header.ts'

/** Runs of the map taken under one hold of the lock. */
const STEP = 1024

/** What of an image its runs are told from. */
export interface MappedParts {
  readonly header: Header
  readonly map: ClusterMap
  readonly backing: BlockDevice | undefined
  readonly storage: Storage
  readonly dataFile: Storage | undefined
  /** Runs a step while nothing is written. */
  readonly locked: <T>(step: () => Promise<T>) => Promise<T>
  /** Whether a host cluster is staged; `undefined` when nothing can be. */
  readonly staged: ((cluster: number) => boolean) | undefined
}

// Objects here are written out property by property: V8 takes some microseconds for each property that a literal adds to a
// spread, and a large image has millions of runs.

/** The runs of a range, its backing files' included. */
export async function* mappedRuns(
  parts: MappedParts,
  offset: number,
  length: number,
): AsyncIterable<readonly MappedRun[]> {
  const batch = new RunBatch()
  const end = offset + length
  for (let at = offset; at < end; ) {
    const from = at
    const runs = await parts.locked(() => someRuns(parts, from, end))
    for (const run of runs) {
      if (run.kind === 'hole') yield* holeRuns(parts, at, run, batch)
      else if (run.kind === 'data') addData(parts, at, run, batch)
      else if (run.kind === 'zero') batch.add(zeroRun(parts, at, run))
      else batch.add(compressedRun(parts, at, run))
      at += run.length
      if (batch.full) yield batch.take()
    }
  }
  const rest = batch.takeAll()
  if (rest.length > 0) yield rest
}

/** The map's runs from `offset`, as far as one L2 table reaches, or one gap between tables. */
async function someRuns(parts: MappedParts, offset: number, end: number): Promise<Run[]> {
  const { map, header } = parts
  const { l2Span } = header.geometry
  const l1Index = Math.floor(offset / l2Span)
  const table = await map.tables.l2(l1Index)
  const runs: Run[] = []
  const stop = Math.min(end, (l1Index + 1) * l2Span)
  let at = offset
  do {
    const run = map.runIn(table, at, end - at)
    runs.push(run)
    at += run.length
  } while (at < stop && runs.length < STEP)
  return runs
}

/** Not here: the backing file's, and zeros past its end. */
async function* holeRuns(
  { backing, storage, dataFile }: MappedParts,
  offset: number,
  { length, host }: Extract<Run, { kind: 'hole' }>,
  batch: RunBatch,
): AsyncIterable<readonly MappedRun[]> {
  const present = backing === undefined ? 0 : Math.max(0, Math.min(length, backing.size - offset))
  if (backing !== undefined && present > 0)
    for await (const runs of runsOf(backing, offset, present, 1))
      for (const run of runs) {
        batch.add(run)
        if (batch.full) yield batch.take()
      }
  if (present < length)
    batch.add({
      kind: 'zero',
      offset: offset + present,
      length: length - present,
      depth: 0,
      allocated: false,
      ...(host === undefined ? {} : { storage: dataFile ?? storage, host: host + present }),
    })
}

/** A run of data, cut where staged clusters begin and end. */
function addData(
  parts: MappedParts,
  offset: number,
  { length, host }: Extract<Run, { kind: 'data' }>,
  batch: RunBatch,
): void {
  const { staged, header } = parts
  const storage = parts.dataFile ?? parts.storage
  if (staged === undefined) {
    batch.add({ kind: 'data', offset, length, depth: 0, storage, host })
    return
  }
  const { clusterSize } = header.geometry
  const isStaged = (at: number): boolean => staged(Math.floor((host + at) / clusterSize))
  for (let at = 0; at < length; ) {
    const here = isStaged(at)
    let next = at
    do next += clusterSize - ((host + next) % clusterSize)
    while (next < length && isStaged(next) === here)
    next = Math.min(next, length)
    if (here) batch.add({ kind: 'staged', offset: offset + at, length: next - at, depth: 0 })
    else
      batch.add({ kind: 'data', offset: offset + at, length: next - at, depth: 0, storage, host: host + at })
    at = next
  }
}

function zeroRun(
  { storage, dataFile }: MappedParts,
  offset: number,
  { length, host }: Extract<Run, { kind: 'zero' }>,
): MappedRun {
  return host === undefined
    ? { kind: 'zero', offset, length, depth: 0, allocated: true }
    : { kind: 'zero', offset, length, depth: 0, allocated: true, storage: dataFile ?? storage, host }
}

function compressedRun(
  { staged, header, storage }: MappedParts,
  offset: number,
  { length, host, stored, within }: Extract<Run, { kind: 'compressed' }>,
): MappedRun {
  const { clusterSize } = header.geometry
  if (staged !== undefined)
    for (let at = host - (host % clusterSize); at < host + stored; at += clusterSize)
      if (staged(at / clusterSize)) return { kind: 'staged', offset, length, depth: 0 }
  return {
    kind: 'compressed',
    offset,
    length,
    depth: 0,
    storage,
    host,
    stored,
    within,
    clusterSize,
    compression: header.compressionType,
  }
}
