import { execFileSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FileStorage } from '../src/device/file-storage.ts'
import { StorageDevice } from '../src/device/storage-device.ts'
import { locateJournal } from '../src/filesystem/ext4/journal-location.ts'
import { type JournalRecovery, recoverJournal } from '../src/filesystem/ext4/journal-recovery.ts'
import { Ext4Volume, readSuperblock } from '../src/filesystem/ext4/volume.ts'
import { run, runOk } from '../test/support/native.ts'

/** A file as an ext4 volume before its journal is recovered. */
export async function openVolume(path: string, writable: boolean): Promise<Ext4Volume> {
  const device = new StorageDevice(await FileStorage.open(path, writable ? 'write' : 'read'))
  try {
    return new Ext4Volume(device, await readSuperblock(device), writable, () => 0n)
  } catch (error) {
    await device.close()
    throw error
  }
}

/** Recovers the journal of an image file in place. */
export async function recoverFile(path: string): Promise<JournalRecovery | undefined> {
  const volume = await openVolume(path, true)
  try {
    return await recoverJournal(volume, async device => device)
  } finally {
    await volume.device.close()
  }
}

/** The blocks of an image's journal, by the image's own word. */
export async function journalBlocks(path: string): Promise<Set<number>> {
  const volume = await openVolume(path, false)
  try {
    const blocks = new Set<number>()
    for (const run of await locateJournal(volume))
      for (let index = 0; index < run.count; index++) blocks.add(run.block + index)
    return blocks
  } finally {
    await volume.device.close()
  }
}

/** The numbers of blocks that differ between two image files, found without reading them into memory. */
export async function differingBlocks(a: string, b: string, blockSize: number): Promise<number[]> {
  const script =
    'cmp -l "$1" "$2" | awk -v size="$3" \'{ at = int(($1 - 1) / size) } at != last { print at; last = at }\''
  const output = await runOk('sh', ['-c', `last=x; ${script}`, 'sh', a, b, String(blockSize)])
  return [...new Set(output.split('\n').filter(Boolean).map(Number))]
}

/** A copy of an image file that keeps its holes. */
export async function copyImage(from: string, to: string): Promise<void> {
  await runOk('cp', ['--sparse=always', from, to])
}

/** An empty filesystem of `size` bytes made by mkfs.ext4. */
export async function makeFileSystem(path: string, size: number, options: readonly string[]): Promise<void> {
  writeFileSync(path, '')
  truncateSync(path, size)
  await runOk('mkfs.ext4', ['-q', '-F', ...options, path])
}

/** Writes transactions into an image's journal with debugfs; commands as of its journal writer (`jo`, `jw`, `jc`). */
export async function writeJournal(path: string, commands: readonly string[]): Promise<void> {
  const script = `${path}.commands`
  writeFileSync(script, `${commands.join('\n')}\n`)
  const { stderr } = await run('debugfs', ['-w', '-f', script, path])
  const complaints = stderr.split('\n').filter(line => line !== '' && !line.startsWith('debugfs 1.'))
  if (complaints.length > 0) throw new Error(`debugfs: ${complaints.join('\n')}`)
}

/**
 * The image as it is on disk while the kernel has it mounted and the last change is an fsync: what a power failure leaves.
 * Needs loop mounts.
 * @param script run by sh in the mounted root.
 */
export function dirtyByKernel(image: string, into: string, script: string, mountOptions = ''): void {
  const mountPoint = `${into}.mnt`
  mkdirSync(mountPoint, { recursive: true })
  // A long commit interval, so that nothing but the script decides what is committed.
  execFileSync('mount', ['-o', `loop,commit=600${mountOptions}`, image, mountPoint])
  try {
    execFileSync('sh', ['-ec', script], { cwd: mountPoint })
    execFileSync('cp', ['--sparse=always', image, into])
  } finally {
    execFileSync('umount', [mountPoint])
  }
}

/** A read-only mount of an image by the kernel, which replays its journal (onto the file: pass a copy). */
export function mounted<Result>(image: string, folder: string, look: (root: string) => Result): Result {
  const mountPoint = join(folder, 'mnt')
  mkdirSync(mountPoint, { recursive: true })
  execFileSync('mount', ['-o', 'loop', image, mountPoint])
  try {
    return look(mountPoint)
  } finally {
    execFileSync('umount', [mountPoint])
  }
}
