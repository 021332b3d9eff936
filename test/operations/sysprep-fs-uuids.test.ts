import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { parseUuid } from '../../src/bytes/guid.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { makeExt4 } from '../../src/filesystem/ext4/mkfs.ts'
import { probe } from '../../src/filesystem/probe.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import type { GuestVolume } from '../../src/guest/volume-spec.ts'
import { runSysprep } from '../../src/operations/sysprep/run.ts'
import type { GuestDisk } from '../../src/operations/sysprep/task.ts'
import { replaceUuids } from '../../src/operations/sysprep/uuid-text.ts'
import { memoryGuest, text } from './support/operations.ts'

const ROOT = '11111111-2222-4333-8444-555555555555'
const SWAP = '66666666-7777-4888-9999-aaaaaaaaaaaa'

async function volume(name: string, number: number, device: MemoryDevice): Promise<GuestVolume> {
  return {
    kind: 'partition',
    device,
    name,
    aliases: [],
    number,
    type: '',
    typeName: '',
    label: '',
    uuid: '',
    offset: 0,
    length: device.size,
    places: () => [],
    found: await probe(device),
  }
}

async function swapDevice(): Promise<MemoryDevice> {
  const device = new MemoryDevice(1 << 20)
  await device.write(0x40c, parseUuid(SWAP) ?? new Uint8Array(16))
  await device.write(4086, new TextEncoder().encode('SWAPSPACE2'))
  return device
}

/** A disk with an ext4 root and swap space, whose late work is done by `finish`. */
async function disk(): Promise<GuestDisk & { finish(): Promise<(string | undefined)[]> }> {
  const root = new MemoryDevice(8 << 20)
  await makeExt4(root, { uuid: ROOT })
  const volumes = [await volume('/dev/sda1', 1, root), await volume('/dev/sda2', 2, await swapDevice())]
  const later: (() => Promise<void>)[] = []
  return {
    volumes,
    mounts: [],
    afterClose: work => {
      later.push(work)
    },
    finish: async () => {
      for (const work of later) await work()
      return Promise.all(volumes.map(async ({ device }) => (await probe(device))?.uuid))
    },
  }
}

const run = (guest: GuestFs, on: GuestDisk) => runSysprep(guest, { operations: ['fs-uuids'], disk: on })

/** An archive of one file, as the kernel unpacks it. */
function cpio(name: string, content: string): string {
  const field = (value: number) => value.toString(16).padStart(8, '0')
  const pad = (part: string) => part.padEnd(Math.ceil(part.length / 4) * 4, '\0')
  const entry = (path: string, data: string) =>
    pad(
      `070701${[1, 0o100644, 0, 0, 1, 0, data.length, 0, 0, 0, 0, path.length + 1, 0].map(field).join('')}${path}\0`,
    ) + pad(data)
  return (entry(name, content) + entry('TRAILER!!!', '')).padEnd(1024, '\0')
}

const FILES = {
  '/etc/fstab': `UUID=${ROOT} / ext4 defaults 0 1\nUUID=${SWAP.toUpperCase()} none swap sw 0 0\nUUID=99999999-2222-4333-8444-555555555555 /data ext4 nofail 0 2\n`,
  '/etc/default/grub': `GRUB_CMDLINE_LINUX="resume=UUID=${SWAP}"\n`,
  '/etc/systemd/system/data.mount': `[Unit]\nAfter=dev-disk-by\\x2duuid-${ROOT.replaceAll('-', '\\x2d')}.device\n`,
  '/boot/grub2/grubenv': `# GRUB Environment Block\nkernelopts=root=UUID=${ROOT} ro\n`.padEnd(1024, '#'),
  '/boot/loader/entries/one.conf': `options root=UUID=${ROOT} ro\n`,
  '/boot/efi/EFI/centos/grub.cfg': `search --no-floppy --fs-uuid --set=dev ${ROOT}\n`,
}

