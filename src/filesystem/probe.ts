import { type ByteView, bigEndian, littleEndian } from '../bytes/byte-view.ts'
import { formatUuid } from '../bytes/guid.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { isDrydiskError } from '../errors.ts'

/** What the signatures on a volume say is on it. */
export interface Probe {
  /** As blkid(8) names it: `ext4`, `xfs`, `vfat`, `swap`, `LVM2_member`, `crypto_LUKS`, … */
  readonly type: string
  readonly usage: 'filesystem' | 'swap' | 'container' | 'encrypted'
  /** As blkid(8) writes it; the empty string where there is none. */
  readonly uuid: string
  readonly label: string
  /** A journal that has to be replayed before the filesystem is consistent, where the superblock tells. */
  readonly needsRecovery: boolean
}

/** The furthest signature looked at is that of btrfs, at 64 KiB. */
const HEAD = 68 * 1024

const text = new TextDecoder()

function ascii(view: ByteView, offset: number, length: number): string {
  if (offset + length > view.length) return ''
  return String.fromCharCode(...view.slice(offset, length))
}

/** Up to the first NUL. */
function label(view: ByteView, offset: number, length: number): string {
  const bytes = view.slice(offset, length)
  const end = bytes.indexOf(0)
  return text.decode(end < 0 ? bytes : bytes.subarray(0, end)).trimEnd()
}

function uuid(view: ByteView, offset: number): string {
  const bytes = view.slice(offset, 16)
  return bytes.every(byte => byte === 0) ? '' : formatUuid(bytes)
}

const plain = { usage: 'filesystem', uuid: '', label: '', needsRecovery: false } as const

/** Names what is on a volume by its signature; `undefined` when nothing known is there. Nothing is validated. */
export async function probe(device: BlockDevice): Promise<Probe | undefined> {
  // A volume shorter than that reads as if zeros followed: no signature lies in them.
  const bytes = new Uint8Array(HEAD)
  await device.read(0, bytes.subarray(0, Math.min(HEAD, device.size)))
  const view = littleEndian(bytes, 'volume head')
  // Containers first: what they hold may leave an older filesystem's signature in place.
  return (
    luks(view) ??
    lvm(view) ??
    raid(view) ??
    swap(view) ??
    ext(view) ??
    (await xfs(view, device)) ??
    btrfs(view) ??
    (await vfat(view, device)) ??
    other(view)
  )
}

/** LUKS on-disk format specification, 1.2.3 and 2.0: magic, version, LUKS2's label at 24, uuid at 168. */
function luks(view: ByteView): Probe | undefined {
  if (ascii(view, 0, 6) !== 'LUKS\xba\xbe') return undefined
  const two = bigEndian(view.bytes, 'LUKS header').u16(6) === 2
  return {
    ...plain,
    type: 'crypto_LUKS',
    usage: 'encrypted',
    uuid: label(view, 168, 40),
    label: two ? label(view, 24, 48) : '',
  }
}

/** The label is in one of the first four sectors, the physical volume's header where it says (LVM2 label.h). */
function lvm(view: ByteView): Probe | undefined {
  for (let sector = 0; sector < 2048; sector += 512) {
    if (ascii(view, sector, 8) !== 'LABELONE' || ascii(view, sector + 24, 8) !== 'LVM2 001') continue
    const id = ascii(view, sector + view.u32(sector + 20), 32)
    const parts = /^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/.exec(id)
    return { ...plain, type: 'LVM2_member', usage: 'container', uuid: parts?.slice(1).join('-') ?? '' }
  }
  return undefined
}

/** md superblock version 1.1 at 0 and 1.2 at 4096 (linux/raid/md_p.h). */
function raid(view: ByteView): Probe | undefined {
  for (const at of [0, 4096])
    if (view.u32(at) === 0xa92b_4efc)
      return {
        ...plain,
        type: 'linux_raid_member',
        usage: 'container',
        uuid: uuid(view, at + 16),
        label: label(view, at + 32, 32),
      }
  return undefined
}

/** The signature ends the first page, whatever the page size was; uuid and label as in linux/swap.h. */
function swap(view: ByteView): Probe | undefined {
  for (const page of [4096, 8192, 16_384, 65_536])
    if (ascii(view, page - 10, 10) === 'SWAPSPACE2')
      return { ...plain, type: 'swap', usage: 'swap', uuid: uuid(view, 0x40c), label: label(view, 0x41c, 16) }
  return undefined
}

