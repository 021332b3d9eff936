import type { BlockDevice } from '../device/block-device.ts'

const MD_MAGIC = 0xa92b_4efc

/** md superblocks at the end of their device: version 0.90 and 1.0 (md_p.h, super0.c and super1.c of mdadm). Members of any level. */
export async function hasRaidAtEnd(device: BlockDevice): Promise<boolean> {
  const sectors = Math.floor(device.size / 512)
  const places = [
    Math.floor(device.size / 65_536) * 65_536 - 65_536,
    Math.floor((sectors - 16) / 8) * 8 * 512,
  ]
  const bytes = new Uint8Array(4)
  for (const at of places) {
    if (at < 0) continue
    await device.read(at, bytes)
    // Version 0.90 is in the byte order of its machine.
    const view = new DataView(bytes.buffer)
    if (view.getUint32(0, true) === MD_MAGIC || view.getUint32(0, false) === MD_MAGIC) return true
  }
  return false
}
