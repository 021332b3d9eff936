import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { lvmId, type VgFixture, vgText, writePv } from '../../native-fixtures/lvm-images.ts'
import { cutOff } from '../../src/copy/cut-off.ts'
import { freeRanges } from '../../src/copy/free-ranges.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { openGuest } from '../../src/guest/open-guest.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import type { Volume } from '../../src/volume/volume.ts'
import { cliOk } from '../support/cli.ts'
import { haveTool, oracle, run, runOk, temporaryFolder } from '../support/native.ts'
import { partitioned } from '../volume/lvm-disk.ts'

const KIB = 1 << 10
const MIB = 1 << 20
const EXTENT = 64 * KIB
const UUID = '11111111-2222-3333-4444-555555555551'

/** Two physical volumes of 24 MiB; root is striped over them, home is in pieces. */
const GROUP: VgFixture = {
  name: 'my-vg',
  pvs: [0, 1].map(number => ({
    key: `pv${number}`,
    id: lvmId('P', number),
    start: MIB / 512,
    count: (24 * MIB) / EXTENT,
  })),
  lvs: [
    {
      name: 'ro-ot',
      segments: [
        {
          extents: 320,
          stripes: [
            ['pv0', 0],
            ['pv1', 20],
          ],
          chunk: 32,
        },
      ],
    },
    {
      name: 'home',
      segments: [
        { extents: 100, stripes: [['pv1', 200]] },
        { extents: 100, stripes: [['pv0', 220]] },
      ],
    },
    {
      name: 'slim',
      segments: ['start_extent = 0\nextent_count = 9\ntype = "thin"\nthin_pool = "pool"\ndevice_id = 1'],
    },
  ],
}

function pv(number: number, group: VgFixture): Uint8Array {
  const bytes = new Uint8Array(25 * MIB)
  const mdas = [{ offset: 4096, size: MIB - 4096, text: vgText(group) }]
  writePv(bytes, { id: lvmId('P', number), dataStart: MIB, mdas })
  return bytes
}

async function fill(device: BlockDevice, files: Record<string, string>, label: string): Promise<void> {
  await makeExt4(device, label === 'home' ? { label } : { label, uuid: UUID })
  const fs = await openExt4(device, { writable: true })
  const guest = new MountedGuest(new MountTable({ fs, source: '' }))
  for (const [path, text] of Object.entries(files)) {
    await guest.mkdir(path.slice(0, path.lastIndexOf('/')) || '/', { recursive: true })
    await guest.writeFile(path, text)
  }
  await fs.close()
}

const named = (volumes: readonly Volume[], end: string): Volume => {
  const volume = volumes.find(({ name }) => name.endsWith(end))
  if (volume === undefined) throw new Error(`no ${end}`)
  return volume
}

async function guestDisk(fstab: string, group = GROUP): Promise<MemoryDevice> {
  const boot = new MemoryDevice(16 * MIB)
  await makeExt4(boot, { label: 'boot' })
  const bootBytes = new Uint8Array(boot.size)
  await boot.read(0, bootBytes)
  const esp = join(temporaryFolder(), 'esp')
  writeFileSync(esp, new Uint8Array(4 * MIB))
  const haveEsp = haveTool('mkfs.vfat')
  if (haveEsp) await runOk('mkfs.vfat', ['-i', '0a0b0c0d', esp])
  const disk = await partitioned(bootBytes, readFileSync(esp), pv(0, group), pv(1, group))
  const { volumes } = await readVolumes(disk)
  await fill(
    named(volumes, 'ro--ot').device,
    {
      '/etc/os-release': 'ID=debian\nPRETTY_NAME=Debian\n',
      '/etc/fstab': fstab,
      '/usr/x': '',
      '/boot/efi/x': '',
      '/home/x': '',
    },
    'root',
  )
  await fill(named(volumes, 'home').device, { '/file': 'at home' }, 'home')
  return disk
}

