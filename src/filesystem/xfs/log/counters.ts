import type { BlockDevice } from '../../../device/block-device.ts'
import { isDrydiskError } from '../../../errors.ts'
import { AG_SECTOR } from '../ag-header.ts'
import { Agf, checkAgf } from '../agf.ts'
import { Agi, checkAgi } from '../agi.ts'
import { storeChecksum } from '../checksum.ts'
import { Geometry } from '../geometry.ts'
import { parseSuperblock, SB_CRC_OFFSET, setCounters } from '../superblock.ts'

/**
 * Sums up the superblock's counters from the allocation groups. With lazy counters they are right only after an unmount, and
 * Linux counts anew after a replay (xfs_initialize_perag_data).
 * @returns what a user has to know where it cannot be done.
 */
export async function sumCounters(device: BlockDevice, sectorSize: number): Promise<string | undefined> {
  const sector = new Uint8Array(sectorSize)
  await device.read(0, sector)
  const superblock = parseSuperblock(sector)
  if (!superblock.hasLazyCounts) return undefined
  const geometry = new Geometry(superblock)
  let [inodes, freeInodes, freeBlocks] = [0, 0, 0]
  try {
    const header = new Uint8Array(sectorSize)
    for (let agno = 0; agno < superblock.sb_agcount; agno++) {
      await device.read(geometry.agByte(agno) + AG_SECTOR.AGF * sectorSize, header)
      checkAgf(header, superblock, geometry, agno)
      const agf = new Agf(header, superblock)
      freeBlocks += agf.agf_freeblks + agf.agf_flcount + agf.agf_btreeblks
      await device.read(geometry.agByte(agno) + AG_SECTOR.AGI * sectorSize, header)
      checkAgi(header, superblock, geometry, agno)
      const agi = new Agi(header, superblock)
      inodes += agi.agi_count
      freeInodes += agi.agi_freecount
    }
  } catch (error) {
    if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
    return `free space and inodes are not counted after the replay of the log: ${error.message}`
  }
  setCounters(sector, { icount: inodes, ifree: freeInodes, fdblocks: freeBlocks })
  if (superblock.isV5) storeChecksum(sector, SB_CRC_OFFSET)
  await device.write(0, sector)
  return undefined
}
