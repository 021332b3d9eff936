import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeBtrfs, withMount } from '../../native-fixtures/btrfs-images.ts'
import { isZero } from '../../src/bytes/compare.ts'
import { byteKey } from '../../src/bytes/names.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { SliceDevice } from '../../src/device/slice-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openExt4 } from '../../src/filesystem/ext4/open.ts'
import { isSupported, isWritable } from '../../src/filesystem/open.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { type Guest, type OpenGuestOptions, openGuest } from '../../src/guest/open-guest.ts'
import { asksFor, splitSource } from '../../src/guest/subvolumes.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { loadSparse } from '../support/btrfs-damage.ts'
import { haveLoopMounts, haveTool, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20
const UUID = '5b9c2a0e-2f6d-4c5d-9e55-0c9f3a1b7d10'
const SIZE = 128

const system = (name: string, fstab: string) => ({
  'etc/os-release': `ID=${name}\nPRETTY_NAME="${name}"\n`,
  'etc/fstab': fstab,
  'usr/bin/x': '',
  'boot/x': '',
})

interface Layout {
  /** Subvolumes in the order of making, nested ones after theirs; files of each. `snapshot:FROM` makes a snapshot. */
  readonly subvolumes: readonly (readonly [
    path: string,
    files: Record<string, string> | `snapshot:${string}`,
  ])[]
  readonly default?: string
}

async function btrfsImage({ subvolumes, default: chosen }: Layout): Promise<string> {
  const path = join(temporaryFolder(), 'image')
  await makeBtrfs(path, SIZE, ['--mixed', '-U', UUID])
  await withMount(path, 'rw', async top => {
    for (const [subvolume, files] of subvolumes) {
      const folder = join(top, subvolume)
      mkdirSync(dirname(folder), { recursive: true })
      if (typeof files === 'string') {
        await runOk('btrfs', ['subvolume', 'snapshot', join(top, files.slice('snapshot:'.length)), folder])
        continue
      }
      if (subvolume !== '') await runOk('btrfs', ['subvolume', 'create', folder])
      for (const [file, text] of Object.entries(files)) {
        mkdirSync(dirname(join(folder, file)), { recursive: true })
        if (file.endsWith('/')) mkdirSync(join(folder, file), { recursive: true })
        else writeFileSync(join(folder, file), text)
      }
    }
    if (chosen !== undefined) await runOk('btrfs', ['subvolume', 'set-default', join(top, chosen)])
  })
  return path
}

/** A disk with the btrfs image as its first partition, and an ext4 filesystem with some files as the second. */
async function disk(image: string, files?: Record<string, string>): Promise<MemoryDevice> {
  const content = await loadSparse(image)
  const device = new MemoryDevice((SIZE + 32) * MIB)
  const places = await writeGpt(device, [
    { type: GPT_TYPE.linux, length: SIZE * MIB },
    { type: GPT_TYPE.linux, length: 16 * MIB },
  ])
  const [first, second] = places
  if (!first || !second) throw new Error('no place')
  for (let at = 0; at < content.size; at += MIB) {
    const bytes = new Uint8Array(MIB)
    await content.read(at, bytes)
    if (!isZero(bytes)) await device.write(first.offset + at, bytes)
  }
  if (files) {
    const volume = new SliceDevice(device, second.offset, second.length)
    await makeExt4(volume, {})
    const fs = await openExt4(volume, { writable: true })
    const guest = new MountedGuest(new MountTable({ fs, source: '' }))
    for (const [path, text] of Object.entries(files)) {
      await guest.mkdir(`/${dirname(path)}`, { recursive: true })
      if (!path.endsWith('/')) await guest.writeFile(`/${path}`, text)
      else await guest.mkdir(`/${path}`, { recursive: true })
    }
    await fs.close()
  }
  return device
}

async function open(device: MemoryDevice, options: OpenGuestOptions = {}) {
  return openGuest((await readVolumes(device)).volumes, options)
}

function rootOf(guest: Guest): string {
  return guest.fs.table.root.source
}

const able = haveTool('mkfs.btrfs') && haveLoopMounts()

describe.skipIf(!able)('a root on btrfs', () => {
  test('Fedora: subvolumes root and home', async () => {
    const fstab = `UUID=${UUID} / btrfs subvol=root,compress=zstd:1 0 0\nUUID=${UUID} /home btrfs subvol=home 0 0\n`
    const image = await btrfsImage({
      subvolumes: [
        ['root', { ...system('fedora', fstab), 'home/': '', 'var/lib/machines-of-old/': '' }],
        ['home', { 'ann/.bashrc': 'hers' }],
        ['root/var/lib/portables', { inside: 'nested' }],
      ],
    })
    const guest = await open(await disk(image))
    expect(rootOf(guest)).toBe('/dev/sda1[/root]')
    expect(guest.mounts.map(({ path, source, type }) => [path, source, type])).toEqual([
      ['/', '/dev/sda1[/root]', 'btrfs'],
      ['/home', '/dev/sda1[/home]', 'btrfs'],
    ])
    expect(guest.warnings).toEqual([])
    expect((await guest.identity()).id).toBe('fedora')
    expect(await guest.fs.readText('/home/ann/.bashrc')).toBe('hers')
    expect(await guest.fs.readText('/home/../var/lib/portables/../portables/inside')).toBe('nested')
    expect(byteKey(await guest.fs.realpath('/var/lib/portables/..'))).toBe('/var/lib')
    // Both subvolumes count their inodes from 256.
    const inos = await Promise.all(['/', '/var/lib/portables', '/etc'].map(path => guest.fs.stat(path)))
    expect(new Set(inos.map(stat => stat.ino)).size).toBe(3)
    expect((await guest.fs.stat('/')).ino).toBe(256)
    await guest.close()
  })

  test('openSUSE: the default subvolume is a snapshot, others are mounted into it', async () => {
    const mounts = ['home', 'var', 'root'].map(name => `UUID=${UUID} /${name} btrfs subvol=/@/${name} 0 0`)
    const fstab = [
      `UUID=${UUID} / btrfs defaults 0 0`,
      ...mounts,
      `UUID=${UUID} /.snapshots btrfs subvol=/@/.snapshots 0 0`,
    ].join('\n')
    const image = await btrfsImage({
      subvolumes: [
        ['@', {}],
        ['@/.snapshots', { '1/': '', '2/': '' }],
        [
          '@/.snapshots/1/snapshot',
          { ...system('opensuse-leap', fstab), 'home/': '', 'var/': '', 'root/': '', '.snapshots/': '' },
        ],
        ['@/.snapshots/2/snapshot', 'snapshot:@/.snapshots/1/snapshot'],
        ['@/home', { 'bob/x': 'b' }],
        ['@/var', { 'log/messages': 'm' }],
        ['@/root', { '.profile': 'p' }],
      ],
      default: '@/.snapshots/1/snapshot',
    })
    const guest = await open(await disk(image))
    expect(rootOf(guest)).toBe('/dev/sda1[/@/.snapshots/1/snapshot]')
    for (const [path, text] of [
      ['/home/bob/x', 'b'],
      ['/var/log/messages', 'm'],
      ['/root/.profile', 'p'],
      ['/.snapshots/2/snapshot/etc/fstab', fstab],
    ] as const)
      expect(await guest.fs.readText(path)).toBe(text)
    await guest.close()
  })

  test('Ubuntu: @ and @home, with snapshots of it beside', async () => {
    const fstab = `/dev/disk/by-uuid/${UUID} / btrfs defaults,subvol=@ 0 1\n/dev/disk/by-uuid/${UUID} /home btrfs subvol=@home 0 2\n/dev/disk/by-uuid/${UUID} /top btrfs noatime,subvolid=5 0 0\n`
    const image = await btrfsImage({
      subvolumes: [
        ['@home', { x: 'home' }],
        ['@', { ...system('ubuntu', fstab), 'home/': '', 'top/': '' }],
        ['timeshift/a', 'snapshot:@'],
      ],
    })
    const device = await disk(image)
    const guest = await open(device)
    expect(rootOf(guest)).toBe('/dev/sda1[/@]')
    expect(await guest.fs.readText('/home/x')).toBe('home')
    expect(guest.mounts.at(-1)?.source).toBe('/dev/sda1')
    expect((await guest.fs.readdir('/top')).map(entry => byteKey(entry.name)).sort()).toEqual([
      '@',
      '@home',
      'timeshift',
    ])
    const snapshot = await open(device, { root: '/dev/sda1[/timeshift/a]' })
    expect(rootOf(snapshot)).toBe('/dev/sda1[/timeshift/a]')
  })

  test('a subvolume of any name: the one whose fstab names itself', async () => {
    const fstab = `UUID=${UUID} / btrfs subvol=/systems/one 0 0\n`
    const image = await btrfsImage({
      subvolumes: [
        ['systems/one', system('arch', fstab)],
        ['systems/copy', 'snapshot:systems/one'],
        ['data', { x: 'x' }],
      ],
    })
    expect(rootOf(await open(await disk(image)))).toBe('/dev/sda1[/systems/one]')
    const both = await btrfsImage({
      subvolumes: [
        ['one', system('arch', '')],
        ['two', system('alpine', '')],
      ],
    })
    const device = await disk(both)
    await expect(open(device)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('/dev/sda1[/one] (arch), /dev/sda1[/two] (alpine)'),
    })
    expect(rootOf(await open(device, { root: '/dev/sda1[two]' }))).toBe('/dev/sda1[/two]')
    await expect(open(device, { root: '/dev/sda1[three]' })).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })

  test('in the top level, and a filesystem without a system', async () => {
    const image = await btrfsImage({ subvolumes: [['', system('debian', '')]] })
    expect(rootOf(await open(await disk(image)))).toBe('/dev/sda1')
    const data = await btrfsImage({ subvolumes: [['data', { x: 'x' }]] })
    const guest = await open(await disk(data))
    expect(await guest.fs.readText('/data/x')).toBe('x')
  })

  test('is not opened for writing, and nothing is changed', async () => {
    const image = await btrfsImage({ subvolumes: [['root', system('fedora', '')]] })
    const device = await disk(image)
    const before = device.toBytes()
    await expect(open(device, { writable: true })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringMatching(/btrfs.*not written, so nothing was changed/),
    })
    expect(Buffer.compare(device.toBytes(), before)).toBe(0)
  })

  test('a subvolume that is not there is told of, not passed over', async () => {
    const fstab = `UUID=${UUID} /srv btrfs subvol=gone 0 0\n`
    const image = await btrfsImage({
      subvolumes: [['root', { ...system('fedora', fstab), 'srv/x': 'covered' }]],
    })
    const guest = await open(await disk(image))
    await expect(guest.fs.readText('/srv/x')).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('there is no subvolume gone'),
    })
  })
})

