import type { DiskImage } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import { openGuest } from '../../guest/open-guest.ts'
import { probeVolumes } from '../../guest/volume-spec.ts'
import { Qcow2Image } from '../../image/qcow2/qcow2-image.ts'
import { MBR_SIZE } from '../../volume/mbr.ts'
import { readVolumes } from '../../volume/read-volumes.ts'
import type { DiskFacts } from './check.ts'

/** What `diagnose` wants to know of an image below its guest. @param root as in `openGuest`. */
export async function readDiskFacts(image: DiskImage, root?: string): Promise<DiskFacts> {
  const list = await readVolumes(image)
  const guest = await openGuest(list.volumes, root === undefined ? {} : { root })
  try {
    const firstSector = new Uint8Array(image.size < MBR_SIZE ? 0 : MBR_SIZE)
    await image.read(0, firstSector)
    return {
      volumes: await probeVolumes(list.volumes),
      mounts: guest.mounts,
      rootVolume: guest.rootVolume,
      warnings: [...list.warnings, ...guest.warnings],
      firstSector,
      format: image.format,
      ...qcow2Facts(image),
    }
  } finally {
    await guest.close().catch((error: unknown) => {
      // It was open for reading only: there is nothing to lose.
      if (!isDrydiskError(error)) throw error
    })
  }
}

function qcow2Facts(
  image: DiskImage,
): Pick<DiskFacts, 'backingFile' | 'dataFile' | 'extendedL2' | 'corrupt'> {
  if (!(image instanceof Qcow2Image)) return {}
  const { info, parts } = image
  const { backingFile } = parts.header
  return {
    ...(backingFile === undefined ? {} : { backingFile }),
    dataFile: info['data-file-raw'] !== undefined,
    extendedL2: info['extended-l2'] ?? false,
    corrupt: info.corrupt ?? false,
  }
}
