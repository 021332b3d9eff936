import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { toBytes } from '../../src/bytes/names.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { SliceDevice } from '../../src/device/slice-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { probe } from '../../src/filesystem/probe.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { openGuest } from '../../src/guest/open-guest.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { haveTool, oracle, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20

interface Part {
  /** Files of an ext4 filesystem; left out: nothing is made there. */
  files?: Record<string, string>
  uuid?: string
  label?: string
  partLabel?: string
  partUuid?: string
  raw?: (bytes: SliceDevice) => Promise<void>
}

async function disk(...parts: Part[]): Promise<MemoryDevice> {
  const device = new MemoryDevice((parts.length * 16 + 4) * MIB)
  const placed = await writeGpt(
    device,
    parts.map(part => ({
      type: GPT_TYPE.linux,
      length: 16 * MIB,
      ...(part.partLabel ? { label: part.partLabel } : {}),
      ...(part.partUuid ? { uuid: part.partUuid } : {}),
    })),
  )
  for (const [index, part] of parts.entries()) {
    const place = placed[index]
    if (!place) throw new Error('no place')
    const volume = new SliceDevice(device, place.offset, place.length)
    await part.raw?.(volume)
    if (!part.files) continue
    await makeExt4(volume, {
      ...(part.uuid ? { uuid: part.uuid } : {}),
      ...(part.label ? { label: part.label } : {}),
    })
    const fs = await openExt4(volume, { writable: true })
    const guest = new MountedGuest(new MountTable({ fs, source: '' }))
    for (const [path, text] of Object.entries(part.files)) {
      if (path.endsWith('/')) await guest.mkdir(path, { recursive: true })
      else {
        await guest.mkdir(path.slice(0, path.lastIndexOf('/')) || '/', { recursive: true })
        await guest.writeFile(path, text)
      }
    }
    await fs.close()
  }
  return device
}

const system = (fstab: string, more: Record<string, string> = {}) => ({
  '/etc/os-release': 'ID=debian\nPRETTY_NAME=Debian\n',
  '/etc/fstab': fstab,
  '/usr/': '',
  '/boot/under': 'hidden by the mount',
  ...more,
})
const U1 = '11111111-2222-3333-4444-555555555551'
const U2 = '11111111-2222-3333-4444-555555555552'
const P2 = 'aaaaaaaa-2222-3333-4444-555555555552'

const open = async (device: MemoryDevice, options = {}) =>
  openGuest((await readVolumes(device)).volumes, options)

describe('mounts by fstab', () => {
  test.each([
    `UUID=${U2}`,
    `UUID="${U2.toUpperCase()}"`,
    'LABEL=boot-fs',
    `PARTUUID=${P2}`,
    'PARTLABEL=boot-part',
    `/dev/disk/by-uuid/${U2}`,
    '/dev/disk/by-label/boot-fs',
    `/dev/disk/by-partuuid/${P2}`,
    '/dev/disk/by-partlabel/boot\\x2dpart',
    '/dev/disk/by-path/pci-0000:00:04.0-part2',
    '/dev/sda2',
    '/dev/vda2',
    '/dev/xvda2',
    '/dev/nvme0n1p2',
    '/dev/mmcblk0p2',
  ])('%s', async spec => {
    const device = await disk(
      { files: system(`${spec} /boot ext4 defaults 0 2\nUUID=${U1} / ext4 defaults 0 1\n`), uuid: U1 },
      { files: { '/grub/grub.cfg': 'x' }, uuid: U2, label: 'boot-fs', partLabel: 'boot-part', partUuid: P2 },
    )
    const guest = await open(device)
    expect(guest.warnings).toEqual([])
    expect(guest.mounts.map(({ path, source, type }) => [path, source, type])).toEqual([
      ['/', '/dev/sda1', 'ext4'],
      ['/boot', '/dev/sda2', 'ext4'],
    ])
    expect(await guest.fs.readText('/boot/grub/grub.cfg')).toBe('x')
    expect(await guest.fs.exists('/boot/under')).toBe(false)
  })

  test.each([
    ['UUID=CBA0-EA3D /boot vfat umask=077 0 1', 'ERR_UNSUPPORTED', /\/dev\/sda2 \(vfat\)/],
    ['UUID=99999999-2222-3333-4444-555555555552 /boot ext4 defaults 0 1', 'ERR_UNSUPPORTED', /no volume/],
    ['/dev/mapper/vg-boot /boot xfs defaults 0 1', 'ERR_UNSUPPORTED', /mapped device/],
    ['server:/export /boot nfs defaults 0 0', 'ERR_UNSUPPORTED', /not on this disk/],
    ['/usr /boot none bind 0 0', 'ERR_UNSUPPORTED', /bind mount/],
  ])('%s is an error on access', async (line, code, message) => {
    const vfat = new Uint8Array(512)
    vfat.set(toBytes('FAT32   '), 0x52)
    vfat.set([0x3d, 0xea, 0xa0, 0xcb], 0x43)
    vfat.set([0x55, 0xaa], 0x1fe)
    const device = await disk({ files: system(`${line}\n`) }, { raw: volume => volume.write(0, vfat) })
    const guest = await open(device)
    await expect(guest.fs.readdir('/boot')).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
    expect(await guest.fs.exists('/etc/fstab')).toBe(true)
  })

  test.each([
    'tmpfs /boot tmpfs size=1G 0 0',
    '/dev/sr0 /boot udf,iso9660 user,noauto 0 0',
    'UUID=99999999-2222-3333-4444-555555555552 /boot ext4 nofail 0 1',
    'LABEL=swap none swap sw 0 0',
    'LABEL=swap swap swap sw 0 0',
  ])('%s covers nothing', async line => {
    const guest = await open(await disk({ files: system(`${line}\n`) }))
    expect(await guest.fs.exists('/boot/under')).toBe(true)
  })

  test('mount points nest whatever the order of lines, and a missing one is a warning', async () => {
    const guest = await open(
      await disk(
        {
          files: system('LABEL=c /srv/b/c ext4\nLABEL=none /missing ext4\nLABEL=b /srv/b ext4\n', {
            '/srv/b/': '',
          }),
          label: 'a',
        },
        { files: { '/c/': '' }, label: 'b' },
        { files: { '/deep': 'x' }, label: 'c' },
      ),
    )
    expect(await guest.fs.readText('/srv/b/c/deep')).toBe('x')
    expect(guest.warnings).toEqual([expect.stringMatching(/^\/etc\/fstab:2: \/missing/)])
  })

  test('edits go to the filesystem that is mounted, and each is right by e2fsck', async () => {
    const device = await disk(
      { files: system('LABEL=boot /boot ext4\n') },
      { files: { '/grub.cfg': 'old' }, label: 'boot' },
    )
    const guest = await open(device, { writable: true })
    await guest.fs.writeFile('/boot/grub.cfg', 'new content')
    await guest.fs.writeFile('/etc/motd', 'hello')
    await guest.close()
    const { volumes } = await readVolumes(device)
    for (const volume of volumes) {
      const bytes = new Uint8Array(volume.length)
      await volume.device.read(0, bytes)
      const path = join(temporaryFolder(), 'part')
      writeFileSync(path, bytes)
      await oracle(path, 'ext4')
    }
    expect(await (await open(device)).fs.readText('/boot/grub.cfg')).toBe('new content')
  })
})

describe('the root', () => {
  test('is the system whose fstab names itself', async () => {
    const device = await disk(
      { files: system(`UUID=${U2} / ext4\n`), uuid: U1 },
      { files: system(`UUID=${U2} / ext4\n`), uuid: U2 },
      { files: { '/data': 'x' } },
    )
    expect((await open(device)).rootVolume).toBe('/dev/sda2')
    expect((await open(device, { root: '/dev/sda1' })).rootVolume).toBe('/dev/sda1')
    expect((await open(device, { root: '/dev/sda3' })).rootVolume).toBe('/dev/sda3')
  })

  test('of two alike is asked for', async () => {
    const device = await disk({ files: system('') }, { files: system('') })
    await expect(open(device)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/\/dev\/sda1 \(Debian\), \/dev\/sda2 \(Debian\)/),
    })
  })

  test('may be a filesystem that holds no system, when it is the only one', async () => {
    expect((await open(await disk({ files: { '/data': 'x' } }))).rootVolume).toBe('/dev/sda1')
    const two = await disk({ files: { '/data': 'x' } }, { files: { '/data': 'x' } })
    await expect(open(two)).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringMatching(/holds no installed/),
    })
  })

  test('that cannot be read is named', async () => {
    const ntfs = new Uint8Array(512)
    ntfs.set(toBytes('NTFS    '), 3)
    await expect(open(await disk({ raw: volume => volume.write(0, ntfs) }))).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringMatching(/\/dev\/sda1 holds ntfs/),
    })
  })
})

