import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import { ClusterMap } from './cluster-map.ts'
import { corrupt } from './corruption.ts'
import { GuestReader } from './guest-reader.ts'
import { MappingTables } from './mapping-tables.ts'
import { readL1 } from './open.ts'
import { readPadded } from './padded-read.ts'
import { Qcow2Image } from './qcow2-image.ts'
import type { Snapshot } from './snapshot-table.ts'

/** Which snapshot: an identifier or a name, or each by itself. */
export type SnapshotChoice = string | { readonly id?: string; readonly name?: string }

/**
 * Finds a snapshot; a plain text is looked for among the identifiers first and then among the names, as qemu does.
 * Errors: `ENOENT`, naming those that there are.
 */
export function findSnapshot(
  snapshots: readonly Snapshot[],
  choice: SnapshotChoice,
  image: string,
): Snapshot {
  const found =
    typeof choice === 'string'
      ? (snapshots.find(({ id }) => id === choice) ?? snapshots.find(({ name }) => name === choice))
      : snapshots.find(({ id, name }) => (choice.id ?? id) === id && (choice.name ?? name) === name)
  if (found !== undefined) return found
  const wanted =
    typeof choice === 'string' ? JSON.stringify(choice) : JSON.stringify(choice.name ?? choice.id)
  const there = snapshots.map(({ id, name }) => `${id} (${JSON.stringify(name)})`).join(', ')
  throw new DrydiskError(
    'ENOENT',
    `${image} has no snapshot ${wanted}; ${there === '' ? 'it has none at all' : `there are ${there}`}`,
    { path: image },
  )
}

/**
 * The disk as it was when an internal snapshot was taken, read-only. It reads through the image's file and backing files: close
 * the image after it, and change nothing in the image meanwhile.
 * Errors: `ENOENT`; `ERR_CORRUPT`; `ERR_INVALID_ARGUMENT` for another format.
 */
export async function snapshotDevice(image: BlockDevice, choice: SnapshotChoice): Promise<Qcow2Image> {
  if (!(image instanceof Qcow2Image))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', 'only a qcow2 image has internal snapshots')
  const { storage, header, reader, snapshots } = image.parts
  const { id, diskSize, l1_table_offset, l1_size } = findSnapshot(snapshots, choice, storage.name)
  const { geometry } = header
  // What says so is the snapshot table: no header was checked for it.
  if (l1_size * geometry.l2Span < diskSize)
    throw corrupt(
      storage.name,
      `snapshot ${id}: an L1 table of ${l1_size} entries is too short for its disk`,
      {
        structure: 'snapshot table',
      },
    )
  const shown = { ...header, size: diskSize, l1_table_offset, l1_size, nb_snapshots: 0 }
  const tables = new MappingTables(storage, geometry, await readL1(storage, shown), undefined)
  const map = new ClusterMap(storage.name, geometry, false, header.version, tables)
  const host = { read: (offset: number, into: Uint8Array) => readPadded(storage, offset, into) }
  return new Qcow2Image({
    storage,
    header: shown,
    reader: new GuestReader(shown, map, host, reader.backing),
    snapshots: [],
    bitmaps: undefined,
    dataFile: undefined,
    writing: undefined,
    borrowed: true,
  })
}
