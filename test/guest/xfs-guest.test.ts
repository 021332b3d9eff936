import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeXfs, withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { isSupported, isWritable } from '../../src/filesystem/open.ts'
import { openGuest } from '../../src/guest/open-guest.ts'
import { loadSparse } from '../support/btrfs-damage.ts'
import { haveLoopMounts, haveTool, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20

describe.skipIf(!haveTool('mkfs.xfs') || !haveLoopMounts())('a guest whose root is XFS', () => {
  test('is found and read with /boot on ext4 beside it, and written', async () => {
    const image = join(temporaryFolder(), 'image')
    await makeXfs(image, 320, [])
    await withXfsMount(image, 'rw', async top => {
      for (const name of ['etc', 'usr', 'boot']) mkdirSync(join(top, name))
      const fstab = '/dev/sda2 / xfs defaults 0 0\n/dev/sda1 /boot ext4 defaults 0 2\n'
      await runOk('sh', ['-c', 'printf %s "$1" > "$2"/etc/fstab', 'sh', fstab, top])
      await runOk('sh', ['-c', 'echo NAME=Some > "$1"/etc/os-release', 'sh', top])
    })
    const [boot, root] = [new MemoryDevice(16 * MIB), await loadSparse(image)]
    await makeExt4(boot)
    const before = [boot.toBytes().slice(), root.toBytes().slice()]
    const volumes = [boot, root].map((device, index) => ({
      kind: 'partition' as const,
      ...{ name: `/dev/sda${index + 1}`, number: index + 1, offset: 0, length: device.size, device },
      ...{ aliases: [], type: '83', typeName: 'Linux', label: '', uuid: '', places: () => [] },
    }))
    const guest = await openGuest(volumes)
    expect(guest.rootVolume).toBe('/dev/sda2')
    expect(guest.mounts.map(({ path, type }) => [path, type])).toEqual([
      ['/', 'xfs'],
      ['/boot', 'ext4'],
    ])
    expect(await guest.fs.readText('/etc/os-release')).toBe('NAME=Some\n')
    await guest.close()
    for (const [index, device] of [boot, root].entries())
      expect(Buffer.compare(device.toBytes(), before[index] ?? new Uint8Array())).toBe(0)
    const edited = await openGuest(volumes, { writable: true })
    for (const path of ['/etc/motd', '/boot/note']) await edited.fs.writeFile(path, `this is ${path}\n`)
    await edited.close()
    const again = await openGuest(volumes)
    for (const path of ['/etc/motd', '/boot/note'])
      expect(await again.fs.readText(path)).toBe(`this is ${path}\n`)
    await again.close()
    const written = join(temporaryFolder(), 'root')
    writeFileSync(written, root.toBytes())
    await runOk('xfs_repair', ['-n', '-f', written])
    expect([isSupported('xfs'), isWritable('xfs')]).toEqual([true, true])
  })
})
