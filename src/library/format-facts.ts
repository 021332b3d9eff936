import type { DiskImage } from '../device/block-device.ts'
import { Qcow2Image } from '../image/qcow2/qcow2-image.ts'

/** What only some formats have: the facts of a qcow2 header, its backing file and snapshots. */
export function formatFacts(disk: DiskImage): {
  formatSpecific?: Readonly<Record<string, unknown>>
  backingFile?: string
  snapshots: { id: string; name: string }[]
} {
  if (!(disk instanceof Qcow2Image)) return { snapshots: [] }
  const { backingFile } = disk.header
  return {
    formatSpecific: { 'cluster-size': disk.clusterSize, ...disk.info },
    ...(backingFile === undefined ? {} : { backingFile }),
    snapshots: disk.snapshots.map(({ id, name }) => ({ id, name })),
  }
}
