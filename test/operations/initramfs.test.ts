import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { phonyGuest } from '../../native-fixtures/guests/index.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { diagnose } from '../../src/operations/doctor/doctor.ts'
import { textsInInitramfs } from '../../src/operations/initramfs-content.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'

const RELEASE = '3.10.0-1160.el7.x86_64'
const MODULES = `usr/lib/modules/${RELEASE}`

/** A cpio archive of the kernel's format, by cpio itself. */
function archive(files: Record<string, string | Uint8Array>): Buffer {
  const folder = temporaryFolder()
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(folder, dirname(path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  const list = execFileSync('find', ['.', '-mindepth', '1'], { cwd: folder })
  return execFileSync('cpio', ['-o', '-H', 'newc', '--quiet'], { cwd: folder, input: list })
}

const packers: Record<string, readonly string[]> = {
  none: ['cat'],
  gzip: ['gzip', '-c'],
  zstd: ['zstd', '-q', '-c', '-19'],
  xz: ['xz', '--check=crc32', '--lzma2=dict=1MiB', '-c'],
  'lz4 (legacy frame)': ['lz4', '-l', '-9', '-c', '-'],
}

const packedBy = (content: Uint8Array, [tool = '', ...options]: readonly string[]) =>
  execFileSync(tool, options, { input: content, stdio: 'pipe', maxBuffer: 1 << 28 })

const early = () => archive({ 'kernel/x86/microcode/AuthenticAMD.bin': 'microcode'.repeat(99) })
const order = 'kernel/drivers/block/virtio_blk.ko\nkernel/drivers/scsi/virtio_scsi.ko\n'
const main = (...drivers: string[]) =>
  archive({
    [`${MODULES}/modules.order`]: order,
    init: '#!/bin/sh\n'.repeat(30_000),
    ...Object.fromEntries(drivers.map(name => [`${MODULES}/kernel/drivers/${name}`, 'ELF'])),
  })

const tools = ['cpio', 'lsinitramfs', 'lz4', 'zstd', 'xz'].every(haveTool)

describe.skipIf(!tools)('what is in an initramfs (needs cpio, lsinitramfs and packers)', () => {
  const texts = ['AuthenticAMD.bin', 'virtio_blk.ko.xz', 'virtio_scsi.ko.xz', 'init']
  const whole = (packer: readonly string[]) =>
    Buffer.concat([early(), new Uint8Array(512), packedBy(main('block/virtio_blk.ko.xz'), packer)])

  it.each(Object.entries(packers))('packed by: %s', async (_, packer) => {
    const guest = await memoryGuest({ '/boot/i': whole(packer) })
    const found = ['AuthenticAMD.bin', 'virtio_blk.ko.xz', 'init']
    expect(await textsInInitramfs(guest, '/boot/i', texts)).toEqual(found)
    expect(await textsInInitramfs(guest, '/boot/i', texts, 1)).toContain(texts[0])
  })

  it('is what lsinitramfs lists', async () => {
    const path = join(temporaryFolder(), 'initrd')
    writeFileSync(path, whole(packers['lz4 (legacy frame)'] ?? []))
    const listed = await runOk('lsinitramfs', [path])
    const guest = await memoryGuest({ '/boot/i': readFileSync(path) })
    expect(await textsInInitramfs(guest, '/boot/i', texts)).toEqual(
      texts.filter(text => listed.includes(text)),
    )
  })

  /** EL7's dracut makes images for one machine by default, so its configuration does not tell. */
  const virtio = async (initramfs: Uint8Array, builtin: string | undefined = 'kernel/fs/ext4/ext4.ko\n') => {
    const guest = await phonyGuest('el7', {
      [`/boot/initramfs-${RELEASE}.img`]: initramfs,
      ...(builtin === undefined ? {} : { [`/lib/modules/${RELEASE}/modules.builtin`]: builtin }),
    })
    const { findings } = await diagnose(guest, { checks: ['virtio'] })
    return findings.find(one => one.message.startsWith(RELEASE) || one.message.includes(RELEASE))
  }

  it.each(Object.entries(packers))('tells the doctor, packed by: %s', async (_, packer) => {
    const file = `/boot/initramfs-${RELEASE}.img`
    for (const driver of ['block/virtio_blk.ko', 'scsi/virtio_scsi.ko.xz'])
      expect(await virtio(packedBy(main(driver), packer))).toMatchObject({ status: 'ok', file })
    expect(await virtio(Buffer.concat([early(), packedBy(main('ata/ahci.ko.xz'), packer)]))).toMatchObject({
      status: 'failed',
      file,
    })
  })

  it('is not known to the doctor where it cannot be seen', async () => {
    const warning = { status: 'warning' }
    expect(await virtio(packedBy(main('ata/ahci.ko'), ['bzip2', '-c']))).toMatchObject(warning)
    expect(await virtio(packedBy(main('ata/ahci.ko'), ['gzip', '-c']).subarray(0, -100))).toMatchObject(
      warning,
    )
    const squash = archive({ 'squash-root.img': 'hsqs', init: 'x' })
    expect(await virtio(packedBy(squash, ['gzip', '-c']))).toMatchObject(warning)
  })
})
