import { MemoryDevice } from '../../src/device/memory-device.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'

/** A disk with a GPT whose partitions hold these bytes. */
export async function partitioned(...parts: readonly Uint8Array[]): Promise<MemoryDevice> {
  const size = parts.reduce((sum, { length }) => sum + length + (1 << 20), 3 << 20)
  const disk = new MemoryDevice(size)
  const placed = await writeGpt(
    disk,
    parts.map(({ length }) => ({ length, type: GPT_TYPE.lvm })),
  )
  for (const [index, bytes] of parts.entries()) await disk.write(placed[index]?.offset ?? 0, bytes)
  return disk
}
