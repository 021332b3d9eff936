import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readSync, rmdirSync } from 'node:fs'
import { run, runOk } from './native.ts'

/** What xfs_logprint says of a log: where it ends, and whether anything waits in it. */
export async function logState(image: string): Promise<{ tail: number; head: number; state: string }> {
  const printed = await runOk('xfs_logprint', ['-t', image])
  const found = /log tail: (\d+) head: (\d+) state: <(\w+)>/.exec(printed)
  if (found === null) throw new Error(`xfs_logprint says: ${printed}`)
  return { tail: Number(found[1]), head: Number(found[2]), state: found[3] ?? '' }
}

/** Whether the kernel has nothing to replay: from a device that cannot be written it mounts clean filesystems alone. */
export async function kernelFindsClean(image: string): Promise<boolean> {
  const loop = (await runOk('losetup', ['-r', '-f', '--show', image])).trim()
  const folder = mkdtempSync(`${image}.ro-`)
  try {
    const { status } = await run('mount', ['-t', 'xfs', '-o', 'ro', loop, folder])
    if (status === 0) await runOk('umount', [folder])
    return status === 0
  } finally {
    await runOk('losetup', ['-d', loop])
    rmdirSync(folder)
  }
}

export async function expectRepaired(image: string): Promise<void> {
  const { status, stdout, stderr } = await run('xfs_repair', ['-n', image])
  if (status !== 0) throw new Error(`xfs_repair -n: exit ${status}\n${stdout}${stderr}`)
}

/** Of all that is in a file, and where: pieces of zeros alone, of which sparse images are full, are passed over. */
export function digest(path: string): string {
  const hash = createHash('sha1')
  const [bytes, zeros] = [Buffer.alloc(1 << 18), Buffer.alloc(1 << 18)]
  const file = openSync(path, 'r')
  try {
    for (let at = 0; ; ) {
      const piece = bytes.subarray(0, readSync(file, bytes, 0, bytes.length, at))
      if (!piece.equals(zeros.subarray(0, piece.length))) hash.update(`${at}:`).update(piece)
      at += piece.length
      if (piece.length === 0) return hash.update(`${at}`).digest('hex')
    }
  } finally {
    closeSync(file)
  }
}

/**
 * Inodes and free blocks of a filesystem of four groups, as xfs_db reads them. The blocks of the trees of reference counts are counted as free: how full a tree's
 * blocks are depends on the order in which it was changed.
 */
export async function counters(image: string): Promise<Record<'free' | 'icount' | 'ifree', number>> {
  const groups = [0, 1, 2, 3].flatMap(agno => [`agf ${agno}`, 'print refcntblocks'])
  const commands = ['sb 0', 'print fdblocks icount ifree', ...groups]
  const printed = await runOk('xfs_db', ['-r', ...commands.flatMap(command => ['-c', command]), image])
  const values = [...printed.matchAll(/ = (\d+)$/gm)].map(([, value]) => Number(value))
  const [fdblocks = 0, icount = 0, ifree = 0, ...trees] = values
  return { free: trees.reduce((sum, blocks) => sum + blocks, fdblocks), icount, ifree }
}
