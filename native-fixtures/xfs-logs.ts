import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { onTestFinished } from 'vitest'
import { FileStorage } from '../src/device/file-storage.ts'
import { StorageDevice } from '../src/device/storage-device.ts'
import { storeChecksum } from '../src/filesystem/xfs/checksum.ts'
import { openXfs, readSuperblock } from '../src/filesystem/xfs/open.ts'
import { haveLoopMounts, haveTool, run, runOk, temporaryFolder } from '../test/support/native.ts'

/** One shape of dirty log. */
export interface DirtyXfsVariant {
  readonly name: string
  readonly mkfs: readonly string[]
  readonly operations: number
  readonly kind: 'unlink' | 'keep' | 'clone'
  /** How the filesystem is stopped: `-f` writes out the log first. */
  readonly shutdown?: 'flushed' | 'at once'
}

/** A log of a few MiB wraps after some hundred operations. */
const SMALL = '-l size=12m'.split(' ')

export const DIRTY_XFS_VARIANTS: readonly DirtyXfsVariant[] = [
  { name: 'as mkfs.xfs makes it', mkfs: SMALL, operations: 2500, kind: 'unlink' },
  {
    name: 'blocks of 1 KiB, stripe unit, stopped at once',
    mkfs: ['-b', 'size=1024', '-l', 'size=12m,su=16k'],
    operations: 1000,
    kind: 'unlink',
    shutdown: 'at once',
  },
  {
    name: 'sectors of 4 KiB, reverse mapping, inodes of 1 KiB',
    mkfs: ['-s', 'size=4096', '-m', 'rmapbt=1', '-i', 'size=1024', '-l', 'size=16m'],
    operations: 1500,
    kind: 'keep',
  },
  {
    name: 'no sparse inodes, no finobt, old times, directory blocks of 16 KiB',
    mkfs: [...SMALL, '-i', 'sparse=0', '-m', 'finobt=0,bigtime=0,reflink=0', '-n', 'size=16384'],
    operations: 1500,
    kind: 'keep',
  },
]

/** A folder in memory where there is one: filesystems in it are synced a thousand times. */
export function quickFolder(): string {
  const memory = '/dev/shm'
  if (process.env.DRYDISK_TMP !== undefined || !existsSync(memory)) return temporaryFolder()
  const folder = mkdtempSync(`${memory}/drydisk-test-`)
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Whether this machine's kernel mounts XFS. */
export function haveXfsMounts(): boolean {
  if (!haveLoopMounts() || !haveTool('mkfs.xfs') || !haveTool('xfs_io') || !haveTool('python3')) return false
  return readFileSync('/proc/filesystems', 'latin1').includes('\txfs')
}

export async function makeXfs(image: string, megabytes: number, options: readonly string[]): Promise<void> {
  writeFileSync(image, '')
  truncateSync(image, megabytes << 20)
  // The environment of xfstests: without it mkfs.xfs makes nothing below 300 MB, and no log below 64 MB.
  const environment = ['TEST_DIR=1', 'TEST_DEV=1', 'QA_CHECK_FS=1']
  await runOk('env', [...environment, 'mkfs.xfs', '-q', '-f', ...options, image])
}

/** Mounts an image while `work` runs. */
export async function mountedXfs(
  image: string,
  work: (folder: string) => Promise<void>,
  options = 'loop',
): Promise<void> {
  const folder = `${image}.mounted`
  mkdirSync(folder)
  await runOk('mount', ['-t', 'xfs', '-o', options, image, folder])
  try {
    await work(folder)
  } finally {
    await runOk('umount', [folder])
    rmdirSync(folder)
  }
}

/** Makes an image whose log is left dirty by the kernel. */
export async function makeDirtyXfs(image: string, variant: DirtyXfsVariant, seed: number): Promise<void> {
  await makeXfs(image, 200, variant.mkfs)
  await mountedXfs(image, async folder => {
    const script = new URL('./xfs/log-workload.py', import.meta.url).pathname
    await runOk('python3', [script, folder, `${seed}`, `${variant.operations}`, variant.kind])
    if (variant.shutdown === 'at once') await runOk('sync', ['-f', folder])
    const flags = variant.shutdown === 'at once' ? [] : ['-f']
    await runOk('xfs_io', ['-x', '-c', ['shutdown', ...flags].join(' '), folder])
  })
}

/** A copy of an image after the kernel replayed its log; `undefined` where the kernel refuses to. */
export async function replayedByKernel(image: string): Promise<string | undefined> {
  const copy = `${image}.replayed`
  await runOk('cp', ['--sparse=always', image, copy])
  const folder = `${copy}.mounted`
  mkdirSync(folder)
  const { status } = await run('mount', ['-t', 'xfs', '-o', 'loop', copy, folder])
  if (status === 0) await runOk('umount', [folder])
  rmdirSync(folder)
  return status === 0 ? copy : undefined
}

/**
 * A filesystem before it was mounted, with the number of each free block in it, and as it was left when the log had been written
 * in the midst of changes all the time.
 */
export async function makeUnfinishedXfs(
  image: string,
  mkfs: readonly string[],
  seed: number,
  { kind, incompat = 0 }: { kind: 'all' | 'exchange' | 'attributes'; incompat?: number },
): Promise<{ before: string; dirty: string }> {
  const [before, dirty] = [`${image}.before`, `${image}.dirty`]
  await makeXfs(before, 92, mkfs)
  await setIncompat(before, bits => bits | incompat)
  await mountedXfs(before, async folder => {
    mkdirSync(`${folder}/d`)
    writeFileSync(`${folder}/d/file`, 'there before')
  })
  await numberFreeBlocks(before)
  await runOk('cp', ['--sparse=always', before, dirty])
  const work = async (folder: string) => {
    const script = new URL('./xfs/intent-workload.py', import.meta.url).pathname
    await runOk('python3', [script, folder, `${seed}`, '16000', kind])
    await runOk('xfs_io', ['-x', '-c', 'shutdown -f', folder])
  }
  // With wsync the log is written behind the first transaction of each change of a name.
  await mountedXfs(dirty, work, kind === 'attributes' ? 'loop,wsync' : 'loop')
  return { before, dirty }
}

/** Features that the kernel has and an older mkfs.xfs does not: some need nothing but their bit. */
export async function setIncompat(image: string, change: (bits: number) => number): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  const { sb_agblocks, sb_agcount, sb_blocksize, sb_sectsize } = await readSuperblock(device)
  for (let agno = 0; agno < sb_agcount; agno++) {
    const [sector, at] = [new Uint8Array(sb_sectsize), agno * sb_agblocks * sb_blocksize]
    await device.read(at, sector)
    const view = new DataView(sector.buffer)
    view.setUint32(216, change(view.getUint32(216)))
    storeChecksum(sector, 224)
    await device.write(at, sector)
  }
  await device.close()
}

/** A file that is given the wrong blocks then has another content. */
async function numberFreeBlocks(image: string): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  const fs = await openXfs(device)
  for await (const { offset, length } of fs.freeRanges()) {
    const bytes = new Uint8Array(length)
    const view = new DataView(bytes.buffer)
    for (let at = 0; at < length; at += 512) view.setUint32(at, (offset + at) / 512)
    await device.write(offset, bytes)
  }
  await device.close()
}
