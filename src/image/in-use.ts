import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { deviceNumbers } from '../device/file-storage.ts'
import { DrydiskError } from '../errors.ts'
import { conflictWith, type Purpose, parseHostLocks } from './host-locks.ts'

/** How /proc/locks and stat(2) name a file. */
export interface FileIdentity {
  readonly path: string
  readonly device: bigint
  readonly inode: bigint
}

/**
 * Refuses an image that a running machine holds, as `qemu-img info` does for reading.
 * On Linux only: elsewhere nothing shows who holds a file.
 * Errors: `ERR_IN_USE`.
 */
export async function checkNotInUse(file: FileIdentity, purpose: Purpose): Promise<void> {
  if (process.platform !== 'linux') return
  const conflict =
    (await lockConflict(file, purpose)) ?? (purpose === 'write' ? await loopDevice(file) : undefined)
  if (conflict === undefined) return
  const holders = await holdersOf(file)
  throw new DrydiskError(
    'ERR_IN_USE',
    `${file.path} is in use: ${conflict} is held${holders.length > 0 ? ` by ${holders.join(', ')}` : ''}. ` +
      `${purpose === 'write' ? 'Writing to it now would corrupt it' : 'What it holds may change while it is read'}. ` +
      'Stop what uses it, or use --force (option force) if you know better',
    { path: file.path, holder: holders.join(', ') },
  )
}

async function lockConflict(file: FileIdentity, purpose: Purpose): Promise<string | undefined> {
  const text = await readFile('/proc/locks', 'utf8').catch(() => '')
  const inode = String(file.inode)
  if (!text.includes(`:${inode} `)) return undefined
  const { major, minor } = deviceNumbers(file.device)
  const sameInode = parseHostLocks(text).filter(lock => lock.inode === inode && lock.pid !== process.pid)
  const exact = conflictWith(
    sameInode.filter(lock => lock.major === major && lock.minor === minor),
    purpose,
  )
  if (exact !== undefined) return exact
  // btrfs and overlayfs show one device number in stat(2) and another in /proc/locks: then the inode decides, if somebody
  // has the file open at all.
  const elsewhere = conflictWith(sameInode, purpose)
  if (elsewhere === undefined || (await holdersOf(file)).length === 0) return undefined
  return elsewhere
}

/** A loop device over the file writes to it, or caches what it read, whenever it likes. */
async function loopDevice(file: FileIdentity): Promise<string | undefined> {
  const devices = await readdir('/sys/block').catch(() => [])
  for (const device of devices) {
    if (!device.startsWith('loop')) continue
    const backing = await readFile(`/sys/block/${device}/loop/backing_file`, 'utf8').catch(() => undefined)
    if (backing === undefined) continue
    const found = await stat(backing.trimEnd(), { bigint: true }).catch(() => undefined)
    if (found?.dev === file.device && found.ino === file.inode) return `the loop device /dev/${device}`
  }
  return undefined
}

/** Processes that have the file open, as `name (pid)`; those of other users show only to root. */
async function holdersOf(file: FileIdentity): Promise<string[]> {
  const holders: string[] = []
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    for (const descriptor of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const link = `/proc/${pid}/fd/${descriptor}`
      // readlink first: a stat through it can block on a dead network mount, and most are sockets and pipes.
      if (!(await readlink(link).catch(() => '')).startsWith('/')) continue
      const found = await stat(link, { bigint: true }).catch(() => undefined)
      if (found?.dev !== file.device || found.ino !== file.inode) continue
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'process')
      holders.push(`${name.trimEnd()} (pid ${pid})`)
      break
    }
  }
  return holders
}
