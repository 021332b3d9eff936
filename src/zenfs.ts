/**
 * A guest, one filesystem or any tree as a filesystem of ZenFS (`npm install @zenfs/core`): code for node:fs then works on an image.
 *
 * ```ts
 * import { openImage } from 'drydisk'
 * import { mountGuest } from 'drydisk/zenfs'
 *
 * await using image = await openImage('disk.qcow2', { writable: true })
 * using disk = await mountGuest(await image.guest())
 * await disk.fs.promises.writeFile('/etc/motd', 'edited while asleep\n')
 * await image.commit()
 * ```
 */
export { GuestBackend, type GuestBackendOptions } from './zenfs/guest-backend.ts'
export { type ImageContext, mountFileSystem, mountGuest, mountTree } from './zenfs/mount.ts'