describe.skipIf(!able)('a root on ext4 with /home on btrfs', () => {
  test('is written, and /home is read', async () => {
    const image = await btrfsImage({ subvolumes: [['home', { 'ann/x': 'hers' }]] })
    const fstab = `UUID=${UUID} /home btrfs subvol=home 0 0\n`
    const device = await disk(image, { ...system('debian', fstab), 'home/': '' })
    const guest = await open(device, { writable: true })
    expect(rootOf(guest)).toBe('/dev/sda2')
    expect(guest.warnings).toEqual([
      '/dev/sda1 is btrfs, which drydisk does not write: /home is read-only here',
    ])
    await guest.fs.writeFile('/etc/hostname', 'new')
    await guest.fs.writeFile('/etc/copied', await guest.fs.readFile('/home/ann/x'))
    for (const change of [
      guest.fs.writeFile('/home/ann/x', 'y'),
      guest.fs.writeFile('/home/ann/new', 'y'),
      guest.fs.mkdir('/home/dir'),
      guest.fs.rm('/home/ann', { recursive: true }),
      guest.fs.chmod('/home/ann/x', 0o600),
    ])
      await expect(change).rejects.toMatchObject({ code: 'EROFS' })
    await guest.sync()
    await guest.close()
    const again = await open(device)
    expect(await again.fs.readText('/etc/copied')).toBe('hers')
    expect(await again.fs.readText('/home/ann/x')).toBe('hers')
    const written = join(temporaryFolder(), 'ext4')
    const [, second] = (await readVolumes(device)).volumes
    const bytes = new Uint8Array(second?.length ?? 0)
    await second?.device.read(0, bytes)
    writeFileSync(written, bytes)
    await runOk('e2fsck', ['-fn', written])
  })
})

test('names of subvolumes in options', () => {
  expect(splitSource('/dev/sda3[/@/home]')).toEqual({ spec: '/dev/sda3', subvolume: '/@/home' })
  expect(splitSource('UUID=x')).toEqual({ spec: 'UUID=x', subvolume: undefined })
  const root = { id: 256, path: '/@' }
  expect(asksFor(['defaults', 'subvol=@'], root)).toBe(true)
  expect(asksFor(['subvol=/@/', 'subvolid=256'], root)).toBe(true)
  expect(asksFor(['subvol=/@x'], root)).toBe(false)
  expect(asksFor(['subvolid=0x100'], root)).toBe(true)
  expect(asksFor([], root)).toBe(true)
  expect(asksFor(['subvol=x'], undefined)).toBe(true)
  expect([isSupported('btrfs'), isWritable('btrfs'), isWritable('ext4')]).toEqual([true, false, true])
})