/** Features that ext3 has; any other makes it ext4 (EXT3_FEATURE_*_SUPP in Linux). */
const EXT3_INCOMPAT = 0x0002 | 0x0004 | 0x0010
const EXT3_RO_COMPAT = 0x0001 | 0x0002 | 0x0004
const COMPAT_HAS_JOURNAL = 0x0004
const INCOMPAT_RECOVER = 0x0004
const INCOMPAT_JOURNAL_DEV = 0x0008

function ext(view: ByteView): Probe | undefined {
  const at = 1024
  if (view.u16(at + 0x38) !== 0xef53) return undefined
  const [compat, incompat, roCompat] = [view.u32(at + 0x5c), view.u32(at + 0x60), view.u32(at + 0x64)]
  let type = 'ext2'
  if (incompat & INCOMPAT_JOURNAL_DEV) type = 'jbd'
  else if (incompat & ~EXT3_INCOMPAT || roCompat & ~EXT3_RO_COMPAT) type = 'ext4'
  else if (compat & COMPAT_HAS_JOURNAL) type = 'ext3'
  return {
    ...plain,
    type,
    uuid: uuid(view, at + 0x68),
    label: label(view, at + 0x78, 16),
    needsRecovery: (incompat & INCOMPAT_RECOVER) !== 0,
  }
}

/** xfs_dsb: sb_uuid at 32, sb_fname at 108. Whether the log is clean is told by its last record only. */
async function xfs(view: ByteView, device: BlockDevice): Promise<Probe | undefined> {
  if (ascii(view, 0, 4) !== 'XFSB') return undefined
  const { isXfsLogDirty } = await import('./xfs/log-state.ts')
  return {
    ...plain,
    type: 'xfs',
    uuid: uuid(view, 32),
    label: label(view, 108, 12),
    needsRecovery: await isXfsLogDirty(device),
  }
}

/** btrfs_super_block at 64 KiB: fsid at 0x20, address of the log tree at 0x60, label at 0x12b. */
function btrfs(view: ByteView): Probe | undefined {
  const at = 65_536
  if (ascii(view, at + 0x40, 8) !== '_BHRfS_M') return undefined
  return {
    ...plain,
    type: 'btrfs',
    uuid: uuid(view, at + 0x20),
    label: label(view, at + 0x12b, 256),
    needsRecovery: view.big(at + 0x60) !== 0n,
  }
}

function other(view: ByteView): Probe | undefined {
  if (ascii(view, 3, 8) === 'NTFS    ') {
    const serial = [...view.slice(0x48, 8)].reverse()
    return { ...plain, type: 'ntfs', uuid: serial.map(hexByte).join('') }
  }
  if (ascii(view, 3, 8) === 'EXFAT   ') return { ...plain, type: 'exfat', uuid: serialOf(view, 0x64) }
  if (ascii(view, 0, 4) === 'hsqs') return { ...plain, type: 'squashfs' }
  if (view.u32(1024) === 0xf2f5_2010) return { ...plain, type: 'f2fs', uuid: uuid(view, 1024 + 0x6c) }
  if (view.u32(1024) === 0xe0f5_e1e2) return { ...plain, type: 'erofs', uuid: uuid(view, 1024 + 0x30) }
  if (ascii(view, 0x8001, 5) === 'CD001') return { ...plain, type: 'iso9660', label: label(view, 0x8028, 32) }
  return undefined
}

function hexByte(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, '0')
}

function serialOf(view: ByteView, offset: number): string {
  const bytes = [...view.slice(offset, 4)].reverse().map(hexByte)
  return `${bytes.slice(0, 2).join('')}-${bytes.slice(2).join('')}`
}

/** The label that counts is in the root directory; the boot sector's may be out of date. */
async function vfat(view: ByteView, device: BlockDevice): Promise<Probe | undefined> {
  if (view.u16(0x1fe) !== 0xaa55) return undefined
  // The type string is a hint by the FAT specification, but nearly every mkfs writes it; volume id and label lie before it.
  const named =
    ascii(view, 0x52, 8) === 'FAT32   ' ? 0x43 : /^FAT(12|16| {2}) {3}$/.test(ascii(view, 0x36, 8)) ? 0x27 : 0
  const starts = view.u8(0) === 0xe9 || (view.u8(0) === 0xeb && view.u8(2) === 0x90)
  if (named === 0 && !starts) return undefined
  const { openFat } = await import('./fat/open.ts')
  try {
    const { uuid, label } = await openFat(device)
    return { ...plain, type: 'vfat', uuid, label }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    if (named === 0) return undefined
    const name = label(view, named + 4, 11)
    return {
      ...plain,
      type: 'vfat',
      uuid: serialOf(view, named),
      label: name === 'NO NAME' ? '' : name,
    }
  }
}
