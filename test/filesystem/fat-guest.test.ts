import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeFatImage } from '../../native-fixtures/fat-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { SliceDevice } from '../../src/device/slice-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { openGuest } from '../../src/guest/open-guest.ts'
import { kernelArg } from '../../src/operations/kernel-arg.ts'
import { serialConsole } from '../../src/operations/serial-console.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20
const ENTRY = 'title Fedora\nlinux /vmlinuz\noptions root=UUID=1 ro quiet\n'

/** A guest with its boot entries on the EFI system partition, as systemd-boot has them. */
async function disk(options: string): Promise<{ device: MemoryDevice; esp: SliceDevice }> {
  const device = new MemoryDevice(60 * MIB)
  const [root, esp] = await writeGpt(device, [
    { type: GPT_TYPE.linux, length: 16 * MIB },
    { type: GPT_TYPE.esp, length: 36 * MIB },
  ])
  if (!root || !esp) throw new Error('no place')
  const volume = new SliceDevice(device, root.offset, root.length)
  await makeExt4(volume, {})
  const fs = await openExt4(volume, { writable: true })
  const guest = new MountedGuest(new MountTable({ fs, source: '' }))
  for (const folder of ['/etc', '/usr', '/boot/efi']) await guest.mkdir(folder, { recursive: true })
  await guest.writeFile('/etc/os-release', 'ID=fedora\n')
  await guest.writeFile('/etc/fstab', `LABEL=ESP /boot/efi vfat ${options} 0 2\n`)
  await fs.close()

  const image = await makeFatImage({
    name: '',
    arguments: ['-F', '32', '-s', '1', '-n', 'ESP'],
    kilobytes: 36 << 10,
  })
  const slice = new SliceDevice(device, esp.offset, esp.length)
  await slice.write(0, readFileSync(image))
  const fat = await openFat(slice, { writable: true })
  const filled = new MountedGuest(new MountTable({ fs: fat, source: '' }))
  await filled.mkdir('/loader/entries', { recursive: true })
  await filled.mkdir('/EFI/fedora', { recursive: true })
  await filled.writeFile('/loader/entries/0123456789abcdef-6.1.0.conf', ENTRY)
  await filled.writeFile('/EFI/fedora/grub.cfg', 'configfile /grub2/grub.cfg\n')
  await fat.close()
  return { device, esp: slice }
}

describe.skipIf(!haveTool('mkfs.fat'))('an EFI system partition of a guest', () => {
  test('is mounted as its fstab says, and is read and written like any other', async () => {
    const { device, esp } = await disk('umask=0077,shortname=winnt,uid=7')
    const guest = await openGuest((await readVolumes(device)).volumes, { writable: true })
    expect(guest.warnings).toEqual([])
    expect(guest.mounts.map(({ path, type }) => [path, type])).toEqual([
      ['/', 'ext4'],
      ['/boot/efi', 'vfat'],
    ])
    expect(await guest.fs.stat('/boot/EFI').catch(error => error)).toMatchObject({ code: 'ENOENT' })
    expect(await guest.fs.stat('/boot/efi/efi/FEDORA/GRUB.CFG')).toMatchObject({ uid: 7, gid: 0 })
    expect((await guest.fs.stat('/boot/efi/EFI')).mode & 0o777).toBe(0o700)
    await guest.fs.writeFile('/boot/efi/EFI/fedora/grub.cfg', 'set x=1\n')
    await guest.fs.mkdir('/boot/efi/EFI/BOOT')
    await guest.fs.writeFile('/boot/efi/EFI/BOOT/BOOTX64.EFI', new Uint8Array(100_000).fill(1))
    await guest.fs.rename('/boot/efi/EFI/BOOT', '/boot/efi/EFI/Boot')
    await expect(guest.fs.symlink('x', '/boot/efi/link')).rejects.toMatchObject({ code: 'EPERM' })
    await expect(guest.fs.chown('/boot/efi/EFI', 1000, 0)).rejects.toMatchObject({ code: 'EPERM' })
    await expect(guest.fs.link('/etc/fstab', '/boot/efi/fstab')).rejects.toMatchObject({ code: 'EXDEV' })
    await expect(guest.fs.rename('/boot/efi', '/boot/esp')).rejects.toMatchObject({ code: 'EBUSY' })
    await guest.sync()
    await guest.close()
    const path = join(temporaryFolder(), 'esp')
    const bytes = new Uint8Array(esp.size)
    await esp.read(0, bytes)
    writeFileSync(path, bytes)
    if (haveTool('fsck.fat')) await runOk('fsck.fat', ['-n', path])
    const again = await openGuest((await readVolumes(device)).volumes)
    expect(await again.fs.readText('/boot/efi/EFI/fedora/grub.cfg')).toBe('set x=1\n')
    expect(
      (await again.fs.readdir('/boot/efi/EFI')).map(({ name }) => new TextDecoder().decode(name)),
    ).toEqual(['fedora', 'Boot'])
  })

  test('holds boot entries whose kernel arguments are changed, without a warning', async () => {
    const { device } = await disk('defaults')
    const guest = await openGuest((await readVolumes(device)).volumes, { writable: true })
    const path = '/boot/efi/loader/entries/0123456789abcdef-6.1.0.conf'
    const set = await kernelArg.run(guest.fs, { changes: [{ action: 'set', argument: 'net.ifnames=0' }] })
    expect(set.warnings).toEqual([])
    expect(set.changes).toMatchObject([
      { before: 'root=UUID=1 ro quiet', after: 'root=UUID=1 ro quiet net.ifnames=0', file: path },
    ])
    const console = await serialConsole.run(guest.fs, {})
    expect(console.warnings).toEqual([])
    await guest.sync()
    expect(await guest.fs.readText(path)).toBe(
      ENTRY.replace('quiet', 'quiet net.ifnames=0 console=tty0 console=ttyS0,115200n8'),
    )
    const again = await openGuest((await readVolumes(device)).volumes)
    expect(await again.fs.readText(path)).toContain('console=ttyS0')
  })

  test('that is damaged is refused at its first change, and leaves the rest of the guest as it is', async () => {
    const { device, esp } = await disk('defaults')
    // The first entry of the table no longer has the media byte.
    const table = new Uint8Array(16)
    await esp.read(14, table.subarray(0, 2))
    await esp.write(new DataView(table.buffer).getUint16(0, true) * 512, new Uint8Array([0x12]))
    const guest = await openGuest((await readVolumes(device)).volumes, { writable: true })
    await expect(guest.fs.writeFile('/boot/efi/new', 'x')).rejects.toMatchObject({ code: 'ERR_CORRUPT' })
    await guest.fs.writeFile('/etc/motd', 'x')
    await guest.sync()
    await guest.close()
  })

  test('is no root: that is the only other filesystem, whatever is in it', async () => {
    const { device } = await disk('defaults')
    const guest = await openGuest((await readVolumes(device)).volumes)
    expect(guest.rootVolume).toBe('/dev/sda1')
    const [, volume] = (await readVolumes(device)).volumes
    if (volume === undefined) throw new Error('no volume')
    const alone = await openGuest([volume])
    expect(await alone.fs.exists('/loader/entries')).toBe(true)
  })
})
