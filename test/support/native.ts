import { execFile, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, onTestFinished } from 'vitest'

const execFileAsync = promisify(execFile)

export interface RunResult {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a native tool and gives its exit status; only a tool that cannot be started throws. */
export async function run(
  command: string,
  args: readonly string[],
  input?: string | Uint8Array,
): Promise<RunResult> {
  const promise = execFileAsync(command, [...args], {
    maxBuffer: 256 << 20,
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8', PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  })
  promise.child.stdin?.end(input)
  try {
    const { stdout, stderr } = await promise
    return { status: 0, stdout, stderr }
  } catch (error) {
    const failure = error as { code?: number | string; stdout?: string; stderr?: string }
    if (typeof failure.code !== 'number') throw error
    return { status: failure.code, stdout: failure.stdout ?? '', stderr: failure.stderr ?? '' }
  }
}

/** Like `run`, but any exit status other than 0 is an error that shows what the tool printed. */
export async function runOk(
  command: string,
  args: readonly string[],
  input?: string | Uint8Array,
): Promise<string> {
  const result = await run(command, args, input)
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: exit ${result.status}\n${result.stdout}${result.stderr}`)
  return result.stdout
}

const found = new Map<string, boolean>()

/** Whether a native tool is installed. `DRYDISK_REQUIRE_TOOLS=1` (as in CI) makes a missing one an error. */
export function haveTool(tool: string): boolean {
  let have = found.get(tool)
  if (have === undefined) {
    have =
      spawnSync('sh', ['-c', `command -v ${tool}`], {
        env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
      }).status === 0
    found.set(tool, have)
    if (!have && process.env.DRYDISK_REQUIRE_TOOLS === '1')
      throw new Error(`${tool} is missing, and DRYDISK_REQUIRE_TOOLS=1 demands it: run test/native-tools.sh`)
    if (!have) process.stderr.write(`SKIPPED CHECKS: ${tool} is not installed\n`)
  }
  return have
}

/** True when this process may attach loop devices and mount: the kernel is then an oracle too. */
export function haveLoopMounts(): boolean {
  return process.getuid?.() === 0 && existsSync('/dev/loop-control') && haveTool('losetup')
}

/** The folder of cases from other projects, or `undefined` (then the tests that want it skip, visibly). */
export function peersFolder(): string | undefined {
  const folder = resolve(process.env.DRYDISK_PEERS ?? '../shared/peers')
  if (existsSync(join(folder, 'README.md'))) return folder
  process.stderr.write(`SKIPPED CHECKS: no cases of other projects at ${folder} (set DRYDISK_PEERS)\n`)
  return undefined
}

/** Folders that were made outside a test. The exit of a process is too late: vitest may kill its workers. */
const ofTheFile: string[] = []

afterAll(() => {
  for (const folder of ofTheFile.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A folder that goes away with the test (or, outside a test, with the file's last test). */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(process.env.DRYDISK_TMP ?? tmpdir(), 'drydisk-test-'))
  try {
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  } catch {
    ofTheFile.push(folder)
  }
  return folder
}

/** `disk`: a raw or qcow2 image with a GPT, or with a filesystem on the bare disk. */
export type WrittenKind = 'qcow2' | 'ext4' | 'vfat' | 'xfs' | 'disk'

const written = new Map<string, WrittenKind>()

/**
 * Registers an image that the test writes: when the test ends, its oracle has the last word
 * (`qemu-img check`, `e2fsck -fn`, `fsck.fat -n`, `xfs_repair -n`), without the test remembering it. Needs `checkWrittenImages()` in the file.
 */
export function writes(path: string, kind: WrittenKind): string {
  written.set(path, kind)
  return path
}

export async function oracle(path: string, kind: WrittenKind): Promise<void> {
  if (kind === 'qcow2' && haveTool('qemu-img')) await runOk('qemu-img', ['check', '-f', 'qcow2', path])
  if (kind === 'ext4' && haveTool('e2fsck')) await runOk('e2fsck', ['-fn', path])
  if (kind === 'vfat' && haveTool('fsck.fat')) await runOk('fsck.fat', ['-n', path])
  if (kind === 'xfs' && haveTool('xfs_repair')) await runOk('xfs_repair', ['-n', '-f', path])
  if (kind === 'disk') await diskOracle(path)
}

/** `qemu-img check`, `sgdisk -v`, `e2fsck -fn` of every Linux partition and `fsck.fat -n` of an EFI system partition. */
async function diskOracle(path: string): Promise<void> {
  let raw = path
  if (magicAt(path, 0) === 'QFI\xfb') {
    if (!haveTool('qemu-img')) return
    await runOk('qemu-img', ['check', '-q', path])
    raw = `${path}.checked`
    await runOk('qemu-img', ['convert', '-O', 'raw', path, raw])
  }
  try {
    await rawDiskOracle(raw)
  } finally {
    if (raw !== path) rmSync(raw)
  }
}

async function rawDiskOracle(raw: string): Promise<void> {
  if (!haveTool('e2fsck') || !haveTool('sfdisk') || !haveTool('sgdisk')) return
  const table = await run('sfdisk', ['-J', raw])
  if (table.status !== 0) {
    await runOk('e2fsck', ['-fn', raw])
    return
  }
  const verdict = await runOk('sgdisk', ['-v', raw])
  if (!verdict.includes('No problems found')) throw new Error(verdict)
  const { partitiontable } = JSON.parse(table.stdout) as {
    partitiontable: { partitions: { start: number; size: number; type: string }[] }
  }
  for (const { start, size, type } of partitiontable.partitions) {
    if (/^(0FC63DAF|4F68BCE3)/.test(type)) {
      if (magicAt(raw, start * 512) === 'XFSB') await xfsOracle(raw, start, size)
      else await runOk('e2fsck', ['-fn', `${raw}?offset=${start * 512}`])
    }
    if (/^C12A7328/.test(type)) await espOracle(raw, start, size)
  }
}

/** The first four bytes at a place of a file, as text. */
function magicAt(path: string, position: number): string {
  const bytes = Buffer.alloc(4)
  const file = openSync(path, 'r')
  readSync(file, bytes, 0, 4, position)
  closeSync(file)
  return bytes.toString('latin1')
}

/** A partition as a file of its own, for tools that take no offset; in sectors of 512 bytes. */
async function withPartition(
  raw: string,
  start: number,
  size: number,
  use: (copy: string) => Promise<void>,
): Promise<void> {
  const copy = `${raw}.partition`
  const where = ['bs=512', `skip=${start}`, `count=${size}`, 'conv=sparse', 'status=none']
  await runOk('dd', [`if=${raw}`, `of=${copy}`, ...where])
  try {
    await use(copy)
  } finally {
    rmSync(copy)
  }
}

/** `fsck.fat -n` of an EFI system partition. */
async function espOracle(raw: string, start: number, size: number): Promise<void> {
  if (!haveTool('fsck.fat')) return
  await withPartition(raw, start, size, async copy => {
    if ((await run('blkid', ['-p', copy])).stdout.includes('TYPE="vfat"'))
      await runOk('fsck.fat', ['-n', copy])
  })
}

async function xfsOracle(raw: string, start: number, size: number): Promise<void> {
  if (!haveTool('xfs_repair')) return
  await withPartition(raw, start, size, async copy => {
    await runOk('xfs_repair', ['-n', '-f', copy])
  })
}

/** Call once at the top of a test file. */
export function checkWrittenImages(): void {
  afterEach(async () => {
    const images = [...written]
    written.clear()
    for (const [path, kind] of images) if (existsSync(path)) await oracle(path, kind)
  })
}

/** fast-check settings: a fixed seed and few runs by default; `DRYDISK_RUNS=1000 DRYDISK_SEED=7` for more. */
export function propertySettings(runs: number): { numRuns: number; seed: number; endOnFailure: boolean } {
  return {
    numRuns: Number(process.env.DRYDISK_RUNS ?? runs),
    seed: Number(process.env.DRYDISK_SEED ?? 20_26),
    endOnFailure: process.env.DRYDISK_SHRINK !== '1',
  }
}
