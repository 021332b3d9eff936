import { DrydiskError } from '../../errors.ts'
import type { ByteQueue } from './byte-queue.ts'
import { ascii, BLOCK, parseNumber } from './header.ts'
import { type PaxRecords, paxNumber } from './pax.ts'

/** Where the data of a sparse file lies, in order and apart; what is between reads as zeros. */
export interface SparseMap {
  readonly size: number
  readonly runs: readonly { readonly offset: number; readonly length: number }[]
}

/** A map takes some bytes of the archive for each run, so that a false count ends with the archive. */
const MAX_RUNS = 1_000_000

function corrupt(what: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `${what} of a sparse file in the archive`)
}

/** Checks a map against the number of bytes that the archive has for the file. */
function sparseMap(size: number, pairs: readonly number[], stored: number): SparseMap {
  const runs: { offset: number; length: number }[] = []
  let at = 0
  let data = 0
  if (pairs.length % 2 !== 0) throw corrupt('the map ends in the middle')
  for (let i = 0; i < pairs.length; i += 2) {
    const offset = pairs[i] ?? 0
    const length = pairs[i + 1] ?? 0
    if (offset < at || offset + length > size) throw corrupt('the map is out of order or beyond the end')
    if (length > 0) runs.push({ offset, length })
    at = offset + length
    data += length
  }
  if (data !== stored) throw corrupt(`${stored} bytes are stored, but the map has ${data}`)
  return { size, runs }
}

/** GNU's own format (typeflag `S`): four pairs in the header, 21 in each block that follows (`struct sparse_header` in tar.h). */
export async function readGnuSparse(
  header: Uint8Array,
  queue: ByteQueue,
  stored: number,
): Promise<SparseMap> {
  const pairs: number[] = []
  const take = (block: Uint8Array, start: number, count: number) => {
    for (let i = 0; i < count; i++) {
      const field = start + i * 24
      // An empty pair ends the list.
      if (block[field] === 0) break
      pairs.push(parseNumber(block.subarray(field, field + 12), 'sparse offset', queue.offset))
      pairs.push(parseNumber(block.subarray(field + 12, field + 24), 'sparse length', queue.offset))
    }
  }
  take(header, 386, 4)
  const size = parseNumber(header.subarray(483, 495), 'real size', queue.offset)
  for (let more = header[482] !== 0; more; ) {
    const block = await queue.exactly(BLOCK)
    if (block.length === 0 || pairs.length > 2 * MAX_RUNS) throw corrupt('the map has no end')
    take(block, 0, 21)
    more = block[504] !== 0
  }
  return sparseMap(size, pairs, stored)
}

/**
 * The formats in extended headers (GNU tar manual, "Storing Sparse Files"): 0.0 repeats pairs, 0.1 has one list, 1.0 puts the
 * map before the data, as decimal lines padded to a block. `undefined` where the file is not sparse.
 * @returns the map and how many of the stored bytes it took.
 */
export async function readPaxSparse(
  records: PaxRecords,
  repeated: readonly number[],
  queue: ByteQueue,
  stored: number,
): Promise<{ map: SparseMap; taken: number } | undefined> {
  const major = records.get('GNU.sparse.major')
  if (major && paxNumber(major, 'GNU.sparse.major') === 1) {
    const real = records.get('GNU.sparse.realsize')
    if (!real) throw corrupt('there is no size')
    const { pairs, taken } = await readLines(queue, stored)
    return { map: sparseMap(paxNumber(real, 'GNU.sparse.realsize'), pairs, stored - taken), taken }
  }
  const size = records.get('GNU.sparse.size')
  if (!size) return undefined
  const list = records.get('GNU.sparse.map')
  if (list && list.length > 16 * MAX_RUNS) throw corrupt('the map is too long')
  const pairs = list
    ? new TextDecoder()
        .decode(list)
        .split(',')
        .filter(text => text !== '')
        .map(text => paxNumber(new TextEncoder().encode(text), 'GNU.sparse.map'))
    : repeated
  return { map: sparseMap(paxNumber(size, 'GNU.sparse.size'), pairs, stored), taken: 0 }
}

async function readLines(queue: ByteQueue, stored: number): Promise<{ pairs: number[]; taken: number }> {
  let taken = 0
  let text = ''
  const line = async (): Promise<number> => {
    for (;;) {
      const end = text.indexOf('\n')
      if (end >= 0) {
        const digits = text.slice(0, end)
        text = text.slice(end + 1)
        return paxNumber(new TextEncoder().encode(digits), 'the sparse map')
      }
      if (text.length > 32 || taken + BLOCK > stored) throw corrupt('the map has no end')
      const block = await queue.exactly(BLOCK)
      if (block.length === 0) throw corrupt('the map has no end')
      taken += BLOCK
      text += ascii(block)
    }
  }
  const count = await line()
  if (count > MAX_RUNS) throw corrupt(`the map claims ${count} runs`)
  const pairs: number[] = []
  for (let i = 0; i < 2 * count; i++) pairs.push(await line())
  return { pairs, taken }
}
