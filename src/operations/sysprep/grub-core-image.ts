import { littleEndian } from '../../bytes/byte-view.ts'
import { equalBytes } from '../../bytes/compare.ts'
import type { BlockDevice } from '../../device/block-device.ts'

const SECTOR = 512
/** In boot.img, the first sector of the disk: where the core image is (GRUB_BOOT_MACHINE_KERNEL_SECTOR in grub/i386/pc/boot.h). */
const KERNEL_SECTOR = 0x5c
/**
 * In the core image, behind the sector of diskboot.img: sizes, error correction, and the device to boot from
 * (GRUB_DECOMPRESSOR_I386_PC_* in grub/offsets.h). Its third byte is the partition's number less one, 0xff for none.
 */
const COMPRESSED_SIZE = SECTOR + 0x08
const BOOT_DEVICE = SECTOR + 0x18
const BEHIND_VARIABLES = SECTOR + 0x1c
const NO_PARTITION = 0xff
/** Of the decompressor's code, which two images of one GRUB have in common. */
const COMPARED = 1024

/**
 * Has GRUB's image for a BIOS, at the beginning of a disk, take a partition for its own where the search that is built into it (compressed,
 * so it cannot be changed) finds nothing: `root` is that partition before the search, and stays so when the search fails, with a message
 * (grub_machine_get_bootlocation, and load.cfg of grub-install).
 * @param core the guest's own copy of the image, core.img: what is on the disk has to be made with the same decompressor.
 * @param partition its number, from 1.
 * @returns why it cannot be done, `undefined` where it is done.
 */
export async function setBootPartition(
  disk: BlockDevice,
  core: Uint8Array,
  partition: number,
): Promise<string | undefined> {
  if (partition < 1 || partition > NO_PARTITION)
    return `partition ${partition} is not one that GRUB can be told of`
  const first = new Uint8Array(SECTOR)
  await disk.read(0, first)
  const start = littleEndian(first, 'GRUB boot.img').u64(KERNEL_SECTOR) * SECTOR
  const size = BEHIND_VARIABLES + COMPARED
  if (start === 0 || start + size > disk.size || core.length < size)
    return 'the first sector of the disk does not lead to an image of GRUB'
  const installed = new Uint8Array(size)
  await disk.read(start, installed)
  const sameCode = equalBytes(installed.subarray(BEHIND_VARIABLES), core.subarray(BEHIND_VARIABLES, size))
  const sameSize = [installed, core].map(bytes => littleEndian(bytes, 'GRUB core.img').u32(COMPRESSED_SIZE))
  if (!sameCode || sameSize[0] !== sameSize[1])
    return 'the image of GRUB at the beginning of the disk is not the core.img of the guest'
  const at = BOOT_DEVICE + 2
  if (installed[at] === partition - 1) return undefined
  if (installed[at] !== NO_PARTITION)
    return `the image of GRUB is for partition ${(installed[at] ?? 0) + 1} already`
  await disk.write(start + at, Uint8Array.of(partition - 1))
  return undefined
}
