import type { BlockDevice } from '../../device/block-device.ts'
import { runsOf } from '../../device/mapped-runs.ts'
import type { Storage } from '../../device/storage.ts'
import { DrydiskError } from '../../errors.ts'
import { FIELD } from './header.ts'
import { L1Table } from './l2-table.ts'
import type { CopyWork } from './rebase.ts'
import { Restructure } from './restructure.ts'
import {
  changeStructure,
  countReached,
  readL1Table,
  releaseL1Table,
  writeL1Table,
} from './table-references.ts'

/** Bytes read at a time. */
const STEP = 4 << 20

/**
 * Writes to a backing file what the layers above it say. The backing file's own writes are staged: the layers go on reading what
 * it holds now.
 * @param depth of the backing file in the chain of `image`: 1 is the next one.
 * @returns bytes that were written, and bytes that came to read as zeros.
 */
export async function copyDown(
  image: BlockDevice,
  base: BlockDevice,
  depth: number,
  { signal, onProgress }: CopyWork,
): Promise<{ readonly copied: number; readonly zeroed: number }> {
  const buffer = new Uint8Array(STEP)
  let copied = 0
  let zeroed = 0
  for await (const runs of runsOf(image, 0, image.size))
    for (const run of runs) {
      onProgress?.({ done: run.offset, total: image.size })
      if (run.depth >= depth) continue
      if (run.kind === 'zero') {
        // Also where a layer has nothing, and those below it end before: the backing file may be longer than they are.
        await base.erase(run.offset, run.length)
        zeroed += run.length
        continue
      }
      const end = run.offset + run.length
      for (let at = run.offset; at < end; ) {
        if (signal?.aborted)
          throw new DrydiskError('ERR_ABORTED', 'committing into the backing file was stopped')
        const part = buffer.subarray(0, Math.min(STEP, end - at))
        await image.read(at, part)
        await base.write(at, part)
        at += part.length
        copied += part.length
        onProgress?.({ done: at, total: image.size })
      }
    }
  onProgress?.({ done: image.size, total: image.size })
  return { copied, zeroed }
}

/**
 * Takes everything out of an image, atomically: it reads as its backing file does. Snapshots stay.
 * @param storage the image with nothing staged; to be opened anew afterwards. Not of an image with an external data file.
 */
export async function emptyQcow2(storage: Storage): Promise<void> {
  await newL1Table(storage, async (restructure, l1) => {
    await countReached(restructure, l1, -1)
    return new L1Table(new Uint8Array(l1.bytes.length))
  })
  // Until the switch, the new tables had to lie behind what the old ones reach; now there is room at the beginning.
  await newL1Table(storage, async (_restructure, l1) => l1)
}

async function newL1Table(
  storage: Storage,
  change: (restructure: Restructure, l1: L1Table) => Promise<L1Table>,
): Promise<void> {
  const restructure = await Restructure.of(storage)
  const { header } = restructure
  await changeStructure(restructure, async () => {
    const l1 = await change(restructure, await readL1Table(restructure, header))
    releaseL1Table(restructure, header)
    const offset = await writeL1Table(restructure, l1)
    return { edit: view => view.setU64(FIELD.l1_table_offset, offset) }
  })
}
