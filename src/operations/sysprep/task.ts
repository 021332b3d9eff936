import type { BlockDevice } from '../../device/block-device.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import type { GuestIdentity } from '../../guest/identity.ts'
import type { Mount } from '../../guest/mount-table.ts'
import type { GuestVolume } from '../../guest/volume-spec.ts'
import type { OperationReport } from '../operation.ts'
import type { ReportBuilder } from '../report.ts'
import type { GuestTree } from './guest-tree.ts'

/** The disk below a guest that is one of an image, as `Guest` gives it. */
export interface GuestDisk {
  readonly volumes: readonly GuestVolume[]
  readonly mounts: readonly Mount[]
  /** The disk itself, where it is at hand. */
  readonly device?: BlockDevice
  /** Work on the volumes themselves, done when the guest's filesystems are written and closed. */
  afterClose(work: () => Promise<void>): void
}

/** What one operation of sysprep works with. */
export interface SysprepContext {
  readonly guest: GuestFs
  readonly tree: GuestTree
  readonly identity: GuestIdentity
  readonly report: ReportBuilder
  readonly settings: SysprepSettings
  /** Whether the operation was asked for by its own name, not as one of the defaults or of all. */
  readonly named: boolean
}

/** What the tasks of sysprep are told. */
export interface SysprepSettings {
  /** Names of user accounts that `user-account` keeps. */
  readonly keepUserAccounts: readonly string[]
  /** Names of those that it removes; all of people when there are none. */
  readonly removeUserAccounts: readonly string[]
  /** Edits that come after the removals and before the last operations, in order. */
  readonly customize: readonly ((guest: GuestFs) => Promise<OperationReport>)[]
  /** For `fs-uuids` and `lvm-uuids`; a tree of files has none. */
  readonly disk: GuestDisk | undefined
}

/** One operation of sysprep. A second run of it reports nothing and writes nothing, but for new UUIDs. */
export interface SysprepTask {
  readonly name: string
  /** Done when no operations are named. */
  readonly byDefault: boolean
  /** One that virt-sysprep does not have. */
  readonly ours?: true
  readonly summary: string
  /** What must hold when everything else is done, edits included, comes last. */
  readonly last?: true
  run(context: SysprepContext): Promise<void>
}
