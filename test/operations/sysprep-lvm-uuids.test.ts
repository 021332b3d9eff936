import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { lvmId, type VgFixture, vgText, writePv } from '../../native-fixtures/lvm-images.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { openFileSystem } from '../../src/filesystem/open.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { openGuest } from '../../src/guest/open-guest.ts'
import { probeVolumes } from '../../src/guest/volume-spec.ts'
import type { OperationReport } from '../../src/operations/operation.ts'
import { lvmIdSpellings, replaceLvmIds } from '../../src/operations/sysprep/lvm-id-text.ts'
import { runSysprep } from '../../src/operations/sysprep/run.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { partitioned } from '../volume/lvm-disk.ts'
import { memoryGuest } from './support/operations.ts'

const VG = lvmId('V', 1)
const PV = lvmId('P', 0)
const LV = lvmId('L', 1)
const bare = (id: string) => id.replaceAll('-', '')
const START = 1 << 20
const EXTENTS = 8
const EXTENT = 1 << 20

const GROUP: VgFixture = {
  extentSize: EXTENT / 512,
  pvs: [{ key: 'pv0', id: PV, start: START / 512, count: EXTENTS }],
  lvs: [{ name: 'root', segments: [{ extents: EXTENTS, stripes: [['pv0', 0]] }] }],
}

const FILES: Record<string, string> = {
  '/etc/os-release': 'ID=debian\n',
  '/etc/fstab': '/dev/mapper/vg-root / ext4 defaults 0 1\n',
  '/etc/crypttab': `data /dev/disk/by-id/dm-uuid-LVM-${bare(VG)}${bare(LV)} none\n`,
  '/etc/lvm/backup/vg': vgText(GROUP),
  '/etc/lvm/archive/vg_00001.vg': vgText(GROUP),
  '/etc/lvm/devices/system.devices': `VERSION=1.1.2\nIDTYPE=devname IDNAME=/dev/sda1 DEVNAME=/dev/sda1 PVID=${bare(PV)}\n`,
  '/etc/systemd/system/data.mount': `[Unit]\nAfter=dev-disk-by\\x2did-lvm\\x2dpv\\x2duuid\\x2d${PV.replaceAll('-', '\\x2d')}.device\n`,
  '/boot/grub/grub.cfg': `set root='lvmid/${VG}/${LV}'\nsearch --hint='lvmid/${VG}/${LV}' --fs-uuid x\n`,
}

/** A disk whose only partition is a physical volume with the root. */
async function diskWith(files: Record<string, string | Uint8Array>): Promise<MemoryDevice> {
  const bytes = new Uint8Array(START + EXTENTS * EXTENT)
  const root = new MemoryDevice(EXTENTS * EXTENT)
  await makeExt4(root)
  const fs = await openFileSystem(root, { writable: true })
  const guest = new MountedGuest(new MountTable({ fs, source: 'root' }))
  for (const [path, content] of Object.entries(files)) {
    await guest.mkdir(path.replace(/\/[^/]*$/, ''), { recursive: true })
    await guest.writeFile(path, content)
  }
  await fs.sync()
  await fs.close()
  await root.read(0, bytes.subarray(START))
  writePv(bytes, { id: PV, dataStart: START, mdas: [{ offset: 4096, size: 60 << 10, text: vgText(GROUP) }] })
  return partitioned(bytes)
}

async function run(disk: MemoryDevice, operations: readonly string[]): Promise<OperationReport | undefined> {
  const guest = await openGuest((await readVolumes(disk)).volumes, { writable: true })
  try {
    const reports = await runSysprep(guest.fs, { operations, disk: { ...guest, device: disk } })
    await guest.sync()
    return reports.find(report => report.operation === 'lvm-uuids')
  } finally {
    await guest.close()
  }
}

const idsOf = async (disk: MemoryDevice) => {
  const [group] = (await readVolumes(disk)).groups
  return [group?.uuid, group?.physicalVolumes[0]?.uuid] as const
}

/** Everything but what lvm-uuids does not decide. */
const DEFAULTS = 'defaults,-lvm-system-devices'

