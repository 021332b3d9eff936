import type { Command } from 'commander'
import { isDrydiskError } from '../../errors.ts'
import { checkFile, type FileCheck, type RepairMode } from '../../image/check-file.ts'
import { Finished, reportError, UsageError } from '../errors.ts'
import { countFetched } from '../fetched.ts'
import { formatOf } from '../image-settings.ts'
import { stoppable } from '../interruption.ts'
import { print, printJson, warn } from '../output.ts'
import { type OutputOptions, outputOption, wantsJson } from '../output-format.ts'

interface CheckOptions extends OutputOptions {
  readonly format?: string
  readonly repair?: string
  readonly quiet?: boolean
  readonly force?: boolean
  readonly forceShare?: boolean
}

/** As qemu-img's. */
const STATUS = { corruptions: 2, leaks: 3, unsupported: 63 }

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image')
    .option('-f, --format <format>', 'qcow2 or raw, instead of finding out')
    .option('-r, --repair <what>', 'leaks: give back what nothing uses; all: put right whatever can be')
    .addOption(outputOption())
    .option('--json', 'print JSON, errors too')
    .option('-U, --force-share', 'look at an image that is in use')
    .option('--force', 'repair an image that is in use (it may be destroyed)')
    .option('-q, --quiet', 'print nothing but errors')
    .addHelpText(
      'after',
      `
Exit status: 0 nothing wrong (any more), 1 could not be checked or repaired, 2 corruptions, 3 leaks only, 63 a raw image, which
has no tables. A repair is one atomic change: a crash leaves the image as it was, or repaired. It is refused, and nothing is
changed, where an entry has lost what it pointed at. --repair leaks leaves an image with corruptions alone. An image on a server is
checked, not repaired.

With --json: {"filename", "format", "check-errors", "corruptions", "leaks", "total-clusters", "allocated-clusters",
"fragmented-clusters", "compressed-clusters", "image-end-offset", "corruptions-fixed"?, "leaks-fixed"?, "messages"}.

Examples:
  drydisk check disk.qcow2
  drydisk check --repair all disk.qcow2
  drydisk check --output json disk.qcow2`,
    )
    .action(async (image: string, options: CheckOptions) => {
      const json = wantsJson(options)
      const repair = repairMode(options.repair)
      const found = await checkOrRepair(image, options, repair)
      const { fetched } = found
      if (fetched !== undefined) countFetched(image, () => fetched)
      if (json) await printJson(asJson(image, found, repair !== undefined))
      else {
        for (const message of found.messages) warn(message)
        if (!options.quiet) await print(asText(found))
      }
      if (found.corruptions > 0) throw new Finished(STATUS.corruptions)
      if (found.leaks > 0) throw new Finished(STATUS.leaks)
    })
}

function repairMode(text: string | undefined): RepairMode | undefined {
  if (text !== undefined && text !== 'leaks' && text !== 'all')
    throw new UsageError(`--repair is ${text}; expected leaks or all`)
  return text
}

async function checkOrRepair(
  image: string,
  options: CheckOptions,
  repair: RepairMode | undefined,
): Promise<FileCheck> {
  const common = {
    ...(options.format === undefined ? {} : { format: formatOf('-f', options.format) }),
    force: options.force ?? (repair === undefined && options.forceShare === true),
  }
  try {
    if (repair === undefined) return await checkFile(image, common)
    return await stoppable(signal => checkFile(image, { ...common, repair, signal }))
  } catch (error) {
    if (!isDrydiskError(error, 'ENOTSUP')) throw error
    await reportError(error, options.json ?? false)
    throw new Finished(STATUS.unsupported)
  }
}

function asJson(filename: string, found: FileCheck, repaired: boolean) {
  return {
    filename,
    format: found.format,
    'check-errors': 0,
    corruptions: found.corruptions,
    leaks: found.leaks,
    'total-clusters': found.totalClusters,
    'allocated-clusters': found.allocatedClusters,
    'fragmented-clusters': found.fragmentedClusters,
    'compressed-clusters': found.compressedClusters,
    'image-end-offset': found.imageEndOffset,
    ...(repaired ? { 'corruptions-fixed': found.corruptionsFixed, 'leaks-fixed': found.leaksFixed } : {}),
    messages: found.messages,
  }
}

function asText(found: FileCheck): string {
  const lines: string[] = []
  if (found.corruptionsFixed > 0 || found.leaksFixed > 0)
    lines.push(`Repaired: ${found.leaksFixed} leaked clusters, ${found.corruptionsFixed} corruptions.`)
  if (found.corruptions > 0)
    lines.push(`${found.corruptions} errors were found on the image. Writing to it may make them worse.`)
  if (found.leaks > 0)
    lines.push(`${found.leaks} leaked clusters were found on the image. They take space, and harm nothing.`)
  if (found.corruptions === 0 && found.leaks === 0) lines.push('No errors were found on the image.')
  const { totalClusters: total, allocatedClusters: allocated } = found
  if (total > 0 && allocated > 0)
    lines.push(
      `${allocated}/${total} = ${percent(allocated, total)} allocated, ` +
        `${percent(found.fragmentedClusters, allocated)} fragmented, ` +
        `${percent(found.compressedClusters, allocated)} compressed clusters`,
    )
  lines.push(`Image end offset: ${found.imageEndOffset}`)
  return `${lines.join('\n')}\n`
}

/** With two digits, a tie going to the even one as printf(3) has it. */
function percent(part: number, whole: number): string {
  const exact = (part * 10_000) / whole
  const below = Math.floor(exact)
  const rest = exact - below
  const up = rest > 0.5 || (rest === 0.5 && below % 2 === 1)
  return `${((below + (up ? 1 : 0)) / 100).toFixed(2)}%`
}
