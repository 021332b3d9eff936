import { accountSteps } from './accounts.ts'
import { bootSteps } from './boot.ts'
import { cloudInitSteps } from './cloud-init.ts'
import { contentSteps } from './content.ts'
import { fileSteps } from './files.ts'
import { firstbootSteps } from './firstboot.ts'
import { networkSteps } from './network.ts'
import { serviceSteps } from './services.ts'
import type { Step } from './step.ts'
import { systemSteps } from './system.ts'
import { tuningSteps } from './tuning.ts'
import { unitSteps } from './units.ts'
import { userSteps } from './users.ts'

export type { HostAccess } from './host-access.ts'
export type { Planned, Step } from './step.ts'

/** Every step, by name. */
export const steps: readonly Step[] = [
  ...accountSteps,
  ...bootSteps,
  ...cloudInitSteps,
  ...contentSteps,
  ...fileSteps,
  ...firstbootSteps,
  ...networkSteps,
  ...serviceSteps,
  ...systemSteps,
  ...tuningSteps,
  ...unitSteps,
  ...userSteps,
].sort((a, b) => (a.name < b.name ? -1 : 1))
