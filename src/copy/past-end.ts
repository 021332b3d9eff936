import { bigEndian } from '../bytes/byte-view.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { runsOf } from '../device/mapped-runs.ts'
import type { Storage } from '../device/storage.ts'

/** `QFI\xfb`, and where the header says how large clusters are (qcow2 specification, "Header"). */
const QCOW2_MAGIC = 0x5146_49fb
const CLUSTER_BITS = 20
const LARGEST_CLUSTER = 2 << 20

/**
 * Data of a disk that its file is too short to hold: it reads as zeros, as with qemu. The last cluster of a sound file need
 * not be complete; more than that is missing where a file was cut or copied in part. Only tables are read.
 * @returns the files that are too short, each with the bytes that are missing.
 */
export async function dataPastEnd(
  device: BlockDevice,
): Promise<readonly { readonly path: string; readonly bytes: number }[]> {
  const missing = new Map<Storage, number>()
  for await (const runs of runsOf(device, 0, device.size))
    for (const run of runs) {
      if (run.kind !== 'data') continue
      const { storage, host, length } = run
      const bytes = Math.min(length, host + length - storage.size)
      if (bytes > 0) missing.set(storage, (missing.get(storage) ?? 0) + bytes)
    }
  const found: { path: string; bytes: number }[] = []
  for (const [storage, bytes] of missing)
    if (bytes >= (await clusterSize(storage))) found.push({ path: storage.name, bytes })
  return found
}

async function clusterSize(storage: Storage): Promise<number> {
  if (storage.size < CLUSTER_BITS + 4) return LARGEST_CLUSTER
  const head = new Uint8Array(CLUSTER_BITS + 4)
  await storage.read(0, head)
  const view = bigEndian(head, 'header')
  return view.u32(0) === QCOW2_MAGIC ? 2 ** Math.min(view.u32(CLUSTER_BITS), 21) : LARGEST_CLUSTER
}
