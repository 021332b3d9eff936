import type { Storage } from '../../device/storage.ts'
import { TWO_32 } from './geometry.ts'
import type { Header } from './header.ts'
import { readPadded } from './padded-read.ts'

/** The refcount table: host offsets of the refcount blocks, 0 where there is none. Not yet checked. */
export async function readRefcountTable(storage: Storage, header: Header): Promise<number[]> {
  const bytes = new Uint8Array(header.refcount_table_clusters * header.geometry.clusterSize)
  await readPadded(storage, header.refcount_table_offset, bytes)
  const view = new DataView(bytes.buffer)
  let used = bytes.length / 8
  while (used > 0 && view.getUint32(used * 8 - 8) === 0 && view.getUint32(used * 8 - 4) === 0) used--
  const offsets = new Array<number>(used)
  // Bits 0 to 8 are reserved; masking them keeps an odd table readable, and `checkRefcounts` counts it as wrong.
  for (let index = 0; index < used; index++)
    offsets[index] = view.getUint32(index * 8) * TWO_32 + view.getUint32(index * 8 + 4)
  return offsets
}

/** The table in the bytes of the file, padded to whole clusters. */
export function serializeRefcountTable(
  blocks: readonly number[],
  clusters: number,
  clusterSize: number,
): Uint8Array {
  const bytes = new Uint8Array(clusters * clusterSize)
  const view = new DataView(bytes.buffer)
  for (const [index, offset] of blocks.entries()) {
    view.setUint32(index * 8, Math.floor(offset / TWO_32))
    view.setUint32(index * 8 + 4, offset >>> 0)
  }
  return bytes
}
