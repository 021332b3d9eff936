import { closeSync, copyFileSync, openSync, readSync, writeSync } from 'node:fs'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { findActiveLog } from '../../src/filesystem/xfs/log/find-tail.ts'
import { INTENT_TYPES, IntentList, type OpenIntent } from '../../src/filesystem/xfs/log/intents.ts'
import { LogArea } from '../../src/filesystem/xfs/log/log-area.ts'
import { TransactionReader } from '../../src/filesystem/xfs/log/transactions.ts'
import { readSuperblock } from '../../src/filesystem/xfs/read-superblock.ts'
import type { Superblock } from '../../src/filesystem/xfs/superblock.ts'

/** A place between two records of a log, and what is left to be done if it ends there. */
export interface Cut {
  /** Basic block of the log. */
  readonly block: number
  readonly open: readonly OpenIntent[]
}

/** A filesystem before it was mounted, and as it was left: all that changed is in the log. */
export interface CutImages {
  readonly before: string
  readonly dirty: string
}

async function withLog<T>(image: string, use: (log: LogArea, sb: Superblock) => Promise<T>): Promise<T> {
  const device = new StorageDevice(await FileStorage.open(image, 'read'))
  try {
    const sb = await readSuperblock(device)
    return await use(new LogArea(device, sb), sb)
  } finally {
    await device.close()
  }
}

/** Every end of a record since the mount. */
export async function cuts({ before, dirty }: CutImages): Promise<Cut[]> {
  const start = await withLog(before, async log => (await findActiveLog(log)).head)
  return withLog(dirty, async log => {
    const { head } = await findActiveLog(log)
    // A new filesystem's log is in its first cycle.
    if ((await log.cycle(0)) !== 1)
      throw new Error('the log went round, so that it does not hold all that changed')
    const reader = new TransactionReader()
    const intents = new IntentList()
    const found: Cut[] = []
    for (let at = start; at !== head; ) {
      const record = await log.record(at)
      for (const { items, tid } of reader.read(record))
        for (const item of items) if (INTENT_TYPES.has(item.type)) intents.add(item, tid)
      at = record.end
      found.push({ block: at, open: intents.open })
    }
    return found
  })
}

/** The filesystem as a power failure just behind a record would have left it. */
export async function cutImage({ before, dirty }: CutImages, cut: Cut, image: string): Promise<void> {
  const start = await withLog(before, async log => (await findActiveLog(log)).head)
  const place = await withLog(before, async (_, sb) => {
    const unit = 2 ** sb.sb_agblklog
    const block = Math.floor(sb.sb_logstart / unit) * sb.sb_agblocks + (sb.sb_logstart % unit)
    return block * sb.sb_blocksize
  })
  copyFileSync(before, image)
  const bytes = Buffer.alloc((cut.block - start) * 512)
  const [from, to] = [openSync(dirty, 'r'), openSync(image, 'r+')]
  readSync(from, bytes, 0, bytes.length, place + start * 512)
  writeSync(to, bytes, 0, bytes.length, place + start * 512)
  closeSync(from)
  closeSync(to)
}
