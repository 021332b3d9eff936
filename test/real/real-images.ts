import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { run, runOk } from '../support/native.ts'

/**
 * Real, bootable images, built by scripts that lie outside the project: `DRYDISK_IMAGE_SCRIPTS` (default
 * ../shared/images). They are built once into `DRYDISK_REAL` (default: a folder of the system's temporary one).
 */
export const scripts = resolve(process.env.DRYDISK_IMAGE_SCRIPTS ?? '../shared/images')
export const out = resolve(process.env.DRYDISK_REAL ?? join(tmpdir(), 'drydisk-real'))
export const haveScripts = existsSync(join(scripts, 'build-debian.sh')) && process.getuid?.() === 0
if (!haveScripts)
  process.stderr.write(
    `SKIPPED CHECKS: real images need root and the scripts that build them, not found at ${scripts} (set DRYDISK_IMAGE_SCRIPTS)\n`,
  )

export const main = resolve('dist/bin/main.js')
const walkScript = resolve('test/real/walk.py')

export async function build(): Promise<void> {
  mkdirSync(out, { recursive: true })
  await runOk('bash', [join(scripts, 'install-deps.sh'), 'build', 'boot'])
  await runOk('apt-get', ['install', '-y', '-q', '--no-install-recommends', 'acl', 'fdisk', 'strace'])
  if (!existsSync(join(out, 'debian-ext4.qcow2')))
    await runOk('bash', [join(scripts, 'build-debian.sh'), out, 'ext4'])
  if (!existsSync(join(out, 'debian-ext4-dirty.qcow2')))
    await runOk('bash', [join(scripts, 'make-dirty.sh'), out, 'debian-ext4'])
  if (!existsSync(join(out, 'flavours', 'bitmap.qcow2')))
    await runOk('bash', [join(scripts, 'flavours.sh'), out])
}

/** A folder on the same disk as the images, for copies. */
export function scratch(): string {
  mkdirSync(out, { recursive: true })
  return mkdtempSync(join(out, 'scratch-'))
}

export function discard(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}

/** A copy that keeps holes. */
export async function copySparse(from: string, to: string): Promise<string> {
  await runOk('cp', ['--sparse=always', '--reflink=auto', from, to])
  return to
}

export function copyBeside(folder: string, ...files: string[]): void {
  for (const file of files) copyFileSync(file, join(folder, file.slice(file.lastIndexOf('/') + 1)))
}

export interface WalkRow {
  readonly path: string
  readonly ctime: number
  readonly atime: number
  readonly [field: string]: unknown
}

/** Attaches the byte range of a partition as a loop device while `use` runs. */
export async function withPartition<T>(
  raw: string,
  number: number,
  use: (loopDevice: string) => Promise<T>,
  readOnly = true,
): Promise<T> {
  const table = JSON.parse(await runOk('sfdisk', ['--json', raw])) as {
    partitiontable: { partitions: { node: string; start: number; size: number }[] }
  }
  const partition = table.partitiontable.partitions.find(p => p.node === `${raw}${number}`)
  if (partition === undefined) throw new Error(`${raw} has no partition ${number}`)
  const loop = (
    await runOk('losetup', [
      '--find',
      '--show',
      ...(readOnly ? ['--read-only'] : []),
      '--offset',
      String(partition.start * 512),
      '--sizelimit',
      String(partition.size * 512),
      raw,
    ])
  ).trim()
  try {
    return await use(loop)
  } finally {
    await runOk('losetup', ['--detach', loop])
  }
}

/** The raw content of an image by qemu's word, in a new file. */
export async function toRaw(image: string, raw: string): Promise<string> {
  await runOk('qemu-img', ['convert', '-O', 'raw', image, raw])
  return raw
}

/** `e2fsck -fn` of the root partition, and the tree as the kernel mounts it (which replays a dirty journal first). */
export async function kernelWalk(
  raw: string,
  options: { dirty?: boolean } = {},
): Promise<Map<string, WalkRow>> {
  const folder = mkdtempSync(join(tmpdir(), 'drydisk-mount-'))
  try {
    return await withPartition(
      raw,
      1,
      async loop => {
        if (options.dirty !== true) await runOk('e2fsck', ['-fn', loop])
        await runOk('mount', ['-o', options.dirty === true ? 'noatime' : 'ro', loop, folder])
        try {
          const text = await runOk('python3', [walkScript, folder])
          return new Map(
            text
              .trimEnd()
              .split('\n')
              .map(line => JSON.parse(line) as WalkRow)
              .map(row => [row.path, row]),
          )
        } finally {
          await runOk('umount', [folder])
        }
      },
      options.dirty !== true,
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Runs a file's content out of a raw image's root partition, as the kernel reads it. */
export async function kernelRead(raw: string, path: string): Promise<string> {
  return await withPartition(raw, 1, async loop => {
    const result = await run('debugfs', ['-R', `cat ${path}`, loop])
    return result.stdout
  })
}

/** What differs between two walks, path by path and field by field, access and change times included. */
export function differences(before: Map<string, WalkRow>, after: Map<string, WalkRow>): string[] {
  const found: string[] = []
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    const a = before.get(path)
    const b = after.get(path)
    if (a === undefined) found.push(`+ ${path}`)
    else if (b === undefined) found.push(`- ${path}`)
    else {
      const fields = new Set([...Object.keys(a), ...Object.keys(b)])
      for (const field of fields)
        if (JSON.stringify(a[field]) !== JSON.stringify(b[field])) found.push(`${field} ${path}`)
    }
  }
  return found.sort()
}

/**
 * The process dies by SIGKILL as it enters its Nth write system call, for every N of a whole command. strace does
 * the killing; one libuv thread makes N mean the same write each time.
 */
export async function killedAt(n: number, args: readonly string[]): Promise<boolean> {
  const result = await run('env', [
    'UV_THREADPOOL_SIZE=1',
    'strace',
    '-f',
    '-qq',
    '-o',
    '/dev/null',
    '-e',
    'trace=pwrite64,pwritev,ftruncate',
    '-e',
    `inject=pwrite64,pwritev,ftruncate:signal=KILL:when=${n}`,
    process.execPath,
    main,
    ...args,
  ]).catch((error: unknown) => {
    // execFile reports death by a signal without an exit status.
    if ((error as { signal?: string }).signal === 'SIGKILL') return { status: 137, stdout: '', stderr: '' }
    throw error
  })
  if (result.status !== 0 && result.status !== 137)
    throw new Error(`unexpected exit ${result.status}: ${result.stderr}`)
  return result.status === 137
}
