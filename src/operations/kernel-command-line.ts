import { mergeBlsOptions } from '../config/boot-entries.ts'
import { readGrubEnvironment, setGrubVariable } from '../config/grub-environment.ts'
import { expandGrub, type GrubVariables } from '../config/grub-script.ts'
import {
  changeKernelArguments,
  checkKernelArgument,
  type KernelArgumentChange,
  kernelArguments,
} from '../config/kernel-arguments.ts'
import { editAssignment, getShellValue, parseAssignments } from '../config/shell-assignments.ts'
import { replaceRange } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { type BootEntry, listBootEntries, variablesReader } from './boot-listing.ts'
import { type BootSource, type BootSources, findBootSources, inSource, kernelLines } from './boot-sources.ts'
import { GrubDefaults } from './grub-defaults.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import type { ReportBuilder } from './report.ts'
import { planUnifiedImage, writeUnifiedImage } from './unified-images.ts'

/**
 * Changes the kernel arguments in every place that decides them: the defaults that boot configurations are made from, so
 * that making them anew gives the same, and the boot entries that exist. Nothing is written before every entry is known to come out right.
 */
export async function changeKernelCommandLines(
  guest: GuestFs,
  changes: readonly KernelArgumentChange[],
  report: ReportBuilder,
): Promise<void> {
  for (const change of changes) checkKernelArgument(change)
  const sources = await findBootSources(guest)
  const defaults = await GrubDefaults.load(guest)
  const alpine = await planUpdateExtlinux(guest, changes)
  if (sources.files.length === 0 && sources.unifiedImages.length === 0 && !defaults && !alpine)
    throw new DrydiskError(
      'ENOENT',
      'this guest has no boot configuration with kernel arguments: no grub.cfg, menu.lst, extlinux.conf, loader entries, unified kernel image or /etc/default/grub',
    )
  for (const reason of sources.unread)
    report.warn(`boot entries that cannot be read were not changed: ${reason}`)

  const entriesBefore = listBootEntries(sources)
  const linesBefore = new Map(sources.files.map(source => [source, otherLines(source, entriesBefore)]))
  const unified = planUnifiedImages(sources, changes, report)
  const before = defaults?.commandLines()
  const split = defaults?.changeArguments(changes)
  const after = defaults?.commandLines()

  const environments = changeEnvironments(sources, changes)
  const generated = before?.literal && after?.literal ? { before, after } : undefined
  for (const source of sources.files) changeFallback(source, changes, generated)
  const variablesOf = variablesReader(sources)
  for (const source of sources.files) {
    const variables = variablesOf(source)
    const lines = (one: BootSource) => kernelLines(one).filter(line => !line.foreign)
    if (source.kind === 'bls' && mergeBlsOptions(source.text) !== source.text) {
      const merged = { ...source, text: mergeBlsOptions(source.text) }
      const needs = lines(merged).some(line => {
        const args = merged.text.slice(line.start, line.end)
        return settle(args, changes, variables) !== args
      })
      if (needs) source.text = merged.text
      else continue
    }
    // A fallback is no entry's, and was changed above.
    for (const line of lines(source)
      .filter(({ kernel }) => source.kind !== 'grub' || kernel !== '')
      .toReversed()) {
      const args = source.text.slice(line.start, line.end)
      let wanted = args
      if (source.kind === 'grub' && generated) {
        const [old, now] = line.recovery
          ? [generated.before.common, generated.after.common]
          : [generated.before.normal, generated.after.normal]
        const made = replaceGenerated(args, old, now)
        // What somebody wrote into the entry alone before it came to the defaults would then stand there twice.
        if (!isDoubled(made, changes) || isDoubled(args, changes)) wanted = made
      }
      wanted = inSource(source, () =>
        settle(wanted, line.recovery && split ? split.common : changes, variables),
      )
      if (wanted !== args)
        source.text = replaceRange(
          source.text,
          line.start,
          line.end,
          (args === '' ? line.prefix : '') + wanted,
        )
    }
  }
  const entriesAfter = listBootEntries(sources)
  checkEffective(entriesAfter, changes, split?.common ?? changes, unified.fixed)

  await reportDefaults(guest, defaults, before, report)
  if (alpine) {
    await writeConfig(guest, alpine.path, alpine.config, alpine.text)
    const [old, now] = [alpine.config.text, alpine.text].map(t => getShellValue(t, 'default_kernel_opts'))
    report.change('default_kernel_opts', old?.text ?? null, now?.text ?? null, alpine.path, {
      line: now?.line,
    })
  }
  for (const { path, bytes, before: old, after: now } of environments) {
    // In place by GRUB's own rule: same size, so the file's blocks stay where GRUB has them listed.
    await guest.writeAt(path, 0, bytes)
    report.change('kernelopts', old, now, path)
  }
  for (const source of sources.files) {
    if (source.text !== source.original && !source.before)
      await guest.mkdir(source.path.slice(0, source.path.lastIndexOf('/')), { recursive: true })
    if (source.text !== source.original) await writeConfig(guest, source.path, source.before, source.text)
    const now = otherLines(source, entriesAfter)
    linesBefore.get(source)?.forEach((old, i) => {
      const line = now[i] ?? old
      report.change(`kernel arguments of ${line.title}`, old.args.trim(), line.args.trim(), source.path, {
        line: line.line,
      })
    })
  }
  reportEntries(entriesBefore, entriesAfter, sources, report)
  for (const { image, section, before: old, after: now, content, title } of unified.planned) {
    await writeUnifiedImage(guest, image, section, content)
    report.change(`kernel arguments of ${title}`, old, now, image.path)
  }
}