describe('fs-uuids', () => {
  it('renames filesystems and swap, and what names them', async () => {
    const guest = await memoryGuest(FILES)
    const on = await disk()
    const [report] = await run(guest, on)
    const [root, swap] = await on.finish()
    expect(root).toMatch(/^[0-9a-f-]{36}$/)
    expect([root, swap]).not.toEqual([ROOT, SWAP])
    for (const [path, content] of Object.entries(FILES)) {
      const expected = content
        .replaceAll(ROOT, root ?? '')
        .replaceAll(ROOT.replaceAll('-', '\\x2d'), (root ?? '').replaceAll('-', '\\x2d'))
        .replaceAll(new RegExp(SWAP, 'gi'), swap ?? '')
      expect(await text(guest, path), path).toBe(expected)
    }
    expect(report?.changes).toContainEqual({
      setting: 'UUID of ext4',
      before: ROOT,
      after: root,
      file: '/dev/sda1',
    })
  })

  it('changes nothing in a tree without a disk, and says so', async () => {
    const guest = await memoryGuest(FILES)
    const [report] = await runSysprep(guest, { operations: ['fs-uuids'] })
    expect([report?.changes, report?.warnings.length]).toEqual([[], 1])
    expect(await text(guest, '/etc/fstab')).toBe(FILES['/etc/fstab'])
  })

  it.each([
    [
      'an initramfs that was made for this machine',
      {
        '/boot/initramfs-5.img': `${cpio('early', 'microcode')}%GZIP%${cpio('x', `devexists-by-uuid/${ROOT}`)}`,
      },
      /initramfs-5.img was made for this machine alone/,
    ],
    [
      'an initramfs with a unit',
      {
        '/boot/initrd.img-6': `%GZIP%${cpio('x', `dev-disk-by\\x2duuid-${ROOT.replaceAll('-', '\\x2d')}.device`)}`,
      },
      /initrd.img-6 was made/,
    ],
    [
      'a GRUB image with the search in it',
      { '/boot/grub/i386-pc/load.cfg': `search.fs_uuid ${ROOT} root hd0,gpt1\n` },
      /image at the beginning of the disk searches/,
    ],
    [
      'a signed program',
      {
        '/boot/efi/EFI/Linux/one.efi': `MZ${'\0'.repeat(0x3a)}\x40\0\0\0PE\0\0${'\x01'.repeat(400)}root=UUID=${ROOT}`,
      },
      /one.efi names a filesystem by its UUID and is signed/,
    ],
  ])('refuses %s', async (_, files, message) => {
    const guest = await memoryGuest(FILES)
    for (const [path, content] of Object.entries(files)) {
      const [plain = '', packed] = content.split('%GZIP%')
      const bytes = [Buffer.from(plain, 'latin1')]
      if (packed !== undefined) bytes.push(gzipSync(Buffer.from(packed, 'latin1')))
      await guest.mkdir(path.replace(/\/[^/]*$/, ''), { recursive: true })
      await guest.writeFile(path, Buffer.concat(bytes))
    }
    await expect(run(guest, await disk())).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      message: expect.stringMatching(message),
    })
  })

  it('passes over links that lead nowhere, and says what it cannot look into', async () => {
    const guest = await memoryGuest({ ...FILES, '/boot/initramfs-9.img': 'BZh91AY' })
    await guest.symlink('initramfs-gone.img', '/boot/initramfs.img')
    await guest.symlink('grub.cfg', '/boot/grub2/grub.cfg')
    const [report] = await run(guest, await disk())
    expect(report?.warnings.join()).toMatch(/initramfs-9.img is packed by none of/)
  })

  it('keeps the UUID of swap space that an initramfs waits for', async () => {
    const guest = await memoryGuest({
      ...FILES,
      '/boot/initrd.img-6': cpio('conf/conf.d/resume', `RESUME=UUID=${SWAP}\n`),
    })
    const on = await disk()
    const [report] = await run(guest, on)
    const [root, swap] = await on.finish()
    expect([root === ROOT, swap]).toEqual([false, SWAP])
    expect(report?.warnings.join()).toMatch(/waits for that swap space/)
  })

  it('tells GRUB of the partition where the search is built into its image', async () => {
    const core = new Uint8Array(4096).fill(7)
    core.fill(0xff, 512 + 0x18, 512 + 0x1b)
    const device = new MemoryDevice(1 << 20)
    await device.write(0x5c, Uint8Array.of(4))
    await device.write(4 * 512, core)
    const guest = await memoryGuest({
      ...FILES,
      '/boot/grub/i386-pc/load.cfg': `search.fs_uuid ${ROOT} root\n`,
    })
    await guest.writeFile('/boot/grub/i386-pc/core.img', core)
    await run(guest, { ...(await disk()), device })
    const after = new Uint8Array(4)
    await device.read(4 * 512 + 512 + 0x18, after)
    expect([...after]).toEqual([0xff, 0xff, 0, 7])
    // Another image is not GRUB's of this guest.
    await device.write(4 * 512 + 600, Uint8Array.of(1))
    await expect(
      run(
        await memoryGuest({
          '/boot/grub/i386-pc/load.cfg': ROOT,
          '/boot/grub/i386-pc/core.img': '7'.repeat(4096),
        }),
        { ...(await disk()), device },
      ),
    ).rejects.toMatchObject({ code: 'ERR_NOT_EFFECTIVE' })
  })

  it('finds whole UUIDs only', () => {
    const renamed = new Map([[ROOT, SWAP]])
    expect(replaceUuids(`a${ROOT} ${ROOT}0 x${ROOT}`, renamed)).toEqual({
      text: `a${ROOT} ${ROOT}0 x${SWAP}`,
      count: 1,
    })
  })
})
