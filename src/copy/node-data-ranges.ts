import { stat } from 'node:fs/promises'
import { partOf, type SourcePiece } from './source-pieces.ts'

/** What can ask lseek(2) for SEEK_DATA and SEEK_HOLE: Node.js has no lseek. By its own path: what PATH names may be anything. */
const SEEKER = '/usr/bin/perl'

/**
 * Prints where data begins and ends, a line for each run, and `end` when it saw all of the file. SEEK_DATA is 3, SEEK_HOLE 4, and error
 * 6 (ENXIO) says that there is no data any more (lseek(2), linux/fs.h).
 */
const SCRIPT = `
open(my $file, '<', $ARGV[0]) or exit 1;
for (my $hole = 0;;) {
  my $data = sysseek($file, $hole, 3);
  if (!defined $data) { exit 1 if $! != 6; last }
  $hole = sysseek($file, $data, 4);
  exit 1 if !defined $hole || $hole <= $data;
  printf "%.0f %.0f\\n", $data, $hole;
}
print "end\\n";
close(STDOUT) or exit 1;
`

/** Milliseconds: it takes ten of them, and whoever waits for more reads as fast. */
const LONGEST = 500
/** Bytes of the answer: half a million runs. */
const MOST = 16 << 20

export interface AskOptions {
  readonly signal?: AbortSignal | undefined
  /** The program that asks, for tests. */
  readonly seeker?: string
  /** Milliseconds that it may take, for tests. */
  readonly longest?: number
}

/**
 * Where a file of the host has data, as the kernel says: start and end in turn, ascending. What lies between them read as zeros at that
 * moment, what was written and is not yet on the disk included (which FIEMAP does not say); cp and qemu-img rely on the same.
 * `undefined` where nobody tells: no Linux, no perl, a filesystem that knows no holes, an answer that cannot be.
 * @param fd open in this process.
 */
export async function dataRanges(
  fd: number,
  { seeker = SEEKER, longest = LONGEST, signal }: AskOptions = {},
): Promise<Float64Array | undefined> {
  if (process.platform !== 'linux' || signal?.aborted) return undefined
  const { execFile } = await import('node:child_process')
  // Opened anew, for reading: a descriptor that is handed on shares its position and its right to write.
  const path = `/proc/${process.pid}/fd/${fd}`
  const answer = await new Promise<string | undefined>(resolve => {
    const options = {
      encoding: 'latin1',
      cwd: '/',
      // Nothing that would have perl load something.
      env: {},
      timeout: longest,
      killSignal: 'SIGKILL',
      maxBuffer: MOST,
      ...(signal === undefined ? {} : { signal }),
    } as const
    try {
      execFile(seeker, ['-f', '-e', SCRIPT, path], options, (error, output) =>
        resolve(error === null ? output : undefined),
      )
    } catch {
      resolve(undefined)
    }
  })
  if (answer === undefined) return undefined
  try {
    return parsedRanges(answer, (await stat(path)).size)
  } catch {
    return undefined
  }
}

/** The answer of a program, believed only where it is whole and can be true of a file of `size` bytes. */
export function parsedRanges(answer: string, size: number): Float64Array | undefined {
  const lines = answer.split('\n')
  if (lines.pop() !== '' || lines.pop() !== 'end') return undefined
  const ranges = new Float64Array(2 * lines.length)
  let before = 0
  let data = 0
  for (const [index, line] of lines.entries()) {
    const [, first, second] = /^(\d{1,16}) (\d{1,16})$/.exec(line) ?? []
    const start = Number(first)
    const end = Number(second)
    if (!(start >= before && end > start && end <= size)) return undefined
    ranges[2 * index] = start
    ranges[2 * index + 1] = end
    before = end
    data += end - start
  }
  // A filesystem that does not know says that everything is data (lseek(2)).
  return data < size ? ranges : undefined
}

/** A piece cut where there are holes of `least` bytes or more between the ranges. */
export function* cutAtHoles(
  piece: Extract<SourcePiece, { kind: 'data' }>,
  ranges: Float64Array,
  least: number,
): Generator<SourcePiece> {
  const { host, depth } = piece
  const end = host + piece.length
  const offset = piece.offset - host
  let at = host
  // The first run that ends behind the beginning.
  let index = 0
  for (let count = ranges.length / 2; count > 0; ) {
    const half = count >>> 1
    if ((ranges[2 * (index + half) + 1] ?? end) <= host) {
      index += half + 1
      count -= half + 1
    } else count = half
  }
  // One hole after another: from the end of a run to the beginning of the next one.
  for (let hole = host; hole < end; index++) {
    const stop = Math.min(end, ranges[2 * index] ?? end)
    if (stop - hole >= least) {
      if (hole > at) yield partOf(piece, offset + at, offset + hole)
      yield { kind: 'zero', offset: offset + hole, length: stop - hole, depth, leave: true }
      at = stop
    }
    hole = Math.max(hole, ranges[2 * index + 1] ?? end)
  }
  if (at < end) yield partOf(piece, offset + at, offset + end)
}
