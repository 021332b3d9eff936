import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { storeChecksum } from '../../src/filesystem/xfs/checksum.ts'
import { LOG_INCOMPAT } from '../../src/filesystem/xfs/features.ts'
import { Geometry } from '../../src/filesystem/xfs/geometry.ts'
import { findActiveLog } from '../../src/filesystem/xfs/log/find-tail.ts'
import { LI } from '../../src/filesystem/xfs/log/item-types.ts'
import { LogArea } from '../../src/filesystem/xfs/log/log-area.ts'
import { nextCycle } from '../../src/filesystem/xfs/log/record-header.ts'
import { lsn } from '../../src/filesystem/xfs/log/unmount-record.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import { SB_CRC_OFFSET } from '../../src/filesystem/xfs/superblock.ts'
import type { Extent } from '../../src/filesystem/xfs/writer.ts'
import { appendTransaction, ChangedDevice, region } from './xfs-log.ts'

const MOST_RECORD = 33 * 1024

/** An attribute that a transaction promised to change; its regions are those of xfs_attri_item_format. */
export interface AttributeIntent {
  readonly ino: number
  readonly operation: 'set' | 'remove' | 'replace'
  /** 0 user, 2 trusted (XFS_ATTR_ROOT), 4 security (XFS_ATTR_SECURE). */
  readonly namespace: 0 | 2 | 4
  readonly name: string
  readonly value?: Uint8Array
}

/** Regions are padded to 4 bytes (xlog_calc_iovec_len). */
function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4)
  whole.set(bytes)
  return whole
}

export function attributeIntent({ ino, operation, namespace, name, value }: AttributeIntent, id: number) {
  const bytes = new TextEncoder().encode(name)
  const parts = [bytes, ...(value === undefined ? [] : [value])]
  const format = region([
    { size: 2, value: LI.ATTRI },
    { size: 2, value: 1 + parts.length },
    { size: 4, value: 0 },
    { size: 8, value: id },
    { size: 8, value: ino },
    { size: 4, value: { set: 1, remove: 2, replace: 3 }[operation] },
    { size: 4, value: bytes.length },
    { size: 4, value: value?.length ?? 0 },
    { size: 4, value: namespace },
  ])
  return [format, ...parts.map(padded)]
}

/** struct xfs_efi_log_format. */
export function freeIntent(extents: readonly Extent[], id: number): Uint8Array[] {
  const format = region([
    { size: 2, value: LI.EFI },
    { size: 2, value: 1 },
    { size: 4, value: extents.length },
    { size: 8, value: id },
    ...extents.flatMap(({ start, count }) => [
      { size: 8 as const, value: start },
      { size: 4 as const, value: count },
      { size: 4 as const, value: 0 },
    ]),
  ])
  return [format]
}

/** Makes a clean log one whose last record has a transaction with these regions, as if power had failed behind it. */
export async function leaveOpen(image: string, regions: readonly Uint8Array[]): Promise<void> {
  const device = new StorageDevice(await FileStorage.open(image, 'write'))
  try {
    const sb = await readSuperblock(device)
    const log = new LogArea(device, sb)
    const { head, newest = 0 } = await findActiveLog(log)
    const header = await log.header(newest)
    const cycle = nextCycle(header, head)
    const changed = new ChangedDevice(device)
    const start = new Geometry(sb).volumeBlock(sb.sb_logstart) * sb.sb_blocksize
    await appendTransaction(
      changed,
      start,
      { ...header, cycle, tailLsn: lsn(cycle, head) },
      head,
      0x77,
      regions,
    )
    const record = new Uint8Array(MOST_RECORD)
    await changed.read(start + head * 512, record)
    await device.write(start + head * 512, record)
    if (!sb.isV5) return
    const sector = new Uint8Array(sb.sb_sectsize)
    await device.read(0, sector)
    new DataView(sector.buffer).setUint32(220, LOG_INCOMPAT.XATTRS)
    storeChecksum(sector, SB_CRC_OFFSET)
    await device.write(0, sector)
  } finally {
    await device.close()
  }
}