let disk = new MemoryDevice(0)
beforeAll(async () => {
  disk = await guestDisk(
    '/dev/mapper/my--vg-ro--ot / ext4 defaults 0 1\n/dev/my-vg/home /home ext4 defaults 0 2\n',
  )
})

async function check(device: BlockDevice, volume: Volume): Promise<void> {
  const path = join(temporaryFolder(), 'lv')
  const bytes = new Uint8Array(volume.length)
  await volume.device.read(0, bytes)
  writeFileSync(path, bytes)
  await oracle(path, 'ext4')
  expect(device.size).toBeGreaterThan(0)
}

describe('a guest on LVM', () => {
  test.each([
    '/dev/mapper/my--vg-home',
    '/dev/my-vg/home',
    '/dev/disk/by-id/dm-name-my--vg-home',
    `/dev/disk/by-id/dm-uuid-LVM-${lvmId('V', 1).replaceAll('-', '')}${lvmId('L', 2).replaceAll('-', '')}`,
    'LABEL=home',
    '/dev/disk/by-label/home',
  ])('%s is mounted, edited and right by e2fsck', async spec => {
    const device = new OverlayDevice(disk)
    const list = await readVolumes(device)
    const root = await openGuest(list.volumes, { writable: true, root: '/dev/my-vg/ro-ot' })
    await root.fs.writeFile(
      '/etc/fstab',
      `UUID=${UUID} / ext4 defaults 0 1\n${spec} /home ext4 defaults 0 2\n`,
    )
    await root.close()
    const guest = await openGuest(list.volumes, { writable: true })
    expect(guest.warnings).toEqual([])
    expect(guest.rootVolume).toBe('/dev/mapper/my--vg-ro--ot')
    expect(await guest.fs.readText('/home/file')).toBe('at home')
    await guest.fs.writeFile('/home/big', 'x'.repeat(5 * MIB))
    await guest.fs.writeFile('/etc/motd', 'striped'.repeat(100_000))
    await guest.sync()
    await guest.close()
    for (const name of ['ro--ot', 'home']) await check(device, named(list.volumes, name))
    const again = await openGuest((await readVolumes(device)).volumes)
    expect(await again.fs.readText('/etc/motd')).toBe('striped'.repeat(100_000))
    await again.close()
  })

  test.skipIf(!haveTool('mkfs.vfat'))('has /boot and the ESP beside it', async () => {
    const device = await guestDisk(
      '/dev/mapper/my--vg-ro--ot / ext4 defaults 0 1\nLABEL=boot /boot ext4 defaults 0 2\nUUID=0A0B-0C0D /boot/efi vfat umask=0077 0 1\n',
    )
    const { volumes } = await readVolumes(device)
    const first = await openGuest(volumes, { writable: true })
    await first.fs.mkdir('/boot/efi')
    await first.close()
    const guest = await openGuest(volumes, { writable: true })
    expect(guest.mounts.map(({ path, source, type }) => [path, source, type])).toEqual([
      ['/', '/dev/mapper/my--vg-ro--ot', 'ext4'],
      ['/boot', '/dev/sda1', 'ext4'],
      ['/boot/efi', '/dev/sda2', 'vfat'],
    ])
    await guest.fs.writeFile('/boot/efi/grub.cfg', 'search')
    await guest.close()
  })

  test('whose root is of another kind is refused by name, not taken for its /boot', async () => {
    const bytes = new Uint8Array(16 * MIB)
    const boot = new MemoryDevice(bytes.length)
    await makeExt4(boot)
    await boot.read(0, bytes)
    const thin = { ...GROUP, lvs: GROUP.lvs.slice(2) }
    const { volumes } = await readVolumes(await partitioned(bytes, pv(0, thin), pv(1, thin)))
    await expect(openGuest(volumes)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringMatching(/\/dev\/mapper\/my--vg-slim is of type thin/),
    })
    await expect(openGuest(volumes, { root: '/dev/my-vg/slim' })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringMatching(/is of type thin/),
    })
    expect((await openGuest(volumes, { root: '/dev/sda1' })).rootVolume).toBe('/dev/sda1')
  })

  test('with a mount that cannot be read is an error below it, and one that LVM keeps read-only a warning', async () => {
    const device = new OverlayDevice(disk)
    const { volumes } = await readVolumes(device)
    const first = await openGuest(volumes, { writable: true })
    await first.fs.mkdir('/srv')
    await first.fs.writeFile(
      '/etc/fstab',
      '/dev/my-vg/ro-ot / ext4\n/dev/my-vg/slim /srv ext4\n/dev/my-vg/home /home ext4\n',
    )
    await first.close()
    const kept = volumes.map(each =>
      each.name.endsWith('home') ? { ...each, readOnly: 'has the snapshot x' } : each,
    )
    const guest = await openGuest(kept, { writable: true })
    await expect(guest.fs.readdir('/srv')).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('is of type thin'),
    })
    expect(guest.warnings).toEqual(['/dev/mapper/my--vg-home has the snapshot x: /home is read-only here'])
    await expect(guest.fs.writeFile('/home/a', 'b')).rejects.toMatchObject({ code: 'EROFS' })
    await guest.close()
    await expect(openGuest(kept, { writable: true, root: '/dev/my-vg/home' })).rejects.toMatchObject({
      code: 'EROFS',
      message: expect.stringContaining('has the snapshot x'),
    })
  })

  test('on a disk without a partition table', async () => {
    const bytes = pv(0, {
      ...GROUP,
      pvs: GROUP.pvs.slice(0, 1),
      lvs: [{ name: 'all', segments: [{ extents: 300, stripes: [['pv0', 7]] }] }],
    })
    const device = new MemoryDevice(bytes)
    const { volumes, table } = await readVolumes(device)
    expect([table, volumes.map(({ name }) => name)]).toEqual(['none', ['/dev/sda', '/dev/mapper/my--vg-all']])
    await fill(named(volumes, 'all').device, { '/etc/passwd': 'root', '/usr/x': '' }, 'root')
    const guest = await openGuest(volumes)
    expect(guest.rootVolume).toBe('/dev/mapper/my--vg-all')
    await guest.close()
  })
})

