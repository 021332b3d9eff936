import type { GuestFs } from '../../guest/guest-fs.ts'
import type { GuestIdentity } from '../../guest/identity.ts'
import type { Guest } from '../../guest/open-guest.ts'
import type { GuestVolume } from '../../guest/volume-spec.ts'
import type { GuestFacts } from '../guest-facts.ts'
import type { OperationReport } from '../operation.ts'
import type { Findings } from './findings.ts'

/** What a guest is to be ready for. */
export const PROFILES = ['openstack', 'kvm', 'generic'] as const
/** What a guest is to be ready for. */
export type Profile = (typeof PROFILES)[number]

/** What is known of the disk below a guest. */
export interface DiskFacts {
  readonly volumes: readonly GuestVolume[]
  readonly mounts: Guest['mounts']
  /** Name of the volume of the root filesystem. */
  readonly rootVolume: string
  /** What is odd about the partition table and the filesystems, as whole sentences. */
  readonly warnings: readonly string[]
  /** The first sector of the disk. */
  readonly firstSector: Uint8Array
  /** `raw`, `qcow2`, … */
  readonly format: string
  /** Of a qcow2 image: its backing file, whatever is in the way of reading it by itself. */
  readonly backingFile?: string
  readonly dataFile?: boolean
  readonly extendedL2?: boolean
  readonly corrupt?: boolean
}

/** What a check works with. */
export interface CheckContext {
  readonly guest: GuestFs
  readonly identity: GuestIdentity
  readonly facts: GuestFacts
  readonly profile: Profile
  /** `undefined`: the guest is a tree of files without a disk. */
  readonly disk: DiskFacts | undefined
  readonly findings: Findings
  /** Mends what a finding names, where mending is wanted. @returns whether it was. */
  mend(step: (guest: GuestFs) => Promise<OperationReport>): Promise<boolean>
}

/** One question about a guest. It answers with at least one finding, or with none where the question makes no sense. */
export interface Check {
  readonly name: string
  readonly summary: string
  readonly profiles: readonly Profile[]
  run(context: CheckContext): Promise<void>
}
