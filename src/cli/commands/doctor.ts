import type { Command } from 'commander'
import { printableText } from '../../bytes/names.ts'
import { quoteWord } from '../../config/shell-words.ts'
import type { DiskImage } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import type { Profile } from '../../operations/doctor/check.ts'
import type { Diagnosis, DoctorOptions } from '../../operations/doctor/doctor.ts'
import type { Finding, FindingStatus } from '../../operations/doctor/findings.ts'
import { Finished, UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { print, printJson } from '../output.ts'
import { closeDisk, editGuest, openDisk, readGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

interface DoctorCommandOptions extends WriteOptions {
  readonly profile: string
  readonly fix?: boolean
  readonly check?: readonly string[]
  readonly list?: boolean
}

const FAILED = 1

const several = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  ...value.split(','),
]

export function configure(command: Command): void {
  writeOptions(command)
    .argument('[image]', 'the image')
    .option(
      '--profile <profile>',
      'what the image is to be ready for: openstack, kvm or generic',
      'openstack',
    )
    .option('--fix', 'mend what can be mended, in one commit')
    .option('--check <names>', 'only these checks, separated by commas', several)
    .option('--list', 'list the checks')
    .addHelpText(
      'after',
      `
One finding a line: ok, warn (it may be meant so), FAIL, or mended; the file and line that decide; and the command that mends it. With
--quiet only what is not ok. --dry-run with --fix mends nothing for good. Exit status: 0 nothing fails, 1 something does, 2 an error.

With --json: {"image", "profile", "ready", "findings": [{"check", "status": "ok", "warning", "failed" or "mended", "message", "file"?,
"line"?, "command"?}], "operations": what --fix did, as in customize}; with --list [{"name", "summary", "profiles"}].

Examples:
  drydisk doctor disk.qcow2
  drydisk doctor --fix disk.qcow2 && drydisk sysprep disk.qcow2
  drydisk doctor --profile kvm --check serial-console,machine-id --json disk.qcow2`,
    )
    .action(async (_image: string | undefined, options: DoctorCommandOptions) => {
      const library = await import('../../operations/doctor/doctor.ts')
      if (options.list) {
        if (options.json)
          await printJson(
            library.doctorChecks.map(({ name, summary, profiles }) => ({ name, summary, profiles })),
          )
        else
          await print(
            library.doctorChecks
              .map(({ name, summary, profiles }) => `${name.padEnd(16)}${summary} (${profiles.join(', ')})\n`)
              .join(''),
          )
        return
      }
      const { image: path, paths } = imageAndPaths(command.args, options.add)
      if (paths.length > 0) throw new UsageError(`one image at a time: what is "${paths[0]}"?`)
      const found = await diagnosed(path, options).catch((error: unknown) => {
        if (isDrydiskError(error, 'ERR_INVALID_ARGUMENT') && /^no (profile|check) /.test(error.message))
          throw new UsageError(error.message)
        throw error
      })
      const ready = found.findings.every(({ status }) => status !== 'failed')
      if (options.json) {
        const { profile, findings, reports } = found
        await printJson({
          image: path,
          profile,
          ready,
          findings,
          ...(options.fix ? { operations: reports } : {}),
        })
      } else await print(asText(path, found, options.quiet ?? false))
      if (!ready) throw new Finished(FAILED)
    })
}

async function diagnosed(path: string, options: DoctorCommandOptions): Promise<Diagnosis> {
  const { diagnose } = await import('../../operations/doctor/doctor.ts')
  const { readDiskFacts } = await import('../../operations/doctor/disk-facts.ts')
  const factsOf = (image: DiskImage) => readDiskFacts(image, options.root)
  const settings: DoctorOptions = {
    profile: options.profile as Profile,
    fix: options.fix ?? false,
    ...(options.check === undefined ? {} : { checks: options.check }),
  }
  if (!options.fix)
    return readGuest(path, options, async ({ fs }, image) =>
      diagnose(fs, { ...settings, disk: await factsOf(image) }),
    )
  const image = await openDisk(path, options, false)
  const disk = await factsOf(image).finally(() => closeDisk(image))
  return editGuest(
    path,
    options,
    fs => diagnose(fs, { ...settings, disk }),
    undefined,
    () => {},
  )
}

const WORDS: Readonly<Record<FindingStatus, string>> = {
  ok: 'ok',
  warning: 'warn',
  failed: 'FAIL',
  mended: 'mended',
}

function asText(image: string, { findings, profile }: Diagnosis, quiet: boolean): string {
  const shown = quiet ? findings.filter(({ status }) => status !== 'ok') : findings
  const lines = shown.map(finding => lineOf(image, finding))
  const count = (status: FindingStatus) => findings.filter(finding => finding.status === status).length
  const failed = count('failed')
  const mended = count('mended')
  const sums = `${failed} fail, ${count('warning')} warnings${mended > 0 ? `, ${mended} mended` : ''}`
  lines.push(`${failed === 0 ? 'ready' : 'not ready'} for ${profile}: ${sums}\n`)
  return lines.join('')
}

function lineOf(image: string, { check, status, message, file, line, command }: Finding): string {
  const place = file === undefined ? '' : `  (${file}${line === undefined ? '' : `:${line}`})`
  const mend =
    command === undefined
      ? ''
      : `\n        ${printableText(command.replace('IMAGE', () => quoteWord(image)))}`
  return `${WORDS[status].padEnd(8)}${printableText(`${check}: ${message}${place}`)}${mend}\n`
}
