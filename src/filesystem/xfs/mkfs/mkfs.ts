import type { BlockDevice } from '../../../device/block-device.ts'
import { DrydiskError } from '../../../errors.ts'
import { storeChecksum } from '../checksum.ts'
import { Geometry } from '../geometry.ts'
import { unmountRecord } from '../log/unmount-record.ts'
import { parseSuperblock, SB_CRC_OFFSET, type Superblock, setCounters } from '../superblock.ts'
import { type AgContents, agImage } from './ag-image.ts'
import { agPlaces } from './ag-places.ts'
import { FIRST_INODES, firstInodes } from './first-inodes.ts'
import { type XfsLayout, xfsLayout } from './layout.ts'
import { newSuperblock, setPlaces } from './new-superblock.ts'
import { type MakeXfsOptions, xfsSettings } from './options.ts'

export type { MakeXfsOptions } from './options.ts'

const INODES_PER_CHUNK = 64
const BASIC_BLOCK = 512
/** XLOG_INIT_CYCLE */
const FIRST_CYCLE = 1
const NO_BLOCK = 0xffff_ffff

/**
 * Makes a new XFS filesystem of version 5 that fills the device, laid out as mkfs.xfs does it, with its defaults. All that was
 * on the device is erased; then only metadata is written, so that a large filesystem costs little.
 *
 * `ERR_INVALID_ARGUMENT` for options that contradict each other, `ERR_UNSUPPORTED` for a feature by name, `ENOSPC` for a
 * device that is too small, `EROFS` for one that is not writable.
 */
export async function makeXfs(device: BlockDevice, options: MakeXfsOptions = {}): Promise<void> {
  if (!device.writable)
    throw new DrydiskError('EROFS', 'cannot make a filesystem: the volume is open for reading only')
  const settings = xfsSettings(options)
  const layout = xfsLayout(device.size, settings)
  const sector = newSuperblock(settings, layout)
  const firstBlocks = placeFirst(sector, layout)
  const sb = sealed(sector)

  await device.erase(0, device.size)
  const geometry = new Geometry(sb)
  let fdblocks = 0
  for (let agno = 0; agno < layout.agCount; agno++) {
    const { bytes, free } = agImage(sb, {
      agno,
      length: geometry.agLength(agno),
      freeList: layout.freeList,
      ...(agno === layout.logAg ? { log: layout.logBlocks } : {}),
      ...(agno === 0 ? { inodes: firstBlocks } : {}),
    })
    fdblocks += free
    // The superblock comes last.
    await device.write(geometry.agByte(agno) + sb.sb_sectsize, bytes.subarray(sb.sb_sectsize))
  }
  const chunk = firstInodes(sb, sb.sb_rootino, firstBlocks.count, settings.now)
  await device.write(firstBlocks.start * sb.sb_blocksize, chunk)
  await writeLog(device, sb)

  const icount = firstBlocks.count * sb.sb_inopblock
  setCounters(sector, { icount, ifree: icount - FIRST_INODES, fdblocks })
  sealed(sector)
  for (let agno = layout.agCount - 1; agno >= 0; agno--) await device.write(geometry.agByte(agno), sector)
  await device.flush()
}

/** Where the first inodes go, which xfs_repair reckons out again (xfs_ialloc_calc_rootino); the superblock is told. */
function placeFirst(sector: Uint8Array, layout: XfsLayout): NonNullable<AgContents['inodes']> {
  const sb = sealed(sector)
  const { end } = agPlaces(sb)
  const log = layout.logAg === 0 ? layout.logBlocks : 0
  const alignment = Math.max(1, sb.sb_inoalignmt)
  const start = Math.ceil((end + log + layout.freeList) / alignment) * alignment
  const count = Math.max(1, INODES_PER_CHUNK / sb.sb_inopblock)
  setPlaces(sector, {
    logStart: new Geometry(sb).fsBlock(layout.logAg, end),
    rootino: start * sb.sb_inopblock,
  })
  return { start, count, used: FIRST_INODES }
}

/** One record, of an unmount, in a log of zeros: the kernel begins behind it, in the same cycle. */
async function writeLog(device: BlockDevice, sb: Superblock): Promise<void> {
  const start = new Geometry(sb).volumeBlock(sb.sb_logstart) * sb.sb_blocksize
  const record = unmountRecord(sb, {
    cycle: FIRST_CYCLE,
    block: 0,
    logBlocks: (sb.sb_logblocks * sb.sb_blocksize) / BASIC_BLOCK,
    previous: NO_BLOCK,
  })
  await device.write(start, record)
}

function sealed(sector: Uint8Array): Superblock {
  storeChecksum(sector, SB_CRC_OFFSET)
  return parseSuperblock(sector)
}
