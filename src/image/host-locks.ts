/** A line of /proc/locks (proc_locks(5)), as far as it matters here. */
export interface HostLock {
  readonly kind: 'POSIX' | 'OFDLCK' | 'FLOCK' | 'LEASE' | 'DELEG'
  readonly access: 'READ' | 'WRITE'
  /** -1 for a lock that belongs to an open file rather than a process. */
  readonly pid: number
  readonly major: number
  readonly minor: number
  readonly inode: string
  readonly start: number
  readonly end: number
}

/** Lines of requests that still wait (`->`) are no locks. */
const LINE =
  /^\d+: (POSIX|OFDLCK|FLOCK|LEASE|DELEG) +\S+ +(READ|WRITE|RW|UNLCK) +(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) (\d+) (\d+|EOF)$/

export function parseHostLocks(text: string): HostLock[] {
  const locks: HostLock[] = []
  for (const line of text.split('\n')) {
    const found = LINE.exec(line.trim())
    if (found === null) continue
    const [, kind, access, pid, major, minor, inode, start, end] = found
    locks.push({
      kind: kind as HostLock['kind'],
      access: access === 'READ' ? 'READ' : 'WRITE',
      pid: Number(pid),
      major: Number.parseInt(major ?? '', 16),
      minor: Number.parseInt(minor ?? '', 16),
      inode: inode ?? '',
      start: Number(start),
      end: end === 'EOF' ? Number.POSITIVE_INFINITY : Number(end),
    })
  }
  return locks
}

/**
 * The bytes by which QEMU's processes tell each other what they do with an image and what they do not let others do (block/file-posix.c):
 * for each permission, 100 + n says "I do this" and 200 + n "nobody else may".
 */
const DOES = 100
const DOES_NOT_SHARE = 200
const PERMISSIONS = ['consistent read', 'write', 'unchanged write', 'resize'] as const
const CONSISTENT_READ = 0
const WRITE = 1
const RESIZE = 3

/**
 * What an image is opened for. A format with tables is not to be read while somebody writes to it: what a table says may be
 * wrong a moment later. The bytes of a raw image are there in any case.
 */
export type Purpose = 'read raw' | 'read tables' | 'write'

/**
 * Why an image must not be opened while others hold these locks on it; `undefined` when nothing speaks against it. For
 * reading the answer is that of `qemu-img info`. For writing it is stricter than QEMU's own: nobody may as much as read,
 * because who reads may be a machine that runs on an overlay of this image and relies on its staying as it is, and QEMU takes no
 * more than a shared lock for that.
 */
export function conflictWith(locks: readonly HostLock[], purpose: Purpose): string | undefined {
  const held = (byte: number) =>
    locks.some(
      lock => (lock.kind === 'OFDLCK' || lock.kind === 'POSIX') && lock.start <= byte && byte <= lock.end,
    )
  // A lock from the first byte on is not QEMU's; libvirt's lock daemon takes such a one for a running machine.
  const whole = locks.some(lock => lock.access === 'WRITE' && lock.start === 0)
  if (whole) return purpose === 'write' ? 'a lock on the whole file' : undefined
  if (purpose !== 'read raw')
    for (const permission of purpose === 'write' ? [WRITE, RESIZE, CONSISTENT_READ] : [WRITE, RESIZE])
      if (held(DOES + permission)) return `QEMU's lock for ${PERMISSIONS[permission]}`
  for (const permission of purpose === 'write' ? [CONSISTENT_READ, WRITE, RESIZE] : [CONSISTENT_READ])
    if (held(DOES_NOT_SHARE + permission)) return `QEMU's lock against ${PERMISSIONS[permission]} by others`
  return undefined
}
