import type { BlockDevice } from '../device/block-device.ts'
import { SliceDevice } from '../device/slice-device.ts'
import { isDrydiskError } from '../errors.ts'
import { isSupported, openFileSystem } from '../filesystem/open.ts'
import { probe } from '../filesystem/probe.ts'
import { readVolumes } from '../volume/read-volumes.ts'
import type { Volume } from '../volume/volume.ts'

/**
 * What of a disk would lose its end if the disk had `size` bytes: partitions, filesystems, and what drydisk knows by its signature
 * alone. Nothing is written.
 * @returns whole sentences; none when all fits, and for a disk whose partition table cannot be read.
 */
export async function cutOff(disk: BlockDevice, size: number): Promise<readonly string[]> {
  if (size >= disk.size) return []
  const volumes = await readVolumes(disk).catch(error => {
    if (isDrydiskError(error, 'ERR_CORRUPT')) return undefined
    throw error
  })
  const sentences: string[] = []
  for (const volume of volumes?.volumes ?? []) {
    const sentence = await ofVolume(disk, volume, size)
    if (sentence !== undefined) sentences.push(sentence)
  }
  return sentences
}

async function ofVolume(disk: BlockDevice, volume: Volume, size: number): Promise<string | undefined> {
  const { name, number, offset, length, device } = volume
  if (offset === undefined) return ofLogicalVolume(volume, size)
  if (offset + length <= size) return undefined
  const type = (await probe(device))?.type
  const reaches = `${name} reaches beyond the new end of the disk`
  if (type === undefined) return number === 0 ? undefined : `${reaches}.`
  if (!isSupported(type) || !(await opens(device)))
    return number === 0
      ? `${name} holds ${type}, and drydisk cannot tell whether it reaches beyond the new end of the disk.`
      : `${reaches}, and holds ${type}.`
  const left = Math.max(0, size - offset)
  if (await opens(new SliceDevice(disk, offset, left)))
    return number === 0 ? undefined : `${reaches}; its ${type} filesystem ends before it.`
  return `The ${type} filesystem on ${name} reaches beyond the new end of the disk: it is cut off and cannot be used any more.`
}

function ofLogicalVolume({ name, length, places }: Volume, size: number): string | undefined {
  for (const { end } of places(0, length))
    if (end > size)
      return `The logical volume ${name} has extents beyond the new end of the disk: it cannot be used any more.`
  return undefined
}

async function opens(device: BlockDevice): Promise<boolean> {
  try {
    await (await openFileSystem(device, { writable: false })).close()
    return true
  } catch (error) {
    if (isDrydiskError(error, 'EIO')) throw error
    return false
  }
}
