import { readFileSync, unlinkSync } from 'node:fs'
import { link, open, readFile, readlink, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { crc32cOf } from '../bytes/crc32c.ts'
import { fileError } from '../device/file-error.ts'
import { DrydiskError } from '../errors.ts'

/** Who holds a lock file, as far as another process can find out whether it still runs. */
interface Holder {
  readonly pid: number
  /** Clock ticks from the machine's start to the process's: a process id is used again, this is not. */
  readonly start: string
  readonly host: string
  /** Of the running kernel: another one means that the machine was started again since. */
  readonly boot: string
  /** A process id says nothing in another namespace (container). */
  readonly namespace: string
}

export function lockName(imageName: string): string {
  return `${imageName}.drydisk-lock`
}

/** A lock file beside an image, by which two drydisk writers exclude each other. */
export class WriterLock {
  readonly #path: string
  readonly #content: string
  #held = true

  private constructor(path: string, content: string) {
    this.#path = path
    this.#content = content
  }

  /**
   * Takes the lock. One that its holder left behind when it died is taken over.
   * @param path of the image, with no symbolic link in it.
   * @param force takes the lock whoever holds it.
   * Errors: `ERR_IN_USE` naming the holder; POSIX codes when the folder does not let itself be written to.
   */
  static async take(path: string, force: boolean): Promise<WriterLock> {
    const lockPath = lockName(path)
    // The nonce makes each lock one of its kind, also for one process that takes two after another.
    const content = `${JSON.stringify({ ...(await self()), nonce: globalThis.crypto.randomUUID() })}\n`
    const unique = `${lockPath}.${process.pid}-${globalThis.crypto.randomUUID().slice(0, 8)}`
    // Bounded: each turn either takes the lock, or finds a holder, or a rival took the same dead lock away first.
    for (let attempt = 0; attempt < 10; attempt++) {
      if (await createWhole(lockPath, unique, content)) return new WriterLock(lockPath, content)
      const found = await readFile(lockPath, 'utf8').catch(() => undefined)
      if (found === undefined) continue
      const holder = parseHolder(found)
      if (!force && (holder === undefined || (await mayRun(holder)))) throw inUse(path, lockPath, holder)
      await takeAway(lockPath, unique, found, content)
    }
    throw inUse(path, lockPath, undefined)
  }

  /** Removes the lock, if it is still this one. */
  async release(): Promise<void> {
    if (!this.#held) return
    this.#held = false
    const found = await readFile(this.#path, 'utf8').catch(() => undefined)
    if (found === this.#content) await unlink(this.#path).catch(() => undefined)
  }

  /** As `release`, at once: for a process that is about to end and cannot wait. */
  releaseNow(): void {
    if (!this.#held) return
    this.#held = false
    try {
      if (readFileSync(this.#path, 'utf8') === this.#content) unlinkSync(this.#path)
    } catch {
      // Whoever comes next sees that its holder is gone.
    }
  }
}

/** Makes the file with its content in it, or finds one there: nobody ever sees it half written. */
async function createWhole(lockPath: string, unique: string, content: string): Promise<boolean> {
  try {
    const file = await open(unique, 'wx', 0o644)
    try {
      await file.writeFile(content)
    } finally {
      await file.close()
    }
  } catch (error) {
    // On a full disk there is room for a name, but none for what it holds.
    await unlink(unique).catch(() => undefined)
    throw fileError(error, lockPath, 'create the lock file')
  }
  try {
    await link(unique, lockPath)
    return true
  } catch (error) {
    const posix = fileError(error, lockPath, 'create the lock file')
    if (posix.code === 'EEXIST') return false
    // A filesystem without hard links: at worst a rival reads an empty lock and gives up.
    return await createPlain(lockPath, content)
  } finally {
    await unlink(unique).catch(() => undefined)
  }
}

async function createPlain(lockPath: string, content: string): Promise<boolean> {
  try {
    const file = await open(lockPath, 'wx', 0o644)
    await file.writeFile(content).finally(() => file.close())
    return true
  } catch (error) {
    const posix = fileError(error, lockPath, 'create the lock file')
    if (posix.code === 'EEXIST') return false
    throw posix
  }
}

/**
 * Removes a dead lock. Of many that found it dead only one may: by the time that a slower one acts, the name may be that of
 * somebody's new lock. So removing it takes a claim to just this lock, by its content, and another look at the lock
 * under that claim.
 */
async function takeAway(lockPath: string, unique: string, expected: string, content: string): Promise<void> {
  const claim = `${lockPath}.${crc32cOf(new TextEncoder().encode(expected)).toString(16).padStart(8, '0')}`
  if (!(await createWhole(claim, unique, content))) {
    const claimant = parseHolder(await readFile(claim, 'utf8').catch(() => ''))
    // Whoever claimed it died before the next instruction; only then does the claim stay.
    if (claimant !== undefined && !(await mayRun(claimant))) await unlink(claim).catch(() => undefined)
    await new Promise(resolve => setTimeout(resolve, 20))
    return
  }
  try {
    if ((await readFile(lockPath, 'utf8').catch(() => undefined)) === expected) await unlink(lockPath)
  } catch (error) {
    throw fileError(error, lockPath, 'take over the lock file')
  } finally {
    await unlink(claim).catch(() => undefined)
  }
}

function inUse(path: string, lockPath: string, holder: Holder | undefined): DrydiskError {
  const who = holder === undefined ? 'another drydisk' : `drydisk (pid ${holder.pid} on ${holder.host})`
  return new DrydiskError(
    'ERR_IN_USE',
    `${path} is being written to by ${who}, says ${lockPath}. Wait for it to end; if it no longer runs, remove that file or use ` +
      '--force (option force)',
    { path, holder: who },
  )
}

async function self(): Promise<Holder> {
  return {
    pid: process.pid,
    start: await startOf(process.pid),
    host: hostname(),
    boot: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim(),
    namespace: await readlink('/proc/self/ns/pid').catch(() => ''),
  }
}

/** Field 22 of /proc/pid/stat (proc_pid_stat(5)); empty where there is no such process or no /proc. */
async function startOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The second field is the program's name in parentheses, and may hold anything.
  return (
    text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')[19]
      ?.trim() ?? ''
  )
}

function parseHolder(text: string): Holder | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const { pid, start, host, boot, namespace } = value as Record<string, unknown>
    if (
      typeof pid !== 'number' ||
      !Number.isSafeInteger(pid) ||
      pid <= 0 ||
      typeof start !== 'string' ||
      typeof host !== 'string' ||
      typeof boot !== 'string' ||
      typeof namespace !== 'string'
    )
      return undefined
    return { pid, start, host, boot, namespace }
  } catch {
    return undefined
  }
}

/** False only when it is certain that the holder does not run any more. */
async function mayRun(holder: Holder): Promise<boolean> {
  const us = await self()
  if (holder.host !== us.host) return true
  if (holder.boot !== us.boot) return false
  if (holder.namespace !== us.namespace) return true
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    // EPERM: it runs, under another user.
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
  }
  const start = await startOf(holder.pid)
  return start === '' || holder.start === '' || start === holder.start
}
