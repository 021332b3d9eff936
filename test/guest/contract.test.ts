import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { guestFsContract } from '../support/guest-fs-contract.ts'
import { temporaryFolder } from '../support/native.ts'

guestFsContract('memory', () => memoryGuest(), { xattrs: true, devices: true, owners: true })

guestFsContract('folder of the host', async () => new HostFolderGuest(temporaryFolder()), {
  xattrs: false,
  devices: false,
  owners: process.getuid?.() === 0,
})
