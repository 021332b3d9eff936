import { DrydiskError, isDrydiskError } from '../../errors.ts'
import { isWritable } from '../../filesystem/open.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readIdentity } from '../../guest/identity.ts'
import { readGuestFacts } from '../guest-facts.ts'
import type { OperationReport } from '../operation.ts'
import { accessChecks } from './access-checks.ts'
import { agentChecks } from './agent-checks.ts'
import { bootChecks } from './boot-checks.ts'
import { type Check, type DiskFacts, PROFILES, type Profile } from './check.ts'
import { cloudChecks } from './cloud-checks.ts'
import { diskChecks } from './disk-checks.ts'
import { type Finding, Findings } from './findings.ts'
import { identityChecks } from './identity-checks.ts'

/** What `diagnose` takes. */
export interface DoctorOptions {
  /** `openstack` when left out. */
  readonly profile?: Profile
  /** Mends what can be mended; the caller commits. */
  readonly fix?: boolean
  /** Names of checks; all of the profile when left out. */
  readonly checks?: readonly string[]
  /** Left out for a tree of files: what concerns the disk is then not looked at. */
  readonly disk?: DiskFacts
  /** Aborted: `ERR_ABORTED` before the next check. */
  readonly signal?: AbortSignal
  /** Called after each check. */
  readonly onProgress?: (progress: DoctorProgress) => void
}

/** How many checks are made. */
export interface DoctorProgress {
  /** Name of the one that was made last. */
  readonly check: string
  readonly done: number
  readonly total: number
}

/** What `diagnose` found, and with `fix` what it mended. */
export interface Diagnosis {
  readonly profile: Profile
  readonly findings: readonly Finding[]
  /** What was changed, with `fix`. */
  readonly reports: readonly OperationReport[]
}

/** Every check, in the order in which they are made. */
export const doctorChecks: readonly Check[] = [
  ...bootChecks,
  ...cloudChecks,
  ...agentChecks,
  ...accessChecks,
  ...identityChecks,
  ...diskChecks,
]

/**
 * Whether a guest is ready for where it is to go. A check that itself fails is a finding; an image is not refused for it.
 * Errors: `ERR_INVALID_ARGUMENT` for a profile or a check that there is not.
 */
export async function diagnose(guest: GuestFs, options: DoctorOptions = {}): Promise<Diagnosis> {
  const { profile = 'openstack', fix = false, disk } = options
  const chosen = chooseChecks(profile, options.checks)
  const identity = await readIdentity(guest)
  const facts = await readGuestFacts(guest)
  const findings: Finding[] = []
  const reports: OperationReport[] = []
  for (const [index, check] of chosen.entries()) {
    if (options.signal?.aborted) throw new DrydiskError('ERR_ABORTED', 'the checks were stopped')
    const found = new Findings(check.name)
    const mend = async (step: (guest: GuestFs) => Promise<OperationReport>): Promise<boolean> => {
      if (!fix) return false
      try {
        reports.push(await step(guest))
        return true
      } catch (error) {
        if (!isDrydiskError(error)) throw error
        found.warn(`it could not be mended: ${error.message}`)
        return false
      }
    }
    try {
      await check.run({ guest, identity, facts, profile, disk, findings: found, mend })
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      found.warn(`this could not be looked at: ${error.message}`)
    }
    findings.push(...found.list)
    options.onProgress?.({ check: check.name, done: index + 1, total: chosen.length })
  }
  return { profile, findings: withoutEdits(findings, disk), reports }
}

/** Commands that edit the guest. */
const EDITS = /^drydisk (?:customize|edit|sysprep|rm|cp|mkdir|tar-in)\b/

/** Where the root cannot be written, no command is named that would be refused; what to do is said once. */
function withoutEdits(findings: readonly Finding[], disk: DiskFacts | undefined): readonly Finding[] {
  const root = disk?.mounts.find(({ path }) => path === '/')
  if (root === undefined || isWritable(root.type)) return findings
  if (!findings.some(({ command }) => EDITS.test(command ?? ''))) return findings
  const without = findings.map(finding => {
    const { command, ...rest } = finding
    return EDITS.test(command ?? '') ? rest : finding
  })
  const message = `the root is ${root.type}, which drydisk reads and does not write: what is to be mended in this guest is mended where it runs, or by virt-customize`
  return [...without, { check: 'filesystems', status: 'warning', message }]
}

function chooseChecks(profile: Profile, names: readonly string[] | undefined): Check[] {
  if (!PROFILES.includes(profile))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `no profile "${profile}": there are ${PROFILES.join(', ')}`,
    )
  for (const name of names ?? [])
    if (!doctorChecks.some(check => check.name === name))
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `no check "${name}": there are ${doctorChecks.map(check => check.name).join(', ')}`,
      )
  return doctorChecks.filter(check => names?.includes(check.name) ?? check.profiles.includes(profile))
}