describe('free space on LVM', () => {
  test('is what its filesystems and free extents are, and nobody misses it', async () => {
    const device = new OverlayDevice(disk)
    const list = await readVolumes(device)
    const before = await contents(list.volumes)
    const found = await freeRanges(device)
    const of = (end: string) => found.volumes.find(({ name }) => name.endsWith(end))
    // 384 extents each; root has 160 of each, home 100.
    expect([of('sda3')?.dropped, of('sda4')?.dropped]).toEqual([(384 - 260) * EXTENT, (384 - 260) * EXTENT])
    const fs = await openExt4(named(list.volumes, 'home').device)
    const { freeBlocks, blockSize } = await fs.statfs()
    await fs.close()
    expect(of('home')?.dropped).toBe(freeBlocks * blockSize)
    expect(of('slim')).toMatchObject({ dropped: 0, reason: expect.stringContaining('of type thin') })
    const junk = new Uint8Array(MIB).fill(0xaa)
    for (const { start, end } of found.ranges.ranges())
      for (let at = start; at < end; at += junk.length)
        await device.write(at, junk.subarray(0, Math.min(junk.length, end - at)))
    const after = await readVolumes(device)
    expect(after.warnings).toEqual([])
    expect(await contents(after.volumes)).toEqual(before)
    for (const name of ['ro--ot', 'home']) await check(device, named(after.volumes, name))
  })

  async function contents(volumes: readonly Volume[]): Promise<Record<string, string>> {
    const guest = await openGuest(volumes)
    const files: Record<string, string> = {}
    for (const path of ['/etc/fstab', '/etc/os-release', '/home/file'])
      files[path] = await guest.fs.readText(path)
    await guest.close()
    return files
  }

  test('is left where someone may need it', async () => {
    const all = await freeRanges(disk)
    const reasonOf = async (options: Parameters<typeof freeRanges>[1], end: string) =>
      (await freeRanges(disk, options)).volumes.find(({ name }) => name.endsWith(end))?.reason
    expect(await reasonOf({ ignore: ['/dev/my-vg/home'] }, 'home')).toContain('as asked')
    expect(await reasonOf({ ignore: ['/dev/sda3'] }, 'home')).toContain('in a volume group on /dev/sda3')
    expect(await reasonOf({ gaps: false }, 'sda3')).toContain('left as it is')
    const list = await readVolumes(disk)
    const kept = list.volumes.map(each =>
      each.name.endsWith('home') ? { ...each, readOnly: 'has a snapshot' } : each,
    )
    const volumes = { ...list, volumes: kept }
    expect(await reasonOf({ volumes }, 'home')).toContain('has a snapshot')
    // A stale label under a filesystem that was made over it.
    const stale = new OverlayDevice(disk)
    const under = named((await readVolumes(stale)).volumes, 'sda3')
    await under.device.write(1024 + 0x38, Uint8Array.of(0x53, 0xef))
    expect((await freeRanges(stale)).volumes.find(({ name }) => name === '/dev/sda3')?.reason).toContain(
      'signatures of both',
    )
    // Metadata that is damaged in one place.
    const damaged = new OverlayDevice(disk)
    await under.device.flush()
    await named((await readVolumes(damaged)).volumes, 'sda4').device.write(4096 + 600, Uint8Array.of(1))
    const doubtful = await freeRanges(damaged)
    expect(doubtful.volumes.find(({ name }) => name === '/dev/sda3')?.reason).toContain('in doubt')
    expect(doubtful.ranges.total).toBeLessThan(all.ranges.total)
  })

  test('a disk that is cut says which logical volumes lose their end', async () => {
    const told = await cutOff(disk, disk.size - 14 * MIB)
    expect(told.filter(sentence => sentence.includes('logical'))).toEqual([
      expect.stringContaining('/dev/mapper/my--vg-home'),
    ])
  })
})

