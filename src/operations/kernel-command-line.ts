import { readGrubEnvironment, setGrubVariable } from '../config/grub-environment.ts'
import {
  changeKernelArguments,
  checkKernelArgument,
  type KernelArgumentChange,
} from '../config/kernel-arguments.ts'
import { editAssignment, getShellValue, parseAssignments } from '../config/shell-assignments.ts'
import { replaceRange } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { type BootSource, type BootSources, findBootSources, kernelLines } from './boot-sources.ts'
import { GrubDefaults } from './grub-defaults.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import type { ReportBuilder } from './report.ts'

const KERNELOPTS = /\$(?:\{kernelopts\}|kernelopts\b)/g

/**
 * Changes the kernel arguments in every place that decides them: the defaults that boot configurations are made from, so
 * that making them anew gives the same, and the boot entries that exist.
 */
export async function changeKernelCommandLines(
  guest: GuestFs,
  changes: readonly KernelArgumentChange[],
  report: ReportBuilder,
): Promise<void> {
  for (const change of changes) checkKernelArgument(change)
  const sources = await findBootSources(guest)
  const defaults = await GrubDefaults.load(guest)
  const alpine = await changeUpdateExtlinux(guest, changes, report)
  if (sources.files.length === 0 && !defaults && !alpine)
    throw new DrydiskError(
      'ENOENT',
      sources.unifiedImages.length > 0
        ? `this guest boots unified kernel images (${sources.unifiedImages[0]}); their command line is inside a possibly signed PE file, which is not edited`
        : 'this guest has no boot configuration with kernel arguments: no grub.cfg, menu.lst, extlinux.conf, loader entries or /etc/default/grub',
    )
  for (const path of sources.unifiedImages)
    report.warn(`${path} is a unified kernel image: its built-in command line was not changed`)
  for (const reason of sources.unread)
    report.warn(`boot entries on the EFI system partition, if there are any, were not changed: ${reason}`)

  const before = defaults?.commandLines()
  const split = defaults?.changeArguments(changes)
  const after = defaults?.commandLines()
  const oldOptions = kernelopts(sources)

  for (const environment of sources.environments) {
    const value = readGrubEnvironment(environment.bytes).get('kernelopts')
    if (value === undefined) continue
    const wanted = changeKernelArguments(value, changes)
    if (wanted === value) continue
    environment.bytes = setGrubVariable(environment.bytes, 'kernelopts', wanted)
    // In place by GRUB's own rule: same size, so the file's blocks stay where GRUB has them listed.
    await guest.writeAt(environment.path, 0, environment.bytes)
    report.change('kernelopts', value, wanted, environment.path)
  }

  // The fallback in grub.cfg counts where grubenv has none, so it is changed before entries are judged.
  const edits = sources.files.map(source => ({ source, before: linesOf(source) }))
  for (const { source } of edits) {
    const lines = kernelLines(source)
    for (const line of lines.toReversed()) {
      const args = source.text.slice(line.start, line.end)
      const generated = source.kind === 'grub' && before?.literal && after?.literal
      let wanted = args
      if (generated) {
        const [old, now] = line.recovery ? [before.common, after.common] : [before.normal, after.normal]
        wanted = replaceGenerated(args, old, now)
      }
      wanted = settle(wanted, line.recovery && split ? split.common : changes, sources)
      if (wanted !== args) source.text = replaceRange(source.text, line.start, line.end, wanted)
    }
  }

  await reportDefaults(guest, defaults, before, report)
  const newOptions = kernelopts(sources)
  for (const { source, before: old } of edits) {
    await writeConfig(guest, source.path, source.before, source.text)
    linesOf(source).forEach((line, i) => {
      const previous = old[i]
      report.change(
        `kernel arguments of ${line.title}`,
        expandOptions(previous?.args ?? '', oldOptions?.value).trim(),
        expandOptions(line.args, newOptions?.value).trim(),
        previous?.args === line.args ? (newOptions?.path ?? source.path) : source.path,
        { line: previous?.args === line.args ? undefined : line.line },
      )
    })
  }
}

function linesOf(source: BootSource): { title: string; line: number; args: string }[] {
  return kernelLines(source).map(line => ({
    title: line.title,
    line: line.line,
    args: source.text.slice(line.start, line.end),
  }))
}

/**
 * Where the arguments end in exactly what the defaults gave when grub-mkconfig ran, that part becomes what they give now:
 * so a later update-grub changes nothing.
 */
function replaceGenerated(args: string, old: string, now: string): string {
  if (old === now) return args
  if (args.endsWith(` ${old}`)) return args.slice(0, args.length - old.length) + now
  // Ubuntu appends `$vt_handoff`, installers their `LANG=…`; without the exact spaces only a whole run of words will do.
  const words = old.trim()
  const at = words === '' ? -1 : ` ${args} `.lastIndexOf(` ${words} `)
  return at < 0 ? args : replaceRange(args, at, at + words.length, now.trim())
}

/** Applies changes to one entry, seen with `$kernelopts` put in; where that has them already, the entry stays. */
function settle(args: string, changes: readonly KernelArgumentChange[], sources: BootSources): string {
  const options = kernelopts(sources)?.value
  if (options === undefined || args.search(KERNELOPTS) < 0) return changeKernelArguments(args, changes)
  let result = args
  for (const change of changes) {
    const effective = expandOptions(result, options)
    if (changeKernelArguments(effective, [change]) !== effective)
      result = changeKernelArguments(result, [change])
  }
  return result
}

function expandOptions(args: string, options: string | undefined): string {
  return options === undefined ? args : args.replace(KERNELOPTS, () => options)
}

/** grubenv's `kernelopts`, else the fallback in grub.cfg. */
function kernelopts(sources: BootSources): { value: string; path: string } | undefined {
  for (const { path, bytes } of sources.environments) {
    const value = readGrubEnvironment(bytes).get('kernelopts')
    if (value !== undefined) return { value, path }
  }
  for (const source of sources.files) {
    if (source.kind !== 'grub') continue
    const line = kernelLines(source).find(l => l.title.startsWith('fallback '))
    if (line) return { value: source.text.slice(line.start, line.end), path: source.path }
  }
  return undefined
}

async function reportDefaults(
  guest: GuestFs,
  defaults: GrubDefaults | undefined,
  before: { normal: string; common: string } | undefined,
  report: ReportBuilder,
): Promise<void> {
  if (!defaults || !before) return
  await defaults.save()
  const old = await GrubDefaults.load(guest)
  for (const [name, was] of [
    ['GRUB_CMDLINE_LINUX', before.common],
    ['GRUB_CMDLINE_LINUX_DEFAULT', before.normal.slice(before.common.length + 1)],
  ] as const) {
    const now = old?.value(name)
    if (now) report.change(name, was, now.text, now.file, { line: now.line })
  }
}

/** Alpine's update-extlinux builds extlinux.conf from `default_kernel_opts`. */
async function changeUpdateExtlinux(
  guest: GuestFs,
  changes: readonly KernelArgumentChange[],
  report: ReportBuilder,
): Promise<boolean> {
  const path = '/etc/update-extlinux.conf'
  const config = await readConfig(guest, path)
  if (!config) return false
  const name = 'default_kernel_opts'
  const assignment = parseAssignments(config.text).findLast(a => a.name === name && !a.conditional)
  if (!assignment) return false
  const text = editAssignment(config.text, assignment, value => changeKernelArguments(value, changes))
  await writeConfig(guest, path, config, text)
  const [old, now] = [getShellValue(config.text, name), getShellValue(text, name)]
  report.change(name, old?.text ?? null, now?.text ?? null, path, { line: now?.line })
  return true
}
