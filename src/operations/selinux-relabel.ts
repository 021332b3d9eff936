import { byteKey, compareBytes, printable } from '../bytes/names.ts'
import { equalBytes } from '../config/text.ts'
import { isDrydiskError } from '../errors.ts'
import type { FileType } from '../filesystem/filesystem.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { labelValue, SELINUX_XATTR } from '../guest/selinux/labels.ts'
import type { LabelPolicy } from '../guest/selinux/policy.ts'
import { readPolicy, SELINUX_CONFIG } from '../guest/selinux/read-policy.ts'
import { joinPath, lstatOrUndefined, pathBytes } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `selinux-relabel`. */
export type SelinuxRelabelArguments = Readonly<Record<string, never>>

/** What init of the guest looks for at boot: it relabels everything and boots once more (fixfiles(8)). */
const AUTORELABEL = '/.autorelabel'

/** Deeper folders than this are refused: a tree that comes from an image may be a loop. */
const MAX_DEPTH = 500

/**
 * Every file gets the whole label that the policy gives its path, as `setfiles -F` and so virt-customize do it. Where that
 * cannot be done here, the guest is told to do it at its next boot.
 */
export const selinuxRelabel: Operation<SelinuxRelabelArguments> = {
  name: 'selinux-relabel',
  summary: 'Give every file the SELinux label of the policy, now; where that cannot be, at the next boot',
  async run(guest) {
    const report = new ReportBuilder('selinux-relabel')
    const read = await readPolicy(guest)
    if (read.kind === 'none') {
      report.warn(`This guest has no ${SELINUX_CONFIG}: it does not use SELinux, and nothing was labelled`)
      return report.build()
    }
    if (read.kind === 'disabled') {
      report.warn(
        `${SELINUX_CONFIG} disables SELinux: nothing was labelled. Before it is enabled, run this again or make ${AUTORELABEL}`,
      )
      return report.build()
    }
    if (read.kind === 'unreadable') {
      await atNextBoot(guest, report, read.reason)
      return report.build()
    }
    for (const line of read.badLines.slice(0, 10)) report.warn(`${line} has no meaning and was left out`)
    const relabel = new Relabel(guest, read.policy)
    try {
      await relabel.tree()
    } catch (error) {
      if (!isDrydiskError(error, 'ENOTSUP')) throw error
      await atNextBoot(guest, report, 'no labels can be written here')
      return report.build()
    }
    for (const warning of relabel.warnings) report.warn(warning)
    const { total, changed, unlabelled } = relabel
    const were = `${changed} of ${total} files not as the policy has it (${unlabelled} of them without a label)`
    if (changed > 0) report.always('SELinux labels', were, `${changed} labels set`, read.file)
    else report.keep('SELinux labels', `${total} files as the policy has it`, read.file)
    if (relabel.whole && (await lstatOrUndefined(guest, AUTORELABEL))) {
      await guest.unlink(AUTORELABEL)
      report.change('relabel at the next boot', 'asked for', null, AUTORELABEL)
    }
    return report.build()
  },
}

async function atNextBoot(guest: GuestFs, report: ReportBuilder, reason: string): Promise<void> {
  report.warn(
    `Labels cannot be set now (${reason}): the guest relabels itself at its next boot, and boots twice`,
  )
  if (await lstatOrUndefined(guest, AUTORELABEL)) {
    report.keep('relabel at the next boot', 'asked for', AUTORELABEL)
    return
  }
  await guest.writeFile(AUTORELABEL, new Uint8Array(0))
  report.change('relabel at the next boot', null, 'asked for', AUTORELABEL)
}

class Relabel {
  readonly warnings: string[] = []
  total = 0
  changed = 0
  unlabelled = 0
  /** Whether everything that is there was looked at and decided. */
  whole = true

  readonly #guest: GuestFs
  readonly #policy: LabelPolicy
  /** Files of several names whose label is not what one of these names asks for. */
  readonly #linked = new Map<string, { path: Uint8Array; wanted: Uint8Array; names: number; nlink: number }>()
  readonly #unknown = new Set<string>()

  constructor(guest: GuestFs, policy: LabelPolicy) {
    this.#guest = guest
    this.#policy = policy
  }

  async tree(): Promise<void> {
    await this.#one(pathBytes('/'), 'directory')
    await this.#below(pathBytes('/'), 0)
    // A label that one of the names asks for is right; else the first name decides, as for setfiles.
    for (const { path, wanted, names, nlink } of this.#linked.values())
      if (names >= nlink) await this.#set(path, wanted)
  }

  async #below(folder: Uint8Array, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) return this.#leaveOut(folder, `is more than ${MAX_DEPTH} folders deep`)
    let entries: { name: Uint8Array; type: FileType }[]
    try {
      entries = await this.#guest.readdir(folder)
    } catch (error) {
      // A filesystem that cannot be read is mounted there.
      if (!isDrydiskError(error, 'ERR_UNSUPPORTED')) throw error
      return this.#leaveOut(folder, error.message)
    }
    entries.sort((a, b) => compareBytes(a.name, b.name))
    for (const { name, type } of entries) {
      const path = joinPath(folder, name)
      if (!(await this.#one(path, type)) && type === 'directory') continue
      if (type === 'directory') await this.#below(path, depth + 1)
    }
  }

  #leaveOut(path: Uint8Array, why: string): void {
    this.whole = false
    this.warnings.push(`${printable(path)} was left out: ${why}`)
  }

  /** `false` where the filesystem takes no labels. */
  async #one(path: Uint8Array, type: FileType): Promise<boolean> {
    const answer = this.#policy.lookup(byteKey(path), type)
    if (answer.kind === 'unknown') {
      this.whole = false
      if (!this.#unknown.has(answer.pattern) && this.#unknown.size < 10)
        this.warnings.push(
          `the pattern ${answer.pattern} of the policy is not understood; what it may match keeps its label`,
        )
      this.#unknown.add(answer.pattern)
    }
    this.total++
    if (answer.kind !== 'label') return true
    try {
      const present = await this.#guest.getxattr(path, SELINUX_XATTR)
      const wanted = labelValue(answer.context)
      if (present && equalBytes(present, wanted)) return true
      if (type === 'directory' || !(await this.#isOneOfSeveral(path, wanted)))
        await this.#set(path, wanted, present)
      return true
    } catch (error) {
      if (isDrydiskError(error, 'ERR_UNSUPPORTED')) {
        this.#leaveOut(path, error.message)
        return false
      }
      // FAT is labelled by its mount; a root without labels has none anywhere.
      if (isDrydiskError(error, 'ENOTSUP') && path.length > 1) {
        this.total--
        return false
      }
      throw error
    }
  }

  async #set(path: Uint8Array, label: Uint8Array, present?: Uint8Array): Promise<void> {
    await this.#guest.setxattr(path, SELINUX_XATTR, label)
    this.changed++
    if (!present) this.unlabelled++
  }

  async #isOneOfSeveral(path: Uint8Array, wanted: Uint8Array): Promise<boolean> {
    const { nlink, dev, ino } = await this.#guest.lstat(path)
    if (nlink < 2) return false
    const key = `${dev}:${ino}`
    const known = this.#linked.get(key)
    if (known) known.names++
    else this.#linked.set(key, { path, wanted, names: 1, nlink })
    return true
  }
}
