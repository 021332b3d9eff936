import { join } from 'node:path'
import { mountedXfs } from '../../native-fixtures/xfs-logs.ts'
import { ForkEditor } from '../../src/filesystem/xfs/fork/fork-edit.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { runOk } from './native.ts'

/** Fills a filesystem with one file, whose inode number it gives. Needs root. */
export async function fillWithOneFile(image: string): Promise<number> {
  let ino = 0
  await mountedXfs(image, async folder => {
    const file = join(folder, 'filler')
    const [blocks = 0, size = 0] = (await runOk('stat', ['-f', '-c', '%a %S', folder])).split(' ').map(Number)
    await runOk('xfs_io', ['-f', '-c', `falloc 0 ${(blocks - 16) * size}`, file])
    ino = Number(await runOk('stat', ['-c', '%i', file]))
  })
  return ino
}

/**
 * Gives back those of a file's pieces that lie `offset` blocks behind a multiple of `period` in the volume, `count` blocks each,
 * as many as `most`.
 */
export async function makeHoles(
  writer: XfsWriter,
  ino: number,
  { period, offset, count, most }: { period: number; offset: number; count: number; most: number },
): Promise<void> {
  await inTransaction(writer, async () => {
    const editor = new ForkEditor(writer, await writer.inodes.edit(ino), 'data')
    const holes: number[] = []
    for await (const run of editor.map.runs(0, await editor.end())) {
      if (run.block === undefined) continue
      const [from, to] = [run.block, run.block + run.count]
      for (let at = Math.ceil((from - offset) / period) * period + offset; at + count <= to; at += period)
        holes.push(run.logical + at - from)
    }
    for (const at of holes.slice(0, most)) await editor.unmap(at, at + count)
  })
}