test('info shows table, groups, logical volumes and filesystems in one picture', async () => {
  const path = join(temporaryFolder(), 'disk.raw')
  const bytes = new Uint8Array(disk.size)
  await disk.read(0, bytes)
  writeFileSync(path, bytes)
  const text = await cliOk('info', path)
  expect(text).toMatch(/^\/dev\/sda3 +25 MiB LVM2_member UUID=P00000-\S+ of the volume group my-vg$/m)
  expect(text).toMatch(/^\/dev\/mapper\/my--vg-ro--ot +20 MiB ext4 LABEL=root/m)
  expect(text).toMatch(/^\/dev\/mapper\/my--vg-slim +576 KiB LVM thin \(is of type thin: /m)
  expect(text).toMatch(/^group my-vg: 48 MiB, 15.5 MiB free$/m)
  expect(text).toMatch(/^root: +\/dev\/mapper\/my--vg-ro--ot$/m)
  const info = JSON.parse(await cliOk('info', '--json', path)) as Record<string, unknown>
  expect(info.groups).toMatchObject([
    {
      name: 'my-vg',
      physicalVolumes: [{ name: '/dev/sda3', extents: 384, freeExtents: 124 }, { name: '/dev/sda4' }],
    },
  ])
  expect(await cliOk('cat', '--root', '/dev/my-vg/home', `${path}:/file`)).toBe('at home')
  await cliOk('customize', '-a', path, '--hostname', 'on-lvm')
  expect(await cliOk('cat', `${path}:/etc/hostname`)).toBe('on-lvm\n')
  if (haveTool('grub-fstest')) {
    const grub = await run('grub-fstest', [path, 'cat', '(lvm/my--vg-ro--ot)/etc/hostname'])
    expect(grub.stdout).toBe('on-lvm\n')
  }
})
