import { unitName } from '../../config/unit-names.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { type InitSystem, initSystem } from './init-system.ts'
import { openrcState } from './openrc.ts'
import { unitState } from './systemd.ts'
import { sysvState } from './sysv.ts'
import { upstartState } from './upstart.ts'

/** Whether a service starts at the next boot, and what decides that. */
export interface ServiceState {
  /** What the service is called by what starts it: of an alias, the unit that it stands for. */
  readonly name: string
  readonly init: InitSystem
  /**
   * `static`: it has no [Install], so others pull it in; `indirect`: it enables others in its place; `masked`: it cannot start;
   * `absent`: the guest has no such service.
   */
  readonly state: 'enabled' | 'disabled' | 'static' | 'masked' | 'indirect' | 'absent'
  /** The guest path of the link or file that decides; the empty string for `absent`. */
  readonly decidedBy: string
  /** Whether something that is looked at at boot pulls it in: for a static unit, a link of the distribution. */
  readonly startsAtBoot: boolean
}

/** What becomes of a service at the next boot: a unit of systemd, or a script or job of what the guest boots with. */
export async function serviceState(guest: GuestFs, name: string): Promise<ServiceState> {
  const init = await initSystem(guest)
  const bare = name.replace(/\.service$/, '')
  const found =
    init === 'systemd'
      ? ((await unitState(guest, unitName(name))) ?? (await sysvState(guest, bare)))
      : init === 'openrc'
        ? await openrcState(guest, bare)
        : ((init === 'upstart' ? await upstartState(guest, bare) : undefined) ??
          (await sysvState(guest, bare)))
  return found ?? { name, init, state: 'absent', decidedBy: '', startsAtBoot: false }
}
