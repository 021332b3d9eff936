import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { Timestamp } from '../filesystem.ts'
import { BOOT_SECTOR_SIZE, parseBootSector, STATE_DIRTY } from './boot-sector.ts'
import { FatFileSystem } from './filesystem.ts'
import { ROOT_INODE } from './inode-numbers.ts'
import { fatMountOptions } from './mount-options.ts'
import { FatVolume } from './volume.ts'

export interface OpenFatOptions {
  /** Whether changes are allowed; default `false`. Needs a writable device. */
  readonly writable?: boolean
  /** As in the fourth field of fstab(5); see `fatMountOptions`. */
  readonly mountOptions?: readonly string[]
  /** The clock for times in entries; the system's when left out. */
  readonly now?: () => Timestamp
}

/**
 * Bits of the table's second entry (fatgen103, ClnShutBitMask and HrdErrBitMask): set while all is well. FAT12 has no room for them.
 */
const CLEAN = {
  12: undefined,
  16: { shut: 0x8000, errors: 0x4000 },
  32: { shut: 0x0800_0000, errors: 0x0400_0000 },
}

/**
 * Opens a FAT12, FAT16 or FAT32 filesystem. `ERR_CORRUPT` when the boot sector contradicts itself or the volume;
 * `ERR_UNSUPPORTED` for a version of FAT32 after 0.0; `EROFS` for a writable open of a read-only device.
 *
 * One that was not cleanly unmounted is read and written as Linux does, with a warning, and stays marked: whether something was
 * lost is for fsck.fat to say. What damage endangers other files is found before the first change, which is refused then.
 */
export async function openFat(device: BlockDevice, options: OpenFatOptions = {}): Promise<FatFileSystem> {
  const writable = options.writable ?? false
  if (writable && !device.writable)
    throw new DrydiskError('EROFS', 'FAT: the volume is open for reading only, so its filesystem is too')
  if (device.size < BOOT_SECTOR_SIZE)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `FAT: a volume of ${device.size} bytes has no room for a boot sector`,
      { structure: 'boot sector' },
    )
  const bytes = new Uint8Array(BOOT_SECTOR_SIZE)
  await device.read(0, bytes)
  const boot = parseBootSector(bytes)
  const version = boot.fat32?.BPB_FSVer ?? 0
  if (version !== 0)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `FAT: the filesystem has version ${version >> 8}.${version & 0xff} of FAT32 (BPB_FSVer), and drydisk reads 0.0`,
      { version },
    )
  const mountOptions = fatMountOptions(options.mountOptions)
  const volume = new FatVolume(device, boot, mountOptions, writable, options.now ?? systemTime)
  const root = await volume.directory(ROOT_INODE)
  // The boot sector's label is a copy that most programs leave behind when they change it: blkid passes over it too.
  const names = { uuid: volumeId(boot.BS_VolID), label: root.index.label ?? '' }
  return new FatFileSystem(volume, names, await warningsOf(volume))
}

function systemTime(): Timestamp {
  return BigInt(Date.now()) * 1_000_000n
}

/** As blkid(8) writes it: `CBA0-EA3D`. */
function volumeId(id: number): string {
  const digits = id.toString(16).toUpperCase().padStart(8, '0')
  return `${digits.slice(0, 4)}-${digits.slice(4)}`
}

async function warningsOf(volume: FatVolume): Promise<string[]> {
  const { geometry, boot, table } = volume
  const warnings: string[] = []
  const bits = CLEAN[geometry.bits]
  const second = await table.get(1)
  if ((boot.state & STATE_DIRTY) !== 0 || (bits !== undefined && (second & bits.shut) === 0))
    warnings.push('the filesystem was not cleanly unmounted; run fsck.fat')
  else if (bits !== undefined && (second & bits.errors) === 0)
    warnings.push('the filesystem is marked as having met disk errors; run fsck.fat')
  if (geometry.truncated)
    warnings.push(
      `the filesystem claims ${boot.totalSectors} sectors, more than its volume has: what lies behind it cannot be read, and nothing is written`,
    )
  return warnings
}
