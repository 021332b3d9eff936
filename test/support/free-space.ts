import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { withExt4 } from '../../native-fixtures/ext4-images.ts'
import { RangeSet } from '../../src/bytes/range-set.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { runOk } from './native.ts'

export interface FreeSpace {
  /** Bytes of the volume. */
  readonly ranges: RangeSet
  readonly warnings: readonly string[]
}

/** The free space of an ext image by drydisk, or the error that keeps all of it in use. */
export async function freeSpaceOf(
  path: string,
): Promise<FreeSpace | { readonly error: string; readonly message: string }> {
  const ranges = new RangeSet()
  const warnings: string[] = []
  try {
    await withExt4(path, false, async fs => {
      let end = -1
      for await (const { offset, length } of fs.freeRanges(warning => warnings.push(warning))) {
        if (offset <= end || length <= 0)
          throw new Error(`${length} bytes at ${offset} after ${end}: not merged and in order`)
        end = offset + length
        ranges.add(offset, end)
      }
    })
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return { error: error.code, message: error.message }
  }
  return { ranges, warnings }
}

/** Writes what nobody can have wanted over all of the ranges. */
export function scribble(path: string, ranges: RangeSet, offset = 0): void {
  const junk = Buffer.alloc(1 << 20, 0xaa)
  const file = openSync(path, 'r+')
  for (const { start, end } of ranges.ranges())
    for (let at = start; at < end; at += junk.length)
      writeSync(file, junk, 0, Math.min(junk.length, end - at), offset + at)
  closeSync(file)
}

/** The free blocks that dumpe2fs lists group by group, as bytes. Needs dumpe2fs. */
export async function freeByDumpe2fs(path: string): Promise<RangeSet> {
  const text = await runOk('dumpe2fs', [path])
  const number = (name: string): number => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1])
  const blockSize = number('Block size')
  const cluster = (number('Cluster size') || blockSize) / blockSize
  const end = number('Block count')
  const ranges = new RangeSet()
  for (const [, list] of text.matchAll(/^ {2}Free blocks: (.+)$/gm))
    for (const run of (list ?? '').split(', ')) {
      const [first, last = first] = run.split('-').map(Number)
      if (first === undefined || last === undefined || Number.isNaN(first)) continue
      ranges.add(first * blockSize, Math.min(last + cluster, end) * blockSize)
    }
  return ranges
}

export function readAt(path: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const file = openSync(path, 'r')
  readSync(file, bytes, 0, length, offset)
  closeSync(file)
  return bytes
}
