import { type Command, Option } from 'commander'
import { convertTo } from '../convert-to.ts'
import { UsageError } from '../errors.ts'
import {
  collect,
  compressionType,
  formatOf,
  imageSettings,
  parseOptionLists,
  targetFormat,
} from '../image-settings.ts'
import { sizeOf } from '../sizes.ts'

/** What decides how the target is made; `sparsify` has them too. */
export interface TargetOptions {
  readonly outputFormat?: string
  readonly compress?: boolean
  readonly compression?: string
  readonly clusterSize?: string
  readonly option?: readonly string[]
  readonly sparseSize?: string
  readonly progress?: boolean
  readonly quiet?: boolean
  readonly json?: boolean
  readonly force?: boolean
  readonly backing?: string
}

interface ConvertOptions extends TargetOptions {
  readonly format?: string
  readonly sparsify?: boolean
  readonly backingFile?: string
  readonly backingFormat?: string
  readonly snapshot?: string
  readonly forceShare?: boolean
}

/** Options of qemu-img that have no effect here, because what they ask for is always so or has no counterpart. */
const WITHOUT_EFFECT = [
  new Option('-W', 'write out of order'),
  new Option('-m <coroutines>', 'how many'),
  new Option('-t <cache>', 'cache mode'),
  new Option('-T <cache>', 'cache mode of the source'),
]

/** Options of qemu-img that would change what comes out, and why they are not here. */
const REFUSED: readonly (readonly [Option, string])[] = [
  [
    new Option('-n'),
    '-n writes into a target that is there: drydisk makes a new file and gives it the name when it is complete',
  ],
  [new Option('--target-is-zero'), '--target-is-zero goes with -n, which drydisk does not have'],
  [new Option('--bitmaps'), 'persistent bitmaps are not copied'],
  [new Option('--salvage'), 'what cannot be read is an error, not zeros'],
]

export function targetOptions(command: Command): Command {
  return command
    .option('-O, --output-format <format>', 'raw or qcow2')
    .option('-c, --compress', 'compress (qcow2)')
    .option('--compression <type>', 'compress with zlib or zstd')
    .option('--cluster-size <size>', 'of the qcow2 image: a power of two from 512 to 2M (64k)')
    .option('-o, --option <list>', 'KEY=VALUE,… as with qemu-img (see below)', collect)
    .option(
      '-S, --sparse-size <size>',
      'runs of zeros of this length become holes (4k); 0: every byte is written',
    )
    .option(
      '--backing <where>',
      'where backing and data files of a source may lie: beside, any or none',
      'beside',
    )
    .option('--force', 'read a source and replace a target although they are in use')
    .option('-p, --progress', 'tell of progress also where standard error is no terminal')
    .option('-q, --quiet', 'print nothing but warnings and errors')
    .option('--json', 'print JSON: one document a line')
}

export const TARGET_HELP = `
Options of -o: backing_file, backing_fmt, cluster_size, compat=1.1|0.10, compression_type=zlib|zstd, extended_l2=on|off,
lazy_refcounts=on|off, refcount_bits. The target gets its name when it is complete: after an error or Ctrl-C, what was there
before is as it was.`

export function configure(command: Command): void {
  targetOptions(command)
    .argument(
      '<files...>',
      'one or more source images, which are joined, and the target; - is standard output',
    )
    .option('-f, --format <format>', 'of the sources: qcow2 or raw, instead of finding out')
    .option(
      '--sparsify',
      'leave out what filesystems do not use: free blocks, swap content, gaps between partitions',
    )
    .option(
      '-B, --backing-file <file>',
      'make the target a difference to this image; relative to the target’s folder',
    )
    .option('-F, --backing-format <format>', 'its format: qcow2 or raw')
    .option(
      '-l, --snapshot <snapshot>',
      'an internal snapshot: its identifier or name, or snapshot.id=…,snapshot.name=…',
    )
    .option('-U, --force-share', 'read a source although it is in use')
  for (const option of WITHOUT_EFFECT) command.addOption(option.hideHelp())
  for (const [option] of REFUSED) command.addOption(option.hideHelp())
  command
    .addHelpText(
      'after',
      `${TARGET_HELP}
Without -O the target is qcow2 if its name ends in .qcow2, else raw. Raw alone goes to standard output.
-W, -m, -t and -T of qemu-img are taken and have no effect.

With --json: {"event": "progress", "operation", "done", "total", "written"} now and then, in bytes, and at last
{"event": "result", "filename", "format", "virtual-size", "actual-size", "sparsified"?: {"dropped", "gaps", "volumes": [{"name",
"type", "dropped", "reason"?}]}, "warnings"}.

Examples:
  drydisk convert -O qcow2 disk.raw disk.qcow2
  drydisk convert -c --compression zstd --sparsify disk.qcow2 small.qcow2
  drydisk convert disk.qcow2 - | ssh host 'cat > /dev/vg/disk'
  drydisk convert -l before-upgrade disk.qcow2 old.raw
  drydisk convert -B base.qcow2 -F qcow2 disk.qcow2 difference.qcow2`,
    )
    .action(async (files: readonly string[], options: ConvertOptions) => {
      const given = command.opts()
      for (const [option, reason] of REFUSED) if (given[option.attributeName()]) throw new UsageError(reason)
      const target = files.at(-1)
      const sources = files.slice(0, -1)
      if (target === undefined || sources.length === 0)
        throw new UsageError('a source image and a target: name both')
      const format = targetFormat('-O', options.outputFormat, target)
      const made = targetSettings(options, format)
      const backingFile = options.backingFile ?? made.backingFile
      const backingFormat = options.backingFormat ?? made.backingFormat
      await convertTo(target, {
        ...made,
        operation: 'convert',
        sources,
        sourceFormat: options.format,
        sparsify: options.sparsify ?? false,
        snapshot: options.snapshot,
        backingFile,
        backingFormat: backingFormat === undefined ? undefined : formatOf('-F', backingFormat),
        force: options.force ?? options.forceShare ?? false,
        replaceInUse: options.force ?? false,
        output: options,
      })
    })
}

/** What the options say of the target. Errors: `UsageError`. */
export function targetSettings(options: TargetOptions, format: 'raw' | 'qcow2') {
  const lists = [...(options.option ?? [])]
  if (options.clusterSize !== undefined) lists.push(`cluster_size=${options.clusterSize}`)
  if (options.compression !== undefined)
    lists.push(`compression_type=${compressionType(options.compression)}`)
  const compress = options.compress ?? options.compression !== undefined
  if (compress && format === 'raw')
    throw new UsageError('a raw image cannot be compressed; make a qcow2 image with -O qcow2')
  const { qcow2, backingFile, backingFormat, size } = imageSettings(parseOptionLists(lists), format, ['off'])
  if (size !== undefined) throw new UsageError('-o size: the target has the size of the source')
  return { format, qcow2, compress, sparseSize: sparseSize(options.sparseSize), backingFile, backingFormat }
}

/** As qemu-img: whole sectors, up to 16 MiB. */
function sparseSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const size = sizeOf(text)
  if (size === undefined || size % 512 !== 0 || size > 16 << 20)
    throw new UsageError(`-S is ${text}; expected a multiple of 512 up to 16M, or 0 to write every byte`)
  return size
}