/** Lines with kernel arguments that are no entry's, or not the one that its conditions lead to. */
function otherLines(
  source: BootSource,
  entries: readonly BootEntry[],
): { title: string; line: number; args: string }[] {
  const listed = new Set(entries.filter(entry => entry.file === source.path).map(entry => entry.line))
  return kernelLines(source)
    .filter(line => !line.foreign && !listed.has(line.line))
    .map(line => ({
      title: source.template && source.kind === 'grub' ? `${line.title} (custom entry)` : line.title,
      line: line.line,
      args: source.text.slice(line.start, line.end),
    }))
}

function reportEntries(
  before: readonly BootEntry[],
  after: readonly BootEntry[],
  sources: BootSources,
  report: ReportBuilder,
): void {
  const environment = sources.environments.find(({ bytes }) => kernelopts(bytes) !== undefined)
  after.forEach((entry, i) => {
    const old = before[i]
    if (!old || entry.foreign || entry.loader === 'uki') return
    const setting = `kernel arguments of ${entry.title}`
    const fromEnvironment = old.written === entry.written && /\$\{?kernelopts\b/.test(entry.written)
    if (fromEnvironment && environment)
      report.change(setting, old.arguments, entry.arguments, environment.path)
    else report.change(setting, old.arguments, entry.arguments, entry.file, { line: entry.line })
  })
}

/** Each entry must have the arguments now, whatever variables it takes in; a signed image was told of before. */
function checkEffective(
  entries: readonly BootEntry[],
  changes: readonly KernelArgumentChange[],
  common: readonly KernelArgumentChange[],
  fixed: ReadonlySet<string>,
): void {
  for (const entry of entries) {
    if (entry.foreign || entry.loader === 'uki' || fixed.has(entry.file)) continue
    const wanted = changeKernelArguments(entry.arguments, entry.recovery ? common : changes)
    if (wanted !== entry.arguments)
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `the boot entry ${JSON.stringify(entry.title)} would still start with ${JSON.stringify(entry.arguments)}, by a variable in ${entry.file}:${entry.line} (${JSON.stringify(entry.written.trim())}); change what sets that variable by hand`,
        { path: entry.file, line: entry.line },
      )
  }
}

function kernelopts(bytes: Uint8Array): string | undefined {
  return readGrubEnvironment(bytes).get('kernelopts')
}

