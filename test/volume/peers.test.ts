import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { haveTool, peersFolder, runOk, temporaryFolder } from '../support/native.ts'

const peers = peersFolder()

test.skipIf(peers === undefined || !haveTool('partx'))(
  "partition tables of other projects' tests read as libblkid reads them",
  async () => {
    const folder = temporaryFolder()
    await runOk('tar', ['-xJf', join(peers ?? '', 'small.tar.xz'), '-C', folder])
    const files = (await runOk('find', [folder, '-name', '*.img'])).trim().split('\n')
    expect(files.length, readdirSync(folder).join()).toBeGreaterThan(20)
    let tables = 0
    for (const path of files) {
      const storage = await FileStorage.open(path, 'read')
      const list = await readVolumes(new StorageDevice(storage))
      await storage.close()
      for (const { offset = 0, length } of list.volumes)
        expect(offset + length).toBeLessThanOrEqual(storage.size)
      if (list.table !== 'gpt') continue
      tables++
      const args = ['-g', '-b', '-o', 'NR,START,SIZE', '-S', String(list.sectorSize), '-s', path]
      const rows = (await runOk('partx', args)).trim().split('\n')
      const theirs = rows.map(row => row.trim().split(/\s+/).map(Number))
      expect(list.volumes.map(v => [v.number, (v.offset ?? 0) / 512, v.length])).toEqual(theirs)
      expect(list.warnings).toEqual([])
    }
    expect(tables).toBe(5)
  },
)
