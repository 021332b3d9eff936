import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs'
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

export function digest(path: string): string {
  return createHash('sha1').update(readFileSync(path)).digest('hex')
}

/** The superblock's counters as xfs_db reads them. */
export async function counters(image: string): Promise<Record<string, number>> {
  const printed = await runOk('xfs_db', ['-r', '-c', 'sb 0', '-c', 'print fdblocks icount ifree', image])
  const found = [...printed.matchAll(/^(\w+) = (\d+)$/gm)].map(([, name = '', value]) => [
    name,
    Number(value),
  ])
  return Object.fromEntries(found)
}
