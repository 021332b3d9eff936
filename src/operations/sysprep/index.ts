import { cloudInitTask } from './cloud-init-task.ts'
import { fsUuidsTask } from './fs-uuids.ts'
import { globTasks } from './glob-tasks.ts'
import { homeTasks } from './home-tasks.ts'
import { hostKeysTask } from './host-keys.ts'
import { identityTasks } from './identity-tasks.ts'
import { logTasks } from './log-tasks.ts'
import { lvmUuidsTask } from './lvm-uuids.ts'
import { networkTasks } from './network-tasks.ts'
import { packageTasks } from './package-tasks.ts'
import type { SysprepTask } from './task.ts'
import { userTask } from './user-task.ts'

const customize: SysprepTask = {
  name: 'customize',
  byDefault: true,
  summary: 'make the edits that are given as options of drydisk customize, after the removals',
  // `runSysprep` makes them, each with a report of its own.
  run: async () => undefined,
}

const script: SysprepTask = {
  name: 'script',
  byDefault: true,
  summary: 'nothing: programs of the host do not run on the guest (--script is refused)',
  run: async () => undefined,
}

/** Every operation of sysprep, by name. */
export const sysprepTasks: readonly SysprepTask[] = [
  customize,
  cloudInitTask,
  fsUuidsTask,
  ...globTasks,
  ...homeTasks,
  hostKeysTask,
  ...identityTasks,
  ...logTasks,
  lvmUuidsTask,
  ...networkTasks,
  ...packageTasks,
  script,
  userTask,
].sort((a, b) => (a.name < b.name ? -1 : 1))
