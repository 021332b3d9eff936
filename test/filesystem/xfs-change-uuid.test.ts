import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeFullXfs, withXfsMount, XFS_VARIANTS } from '../../native-fixtures/xfs-images.ts'
import { parseUuid } from '../../src/bytes/guid.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { changeXfsUuid } from '../../src/filesystem/xfs/change-uuid.ts'
import { storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { makeXfs } from '../../src/filesystem/xfs/mkfs/mkfs.ts'
import { openXfs } from '../../src/filesystem/xfs/open.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { SB_CRC_OFFSET } from '../../src/filesystem/xfs/superblock.ts'
import {
  checkWrittenImages,
  haveLoopMounts,
  haveTool,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { kernelFindsClean } from '../support/xfs-oracles.ts'

checkWrittenImages()

const UUID = '01234567-89ab-4cde-8f01-23456789abcd'
const bytesOf = (uuid: string) => parseUuid(uuid) ?? new Uint8Array(16)

async function change(path: string, uuid = UUID): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  try {
    await changeXfsUuid(device, bytesOf(uuid))
  } finally {
    await device.close()
  }
}

/** What every superblock says, but for checksums, and inodes of quota that are not there, which xfs_db writes its own way. */
async function superblocks(path: string): Promise<string[]> {
  const agcount = Number(
    /agcount = (\d+)/.exec(await runOk('xfs_db', ['-r', '-c', 'sb 0', '-c', 'p agcount', path]))?.[1],
  )
  const all: string[] = []
  for (let agno = 0; agno < agcount; agno++)
    all.push(
      ...(await runOk('xfs_db', ['-r', '-c', `sb ${agno}`, '-c', 'p', path]))
        .split('\n')
        .filter(line => !/^(crc|lsn|[ugp]quotino) /.test(line)),
    )
  return all
}

const SHAPES = XFS_VARIANTS.slice(1, 3).map(variant => ({ ...variant, names: 300 }))

describe.skipIf(!haveLoopMounts() || !haveTool('mkfs.xfs'))('as xfs_admin -U', () => {
  test.each(SHAPES)('$name', async variant => {
    const image = writes(await makeFullXfs(variant, 7), 'xfs')
    const theirs = join(temporaryFolder(), 'theirs')
    await runOk('cp', ['--sparse=always', image, theirs])
    const before = /UUID = (\S+)/.exec(await runOk('xfs_admin', ['-u', image]))?.[1] ?? ''
    await change(image)
    await runOk('xfs_admin', ['-U', UUID, theirs])
    expect(await superblocks(image)).toEqual(await superblocks(theirs))
    expect(await kernelFindsClean(image)).toBe(true)
    expect(await runOk('xfs_logprint', ['-t', image])).toContain('<CLEAN>')
    await runOk('xfs_repair', ['-n', '-f', image])
    // The kernel writes to it, and to its log; then back again.
    await withXfsMount(image, 'noatime', folder => runOk('cp', ['-a', '/etc/hostname', `${folder}/new`]))
    await runOk('xfs_repair', ['-n', '-f', image])
    await change(image, before)
    await runOk('xfs_admin', ['-U', before, theirs])
    expect((await superblocks(image)).filter(line => /uuid|incompat/.test(line))).toEqual(
      (await superblocks(theirs)).filter(line => /uuid|incompat/.test(line)),
    )
    expect(await kernelFindsClean(image)).toBe(true)
  })

  test('version 4 has it in superblocks and log alone', async () => {
    const image = writes(join(temporaryFolder(), 'image'), 'xfs')
    await runOk('truncate', ['-s', '320M', image])
    await runOk('mkfs.xfs', ['-q', '-f', '-m', 'crc=0', image])
    const theirs = `${image}.theirs`
    await runOk('cp', ['--sparse=always', image, theirs])
    await change(image)
    await runOk('xfs_admin', ['-U', UUID, theirs])
    expect(await superblocks(image)).toEqual(await superblocks(theirs))
    expect(await runOk('xfs_logprint', ['-t', image])).toContain('<CLEAN>')
    expect((await run('xfs_db', ['-r', '-c', 'uuid', image])).stdout).toContain(UUID)
  })
})

test('many changes in turn, round the end of the log', async () => {
  const device = new MemoryDevice(300 << 20)
  await makeXfs(device, {})
  const original = (await readSuperblock(device)).metaUuid
  for (let i = 1; i <= 40; i++) {
    const uuid = new Uint8Array(16).fill(i)
    await changeXfsUuid(device, uuid)
    const now = await readSuperblock(device)
    expect([now.sb_uuid, now.metaUuid]).toEqual([uuid, original])
  }
  await (await openXfs(device, { writable: true })).close()
})

test('a damaged copy of the superblock is an error, and nothing is changed', async () => {
  const device = new MemoryDevice(300 << 20)
  await makeXfs(device, {})
  const { sb_agblocks, sb_blocksize, sb_uuid } = await readSuperblock(device)
  await device.write(sb_agblocks * sb_blocksize + 40, Uint8Array.of(1, 2, 3))
  await expect(changeXfsUuid(device, bytesOf(UUID))).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
  expect((await readSuperblock(device)).sb_uuid).toEqual(sb_uuid)
})

test('more groups than a filesystem of that size has are an error at once', async () => {
  const device = new MemoryDevice(300 << 20)
  await makeXfs(device, {})
  const sector = new Uint8Array(512)
  await device.read(0, sector)
  const { sb_dblocks } = await readSuperblock(device)
  const view = new DataView(sector.buffer)
  view.setUint32(84, 64)
  view.setUint32(88, Math.ceil(sb_dblocks / 64))
  sector[124] = 6
  storeChecksum(sector, SB_CRC_OFFSET)
  await device.write(0, sector)
  await expect(changeXfsUuid(device, bytesOf(UUID))).rejects.toMatchObject({
    code: 'ERR_CORRUPT',
    message: expect.stringContaining('16 MiB'),
  })
})
