import { littleEndian } from '../../bytes/byte-view.ts'
import { quoteWord } from '../../config/shell-words.ts'
import { parseFstab } from '../../guest/fstab.ts'
import { findVolume } from '../../guest/volume-spec.ts'
import { type Mbr, parseMbr, TYPE_PROTECTIVE } from '../../volume/mbr.ts'
import { readConfig, writeConfig } from '../guest-files.ts'
import { ReportBuilder } from '../report.ts'
import type { Check, CheckContext, DiskFacts } from './check.ts'

const FSTAB = '/etc/fstab'
/** Kernel names, which depend on the order and the kind of the disks. */
const KERNEL_NAME =
  /^\/dev\/(?:[shv]d[a-z]+\d*|xvd[a-z]+\d*|nvme\d+n\d+(?:p\d+)?|mmcblk\d+(?:p\d+)?|disk\/by-path\/.*)$/

/** What names a volume by what it carries. */
const NAMED = /^(?:(?:UUID|LABEL|PARTUUID|PARTLABEL)=|\/dev\/disk\/by-(?:uuid|label|partuuid|partlabel)\/)/
const OPTIONAL = /^(?:nofail|noauto)$/

const fstab: Check = {
  name: 'fstab',
  summary: 'fstab names filesystems by what they carry, and each is there',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ guest, disk, findings, mend }) {
    const config = await readConfig(guest, FSTAB)
    if (config === undefined) return findings.warn('there is no fstab', { file: FSTAB })
    const before = findings.list.length
    const seen = new Set<string>()
    for (const { spec, line, file, type, options } of parseFstab(config.text)) {
      const found = disk && findVolume(disk.volumes, spec)
      // systemd.mount(5): without nofail, the boot waits for the device and then stops. A swap is only waited for.
      if (disk && !found && NAMED.test(spec) && !options.some(option => OPTIONAL.test(option))) {
        const message = `${type === 'swap' ? 'the swap' : file} is ${spec}, and no volume of this disk is named so: `
        if (type === 'swap') findings.warn(`${message}the boot waits for it`, { file: FSTAB, line })
        else findings.fail(`${message}the boot stops there (nofail lets it go on)`, { file: FSTAB, line })
        seen.add(file)
      }
      if (KERNEL_NAME.test(spec)) {
        const uuid = found?.found?.uuid
        const mended = uuid ? await mend(() => renameSpec(guest, line, spec, `UUID=${uuid}`)) : false
        findings.fail(`${file} is ${spec}, which another disk or bus may rename`, {
          file: FSTAB,
          line,
          mended,
          ...(uuid
            ? {
                command: `drydisk edit IMAGE ${FSTAB} -e ${quoteWord(`s,^${literal(spec)}\\b,UUID=${uuid},`)}`,
              }
            : {}),
        })
      }
    }
    for (const mount of disk?.mounts ?? [])
      if (mount.fs === undefined && mount.reason !== undefined && !seen.has(mount.path))
        findings.warn(`${mount.path}: ${mount.source}: ${mount.reason}`, { file: FSTAB })
    if (findings.list.length === before)
      findings.ok('fstab names every filesystem by what it carries', { file: FSTAB })
  },
}

/** For the expression of `edit`, whose pattern is between commas. */
function literal(text: string): string {
  return text.replace(/[^\w/:-]/g, '\\$&')
}

async function renameSpec(guest: CheckContext['guest'], line: number, from: string, to: string) {
  const report = new ReportBuilder('fstab')
  const config = await readConfig(guest, FSTAB)
  if (config === undefined) return report.build()
  const lines = config.text.split('\n')
  const old = lines[line - 1]
  if (old === undefined || !old.trimStart().startsWith(from)) return report.build()
  lines[line - 1] = old.replace(from, () => to)
  await writeConfig(guest, FSTAB, config, lines.join('\n'))
  report.change('fstab entry', old, lines[line - 1] ?? null, FSTAB, { line })
  return report.build()
}

const filesystems: Check = {
  name: 'filesystems',
  summary: 'filesystems are clean',
  profiles: ['openstack', 'kvm', 'generic'],
  async run({ disk, findings }) {
    if (disk === undefined) return
    for (const warning of disk.warnings)
      if (/errors|fsck|damaged|corrupt/i.test(warning)) findings.fail(warning)
      else findings.warn(warning)
    for (const { name, found } of disk.volumes)
      if (found?.needsRecovery)
        findings.warn(
          `${name}: the journal of ${found.type} was not replayed, as after a crash; any edit replays it`,
        )
    if (findings.list.length === 0) findings.ok('every filesystem is clean')
  },
}

/** Incompatible features that Glance's inspector lets pass are the dirty and corrupt bits and the compression type. */
const glance: Check = {
  name: 'glance',
  summary: "the image passes Glance's safety inspection",
  profiles: ['openstack'],
  async run({ disk, findings }) {
    if (disk === undefined) return
    const flatten = 'drydisk convert -O qcow2 IMAGE NEW'
    if (disk.backingFile !== undefined)
      findings.fail(`Glance refuses an image with a backing file (${disk.backingFile})`, { command: flatten })
    if (disk.dataFile)
      findings.fail('Glance refuses an image with an external data file', { command: flatten })
    if (disk.extendedL2)
      findings.fail('Glance refuses an image with extended L2 entries', { command: flatten })
    if (disk.corrupt)
      findings.fail('the image is marked as corrupt', { command: 'drydisk check --repair all IMAGE' })
    for (const problem of bootRecordProblems(disk))
      findings.fail(`Glance refuses a disk whose boot record ${problem}`)
    if (findings.list.length === 0) findings.ok(`${disk.format} as Glance takes it`)
  },
}

/** What oslo.utils' inspector of GPT and MBR refuses, in words that follow "boot record". */
function bootRecordProblems({ firstSector }: DiskFacts): string[] {
  const mbr = firstSector.length >= 512 ? parseMbr(firstSector) : undefined
  if (mbr === undefined) return []
  const problems: string[] = []
  for (const [index, { boot_indicator }] of mbr.entries.entries())
    if (boot_indicator !== 0 && boot_indicator !== 0x80)
      problems.push(`has a boot flag of 0x${boot_indicator.toString(16)} in entry ${index + 1}`)
  const protective = mbr.entries.findIndex(({ os_type }) => os_type === TYPE_PROTECTIVE)
  if (protective >= 0) problems.push(...protectiveProblems(mbr, protective, firstSector))
  return problems
}

function protectiveProblems(mbr: Mbr, index: number, firstSector: Uint8Array): string[] {
  const problems: string[] = []
  const entry = mbr.entries[index]
  const view = littleEndian(firstSector, 'MBR')
  const at = 446 + 16 * index + 1
  const chs = [view.u8(at), view.u8(at + 1), view.u8(at + 2)]
  if (chs[0] !== 0 || chs[1] !== 2 || chs[2] !== 0)
    problems.push(`begins its protective entry at CHS ${chs.join('/')} instead of 0/2/0`)
  if (entry?.starting_lba !== 1)
    problems.push(`begins its protective entry at sector ${entry?.starting_lba} instead of 1`)
  if (mbr.entries.some(({ os_type }, other) => other !== index && os_type !== 0))
    problems.push('has other entries beside the protective one (a hybrid MBR)')
  return problems
}

export const diskChecks: readonly Check[] = [fstab, filesystems, glance]