describe('signatures are those that blkid finds', () => {
  const makers: Record<string, [string, string[]]> = {
    ext2: ['mkfs.ext2', ['-q', '-L', 'lab']],
    ext3: ['mkfs.ext3', ['-q', '-L', 'lab']],
    ext4: ['mkfs.ext4', ['-q', '-L', 'lab']],
    xfs: ['mkfs.xfs', ['-q', '-L', 'lab']],
    btrfs: ['mkfs.btrfs', ['-q', '-L', 'lab']],
    vfat: ['mkfs.vfat', ['-n', 'LAB']],
    'vfat of 12 bits': ['mkfs.vfat', ['-F', '12', '-n', 'LAB']],
    swap: ['mkswap', ['-L', 'lab']],
  }
  for (const [name, [tool, args]] of Object.entries(makers))
    test.skipIf(!haveTool(tool) || !haveTool('blkid'))(name, async () => {
      const path = join(temporaryFolder(), 'volume')
      const size = name === 'xfs' || name === 'btrfs' ? 320 : 16
      await runOk('truncate', ['-s', `${size}M`, path])
      await runOk(tool, [...args, path])
      const out = await runOk('blkid', ['-p', '-o', 'export', path])
      const value = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(out)?.[1] ?? ''
      const head = new MemoryDevice(MIB)
      const bytes = new Uint8Array(MIB)
      const file = openSync(path, 'r')
      readSync(file, bytes)
      closeSync(file)
      await head.write(0, bytes)
      expect(await probe(head)).toMatchObject({
        type: value('TYPE'),
        uuid: value('UUID'),
        label: value('LABEL').replaceAll('\\', ''),
      })
    })

  test('anything else, however short, has none', async () => {
    for (const size of [0, 1, 511, 1024, 1500, 70_000])
      expect(await probe(new MemoryDevice(size))).toBeUndefined()
  })
})
