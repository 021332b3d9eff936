import { littleEndian } from '../bytes/byte-view.ts'
import type { BlockDevice } from '../device/block-device.ts'
import { DrydiskError } from '../errors.ts'
import type { Probe } from './probe.ts'

/** linux/swap.h: the UUID in the header of swap space, whatever the size of its pages. */
const SWAP_UUID = 0x40c

/** Whether `changeUuid` can give what is on a volume another UUID. */
export function canChangeUuid({ type, uuid }: Pick<Probe, 'type' | 'uuid'>): boolean {
  return uuid !== '' && /^(?:ext[234]|xfs|swap)$/.test(type)
}

/**
 * Gives the filesystem or swap space on a volume another UUID. What is mounted from it has to be synced and closed before.
 * @param uuid 16 bytes.
 * @throws ERR_UNSUPPORTED for what keeps its UUID, and what `changeExt4Uuid` and `changeXfsUuid` throw.
 */
export async function changeUuid(device: BlockDevice, found: Probe, uuid: Uint8Array): Promise<void> {
  if (!canChangeUuid(found))
    throw new DrydiskError('ERR_UNSUPPORTED', `drydisk does not change the UUID of ${found.type}`, {
      type: found.type,
    })
  if (found.type === 'xfs') {
    const { changeXfsUuid } = await import('./xfs/change-uuid.ts')
    return changeXfsUuid(device, uuid)
  }
  if (found.type === 'swap') {
    const head = new Uint8Array(SWAP_UUID + 16)
    await device.read(0, head)
    littleEndian(head, 'swap header').slice(SWAP_UUID, 16).set(uuid)
    return device.write(0, head)
  }
  const { changeExt4Uuid } = await import('./ext4/change-uuid.ts')
  return changeExt4Uuid(device, uuid)
}