describe('lvm-uuids', () => {
  it('gives new ids, and their names to whatever the boot and LVM2 read', async () => {
    const disk = await diskWith(FILES)
    const report = await run(disk, [DEFAULTS])
    const [vg = '', pv = ''] = await idsOf(disk)
    expect([vg === VG, pv === PV, report?.warnings]).toEqual([false, false, []])
    expect(report?.changes.slice(-2)).toEqual([
      { setting: 'UUID of volume group', before: VG, after: vg, file: '/dev/vg' },
      { setting: 'UUID of physical volume', before: PV, after: pv, file: '/dev/sda1' },
    ])
    const { fs, close } = await openGuest((await readVolumes(disk)).volumes)
    for (const [path, content] of Object.entries(FILES)) {
      const spelled = (text: string, from: string, to: string) =>
        text
          .replaceAll(from, to)
          .replaceAll(bare(from), bare(to))
          .replaceAll(from.replaceAll('-', '\\x2d'), to.replaceAll('-', '\\x2d'))
      expect(await fs.readText(path), path).toBe(spelled(spelled(content, VG, vg), PV, pv))
    }
    await close()
  })

  const initramfs = gzipSync(`devexists /dev/disk/by-id/dm-uuid-LVM-${bare(VG)}${bare(LV)}`)
  const signed = `MZ${'\0'.repeat(0x3a)}\x40\0\0\0PE\0\0${'\x01'.repeat(400)}(lvmid/${VG}/${LV})/boot/grub`
  it.each<[string, Record<string, string | Uint8Array>, RegExp]>([
    [
      'GRUB for a BIOS whose files are on a logical volume',
      { '/boot/grub/i386-pc/core.img': 'compressed' },
      /vg keeps its UUID: \/boot\/grub\/i386-pc\/core.img is the image of GRUB that finds \/dev\/mapper\/vg-root/,
    ],
    [
      'an initramfs that names them',
      { '/boot/initrd.img-6': initramfs },
      /initrd.img-6 was made for this machine/,
    ],
    [
      'a signed program that names them',
      { '/boot/efi/EFI/debian/grubx64.efi': signed },
      /grubx64.efi names it/,
    ],
  ])(
    'leaves them where that cannot be, with a warning, or an error when asked by name: %s',
    async (_, more, message) => {
      const disk = await diskWith({ ...FILES, ...more })
      const report = await run(disk, ['defaults'])
      expect(report?.changes).toEqual([])
      expect(report?.warnings).toEqual([expect.stringMatching(message)])
      expect(await idsOf(disk)).toEqual([VG, PV])
      await expect(run(disk, ['lvm-uuids'])).rejects.toMatchObject({
        code: 'ERR_NOT_EFFECTIVE',
        message: expect.stringMatching(message),
      })
      expect(await idsOf(disk)).toEqual([VG, PV])
    },
  )

  it('says why damaged metadata stays', async () => {
    const disk = await diskWith(FILES)
    const [partition] = (await readVolumes(disk)).volumes
    await partition?.device.write(4096, new Uint8Array(512))
    const volumes = await probeVolumes((await readVolumes(disk)).volumes)
    const later = { volumes, mounts: [], afterClose: () => undefined }
    const guest = await memoryGuest(FILES)
    const [report] = await runSysprep(guest, { operations: ['all', '-fs-uuids'], disk: later }).then(all =>
      all.filter(one => one.operation === 'lvm-uuids'),
    )
    expect(report?.warnings).toEqual([
      expect.stringMatching(/sda1 keeps its UUID: a metadata area of it is damaged/),
    ])
    await expect(runSysprep(guest, { operations: ['lvm-uuids'], disk: later })).rejects.toMatchObject({
      code: 'ERR_CORRUPT',
    })
  })

  it('changes nothing in a tree without a disk, and says so where volumes are logical ones', async () => {
    const warnings = async (fstab: string, operations: readonly string[]) => {
      const reports = await runSysprep(await memoryGuest({ '/etc/fstab': fstab }), { operations })
      return reports.flatMap(report => (report.operation === 'lvm-uuids' ? report.warnings : []))
    }
    const told = [expect.stringMatching(/no disk at hand/)]
    expect(await warnings('/dev/mapper/vg-root / ext4 defaults 0 1\n', ['defaults'])).toEqual(told)
    expect(await warnings('/dev/sda1 / ext4 defaults 0 1\n', ['defaults'])).toEqual([])
    expect(await warnings('/dev/sda1 / ext4 defaults 0 1\n', ['lvm-uuids'])).toEqual(told)
  })

  it('finds whole ids only, and those without dashes where something says what they are', () => {
    const to = lvmId('N', 9)
    const spellings = lvmIdSpellings([{ before: VG, after: to }])
    const text = `x${VG} ${bare(VG)} PVID=${bare(VG)} lvm-pv-uuid-${VG}`
    expect(replaceLvmIds(text, spellings)).toEqual({
      text: `x${VG} ${bare(VG)} PVID=${bare(to)} lvm-pv-uuid-${to}`,
      count: 2,
    })
  })
})
