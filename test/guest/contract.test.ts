import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import type { FileSystem } from '../../src/filesystem/filesystem.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { guestFsContract } from '../support/guest-fs-contract.ts'
import { oracle, temporaryFolder } from '../support/native.ts'

guestFsContract('memory', () => memoryGuest(), { xattrs: true, devices: true, owners: true })

guestFsContract('folder of the host', async () => new HostFolderGuest(temporaryFolder()), {
  xattrs: false,
  devices: false,
  owners: process.getuid?.() === 0,
})

let mounted: { device: MemoryDevice; fs: FileSystem } | undefined

afterEach(async () => {
  if (!mounted) return
  const { device, fs } = mounted
  mounted = undefined
  await fs.close()
  const bytes = new Uint8Array(device.size)
  await device.read(0, bytes)
  const path = join(temporaryFolder(), 'volume')
  writeFileSync(path, bytes)
  await oracle(path, 'ext4')
})

/** An ext4 whose root is empty, as the contract wants it. */
async function ext4Guest(): Promise<MountedGuest> {
  const device = new MemoryDevice(16 << 20)
  await makeExt4(device)
  const fs = await openExt4(device, { writable: true })
  await fs.rmdir(fs.root, new TextEncoder().encode('lost+found'))
  mounted = { device, fs }
  return new MountedGuest(new MountTable({ fs, source: '/dev/sda' }))
}

guestFsContract('ext4', ext4Guest, { xattrs: true, devices: true, owners: true })
