import type { BlockDevice } from '../device/block-device.ts'
import { MemoryDevice } from '../device/memory-device.ts'
import { hasRaidAtEnd } from '../volume/raid-member.ts'
import { type Probe, probe } from './probe.ts'

/** What `probe` looks at. */
const HEAD = 68 * 1024
const EXT_MAGIC_AT = 0x438
/** Where a boot sector ends in 55 AA. */
const FAT_SIGNATURE_AT = 0x1fe
/** The label is in one of the first four sectors. */
const LVM_LABELS_AT = [0, 512, 1024, 1536] as const
const SWAP_SIGNATURES_AT = [4086, 8182, 16_374, 32_758, 65_526] as const

/** Uberblocks fill the second half of a label of 256 KiB, one in each KiB or more (vdev_label_t). */
const ZFS_UBERBLOCKS_AT = 128 << 10
const ZFS_UBERBLOCK = 1024
/** Eight bytes, in the byte order of the machine. */
const ZFS_MAGIC = 0x00ba_b10c

/**
 * What else a volume with an ext, FAT, swap or LVM signature may be: something that was put over an older filesystem, or under one,
 * without wiping its signature. blkid(8) calls such a volume ambivalent and mount(8) refuses to guess; so does whoever is
 * about to drop what the older one calls free.
 * @param found an ext or FAT filesystem, swap or a physical volume of LVM.
 * @returns the other's type as blkid names it, or `undefined`.
 */
export async function rivalSignature(
  device: BlockDevice,
  found: Pick<Probe, 'usage'> & Partial<Pick<Probe, 'type'>>,
): Promise<string | undefined> {
  const head = new Uint8Array(HEAD)
  await device.read(0, head.subarray(0, Math.min(HEAD, device.size)))
  if (found.type === 'vfat') head.fill(0, FAT_SIGNATURE_AT, FAT_SIGNATURE_AT + 2)
  else if (found.type === 'LVM2_member') for (const at of LVM_LABELS_AT) head.fill(0, at, at + 8)
  else if (found.usage === 'filesystem') head.fill(0, EXT_MAGIC_AT, EXT_MAGIC_AT + 2)
  else for (const at of SWAP_SIGNATURES_AT) head.fill(0, at, at + 10)
  const other = await probe(new MemoryDevice(head))
  // A filesystem whose signature is not masked here finds itself.
  if (other !== undefined && other.type !== found.type) return other.type
  if (await hasRaidAtEnd(device)) return 'linux_raid_member'
  return (await hasZfs(device)) ? 'zfs_member' : undefined
}

/** A ZFS label leaves the first 8 KiB as they were, with an old superblock in them. */
async function hasZfs(device: BlockDevice): Promise<boolean> {
  if (device.size < ZFS_UBERBLOCKS_AT * 2) return false
  const bytes = new Uint8Array(ZFS_UBERBLOCKS_AT)
  await device.read(ZFS_UBERBLOCKS_AT, bytes)
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < bytes.length; at += ZFS_UBERBLOCK) {
    if (view.getUint32(at, true) === ZFS_MAGIC && view.getUint32(at + 4) === 0) return true
    if (view.getUint32(at) === 0 && view.getUint32(at + 4) === ZFS_MAGIC) return true
  }
  return false
}
