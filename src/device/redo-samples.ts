import { crc32cOf } from '../bytes/crc32c.ts'
import { RangeSet } from '../bytes/range-set.ts'
import { BLOCK_SIZE, BLOCKS_PER_PAGE } from './page-file.ts'
import type { OverlayBase, PageOverlay } from './page-overlay.ts'
import { type RedoSample, SECTORS_PER_BLOCK } from './redo-log-format.ts'

/** Up to this many of the blocks that the log changes are remembered as they were, ... */
const CHANGED_SAMPLES = 2048
/** ... and this many of the others, evenly spread from the first to the last. */
const SPREAD_SAMPLES = 64
const SECTOR = BLOCK_SIZE / SECTORS_PER_BLOCK

/**
 * What the file holds where the log will change it, and here and there where not.
 *
 * A log must be applied to the file that it was made for and no other, even after it was applied in part, and the file may have
 * been renamed, moved to another disk or replaced by a copy meanwhile; so neither its inode nor a checksum of the whole
 * tells. Sector by sector, the file that it belongs to holds either what it held before or what the log writes there. A
 * file that was replaced, or that a machine was booted from in between, shows something else.
 */
export async function takeSamples(overlay: PageOverlay, base: OverlayBase): Promise<RedoSample[]> {
  const blocks = Math.ceil(overlay.baseSize / BLOCK_SIZE)
  const wanted = new RangeSet()
  for (let sample = 0; sample < SPREAD_SAMPLES && blocks > 0; sample++) {
    const block = Math.floor((sample * (blocks - 1)) / (SPREAD_SAMPLES - 1))
    wanted.add(block, block + 1)
  }
  for (const block of spread(changedBlocks(overlay, blocks), CHANGED_SAMPLES)) wanted.add(block, block + 1)

  const samples: RedoSample[] = []
  // Runs that follow one another are read together, at most a megabyte at a time.
  for (const run of wanted.ranges())
    for (let start = run.start; start < run.end; start += 256) {
      const end = Math.min(run.end, start + 256)
      const bytes = await readPadded(base, overlay.baseSize, start * BLOCK_SIZE, (end - start) * BLOCK_SIZE)
      for (let block = start; block < end; block++) {
        const at = (block - start) * BLOCK_SIZE
        samples.push({ block, sectors: sectorChecksums(bytes.subarray(at, at + BLOCK_SIZE)) })
      }
    }
  return samples
}

/** Runs of blocks of the base that the overlay changes, in order. */
function changedBlocks(overlay: PageOverlay, blocks: number): RangeSet {
  const changed = new RangeSet()
  for (const { start, end } of overlay.erasedBlocks()) changed.add(start, end)
  for (const [index, { mask }] of overlay.stagedPages())
    for (let block = 0; block < BLOCKS_PER_PAGE; block++)
      if ((mask & (1 << block)) !== 0)
        changed.add(index * BLOCKS_PER_PAGE + block, index * BLOCKS_PER_PAGE + block + 1)
  changed.delete(blocks, Number.MAX_SAFE_INTEGER)
  return changed
}

/** All of the set where it is small, else about `count` of it, evenly. */
function* spread(set: RangeSet, count: number): IterableIterator<number> {
  const step = Math.max(1, Math.ceil(set.total / count))
  let skip = 0
  for (const { start, end } of set.ranges()) {
    let block = start + skip
    for (; block < end; block += step) yield block
    skip = block - end
  }
}

/** Whether the file shows, in every sampled sector, what it held before or what the log writes. */
export async function samplesMatch(
  samples: readonly RedoSample[],
  file: OverlayBase,
  after: PageOverlay,
): Promise<boolean> {
  for (const sample of samples) {
    const offset = sample.block * BLOCK_SIZE
    const found = await readPadded(file, file.size, offset, BLOCK_SIZE)
    const now = sectorChecksums(found)
    if (now.every((checksum, sector) => checksum === sample.sectors[sector])) continue
    const expected = await readPadded(after, after.size, offset, BLOCK_SIZE)
    const then = sectorChecksums(expected)
    if (!now.every((checksum, sector) => checksum === sample.sectors[sector] || checksum === then[sector]))
      return false
  }
  return true
}

async function readPadded(
  from: OverlayBase,
  size: number,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  const present = Math.max(0, Math.min(length, size - offset))
  if (present > 0) await from.read(offset, bytes.subarray(0, present))
  return bytes
}

function sectorChecksums(block: Uint8Array): number[] {
  return Array.from({ length: SECTORS_PER_BLOCK }, (_, sector) =>
    crc32cOf(block.subarray(sector * SECTOR, (sector + 1) * SECTOR)),
  )
}
