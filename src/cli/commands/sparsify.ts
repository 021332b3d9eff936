import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { dataBytes } from '../../copy/data-bytes.ts'
import { freeRanges } from '../../copy/free-ranges.ts'
import { convertTo } from '../convert-to.ts'
import { UsageError } from '../errors.ts'
import { describeFree } from '../free-space.ts'
import { collect, formatOf } from '../image-settings.ts'
import { humanSize, print, printEvent, warn } from '../output.ts'
import { withProgress } from '../progress.ts'
import { backingPolicy, closeDisk, openDisk } from '../session.ts'
import { TARGET_HELP, type TargetOptions, targetOptions, targetSettings } from './convert.ts'

interface SparsifyOptions extends TargetOptions {
  readonly format?: string
  readonly ignore?: readonly string[]
  readonly dryRun?: boolean
  readonly checkOnly?: boolean
  readonly zeros?: boolean
}

export function configure(command: Command): void {
  targetOptions(command)
    .argument('<image>', 'the image')
    .argument('[target]', 'the smaller copy to make; left out: the image itself becomes smaller (qcow2)')
    .option('-f, --format <format>', 'of the image: qcow2 or raw, instead of finding out')
    .option('--ignore <volume>', 'leave a volume as it is, such as /dev/sda2; may be repeated', collect)
    .option('--zeros', 'in place: also give up clusters of nothing but zeros, for which all data is read')
    .option('-n, --dry-run', 'write nothing: tell what would be dropped')
    .option('--check-only', 'as --dry-run')
    .addHelpText(
      'after',
      `
What filesystems do not use is dropped, without being read: free blocks of ext2, ext3, ext4, XFS and FAT, the content of swap areas, gaps
between partitions. A volume that is not known, or whose accounting is in doubt, stays whole, and you are told so.

In place, clusters are freed, those at the end of the file move into the holes, and the file is cut; no space beside it is needed,
and a crash at any moment leaves a valid image with the same files in it. Images that have it as their backing file see the change.
A raw image has no holes that Node.js could make: name a target. A raw disk behind an NBD server (nbd:, nbd+unix:) is trimmed in place,
where the server takes that: "dropped" is what it was told to give up, and the length stays.
${TARGET_HELP}
Without -O the target has the format of the image.

With --json: progress events, and at last {"event": "result", "filename", …}: for a copy as convert --sparsify prints it, in place
{"free", "dropped", "moved", "before", "after", "volumes", "warnings"}, with --dry-run {"free", "saved", "gaps", "volumes",
"warnings"}. All are bytes: "free" of the disk, "dropped" of those that the image held, "before" and "after" of the file.

Examples:
  drydisk sparsify disk.qcow2
  drydisk sparsify -c disk.qcow2 small.qcow2
  drydisk sparsify --dry-run disk.raw`,
    )
    .action(async (image: string, target: string | undefined, options: SparsifyOptions) => {
      const dryRun = options.dryRun ?? options.checkOnly ?? false
      if (target === undefined) checkInPlace(options)
      if (dryRun) await tellFree(image, options)
      else if (target === undefined) await inPlace(image, options)
      else await copy(image, target, options)
    })
}

async function copy(image: string, target: string, options: SparsifyOptions): Promise<void> {
  const format =
    options.outputFormat === undefined
      ? await formatOfImage(image, options)
      : formatOf('-O', options.outputFormat)
  const made = targetSettings(options, format)
  if (made.backingFile !== undefined)
    throw new UsageError('-o backing_file: sparsify makes whole images; use convert')
  await convertTo(target, {
    ...made,
    operation: 'sparsify',
    sources: [image],
    sourceFormat: options.format,
    sparsify: true,
    ignore: options.ignore ?? [],
    snapshot: undefined,
    backingFormat: undefined,
    force: options.force ?? false,
    replaceInUse: options.force ?? false,
    output: options,
  })
}

async function formatOfImage(image: string, options: SparsifyOptions): Promise<'raw' | 'qcow2'> {
  if (options.format !== undefined && options.format !== 'auto') return formatOf('--format', options.format)
  const disk = await openDisk(image, options, false)
  const { format } = disk
  await closeDisk(disk)
  return formatOf('the format of the image', format)
}

function checkInPlace(options: SparsifyOptions): void {
  const { outputFormat, compress, compression, clusterSize, option, sparseSize } = options
  for (const given of [outputFormat, compress, compression, clusterSize, option, sparseSize])
    if (given !== undefined)
      throw new UsageError('-O, -c, -o, -S and their like describe a copy; name the target too')
}

async function inPlace(image: string, options: SparsifyOptions): Promise<void> {
  if (
    options.format !== undefined &&
    options.format !== 'auto' &&
    formatOf('--format', options.format) === 'raw'
  )
    throw new UsageError(
      'a raw image does not become smaller in place: Node.js cannot punch holes. Name a target',
    )
  const { sparsify } = await import('../../library/convert.ts')
  const result = await withProgress('sparsify', options, ({ signal, onProgress }) =>
    sparsify(image, {
      force: options.force ?? false,
      allowBacking: backingPolicy(options.backing),
      ignore: options.ignore ?? [],
      dropZeros: options.zeros ?? false,
      signal,
      onProgress: ({ done, total }) => onProgress({ done, total }),
    }),
  )
  if (options.json) return printEvent({ event: 'result', filename: image, ...result })
  for (const warning of result.warnings) warn(`warning: ${warning}`)
  if (!options.quiet)
    await print(
      `${describeFree(result)}${image}: ${humanSize(result.dropped)} dropped, ${humanSize(result.moved)} moved, ` +
        `${humanSize(result.before)} → ${humanSize(result.after)}\n`,
    )
}

async function tellFree(image: string, options: SparsifyOptions): Promise<void> {
  const disk = await openDisk(image, options, false)
  try {
    const free = await freeRanges(disk, { ignore: options.ignore ?? [] })
    const held = await dataBytes(disk, free.ranges)
    // A raw file does not tell where its holes are, and what it does not take cannot be saved. What a server's takes is not known.
    const taken = await stat(image).then(
      ({ blocks }) => blocks * 512,
      () => held,
    )
    const saved = Math.min(held, taken)
    const { volumes, gaps, warnings } = free
    const unused = free.ranges.total
    if (options.json)
      return printEvent({ event: 'result', filename: image, free: unused, saved, gaps, volumes, warnings })
    for (const warning of warnings) warn(`warning: ${warning}`)
    if (!options.quiet)
      await print(
        `${describeFree(free)}${image}: ${humanSize(unused)} unused, of which the image holds up to ${humanSize(saved)}\n`,
      )
  } finally {
    await closeDisk(disk)
  }
}