function changeEnvironments(
  sources: BootSources,
  changes: readonly KernelArgumentChange[],
): { path: string; bytes: Uint8Array; before: string; after: string }[] {
  const changed = []
  for (const environment of sources.environments) {
    const value = inSource(environment, () => kernelopts(environment.bytes))
    if (value === undefined) continue
    const wanted = inSource(environment, () => changeKernelArguments(value, changes))
    if (wanted === value) continue
    environment.bytes = setGrubVariable(environment.bytes, 'kernelopts', wanted)
    changed.push({ path: environment.path, bytes: environment.bytes, before: value, after: wanted })
  }
  return changed
}

interface Generated {
  readonly before: { normal: string; common: string }
  readonly after: { normal: string; common: string }
}

/** The fallback in grub.cfg counts where grubenv has none, so it is changed before entries are judged. */
function changeFallback(
  source: BootSource,
  changes: readonly KernelArgumentChange[],
  generated: Generated | undefined,
): void {
  if (source.kind !== 'grub') return
  for (const line of kernelLines(source)
    .filter(l => l.kernel === '')
    .toReversed()) {
    const args = source.text.slice(line.start, line.end)
    const made = generated ? replaceGenerated(args, generated.before.normal, generated.after.normal) : args
    const wanted = inSource(source, () => changeKernelArguments(made, changes))
    if (wanted !== args) source.text = replaceRange(source.text, line.start, line.end, wanted)
  }
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

/** Whether an argument that is to be there once stands there twice. */
function isDoubled(args: string, changes: readonly KernelArgumentChange[]): boolean {
  const present = kernelArguments(args).map(({ text }) => text)
  const wanted = changes.flatMap(change =>
    change.action === 'set' || change.action === 'append' ? [change.argument] : [],
  )
  return wanted.some(argument => present.indexOf(argument) !== present.lastIndexOf(argument))
}

/** Applies changes to one entry, seen with its variables put in; where these have them already, the entry stays. */
function settle(
  args: string,
  changes: readonly KernelArgumentChange[],
  variables: GrubVariables | undefined,
): string {
  if (variables === undefined || !args.includes('$')) return changeKernelArguments(args, changes)
  let result = args
  for (const change of changes) {
    const effective = expandGrub(result, variables)
    if (changeKernelArguments(effective, [change]) !== effective)
      result = changeKernelArguments(result, [change])
  }
  return result
}

/** Images that can be changed, and those that cannot: an error where such an image is all that the guest boots by. */
function planUnifiedImages(
  sources: BootSources,
  changes: readonly KernelArgumentChange[],
  report: ReportBuilder,
) {
  const planned = []
  const fixed = new Set<string>()
  const onlyUnified = listBootEntries(sources).every(entry => entry.loader === 'uki')
  for (const image of sources.unifiedImages) {
    const plans = inSource(image, () => planUnifiedImage(image, changes))
    if (plans.length > 0 && image.fixed !== undefined) {
      const message = `${image.path} is a unified kernel image with the command line ${JSON.stringify(plans[0]?.before ?? '')}, which was not changed: ${image.fixed}`
      if (onlyUnified)
        throw new DrydiskError('ERR_NOT_EFFECTIVE', `${message}; build and sign it anew`, {
          path: image.path,
        })
      report.warn(message)
      fixed.add(image.path)
      continue
    }
    if (image.commandLines.length === 0)
      report.warn(
        `${image.path} has no command line of its own (no .cmdline section): it takes what the boot loader gives it`,
      )
    for (const plan of plans) planned.push({ image, title: image.title, ...plan })
  }
  return { planned, fixed }
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
async function planUpdateExtlinux(guest: GuestFs, changes: readonly KernelArgumentChange[]) {
  const path = '/etc/update-extlinux.conf'
  const config = await readConfig(guest, path)
  if (!config) return undefined
  const name = 'default_kernel_opts'
  const assignment = parseAssignments(config.text).findLast(a => a.name === name && !a.conditional)
  if (!assignment) return undefined
  const text = editAssignment(config.text, assignment, value => changeKernelArguments(value, changes))
  return { path, config, text }
}
