import type { Command } from 'commander'
import { createImage } from '../../image/create-file.ts'
import { withDiskFull } from '../disk-full.ts'
import { UsageError } from '../errors.ts'
import {
  collect,
  formatOf,
  imageSettings,
  type Preallocation,
  parseOptionLists,
  targetFormat,
} from '../image-settings.ts'
import { humanSize, print, printEvent } from '../output.ts'
import { withProgress } from '../progress.ts'
import { backingPolicy } from '../session.ts'
import { sizeOf } from '../sizes.ts'

interface CreateOptions {
  readonly format?: string
  readonly option?: readonly string[]
  readonly size?: string
  readonly backingFile?: string
  readonly backingFormat?: string
  readonly unsafe?: boolean
  readonly backing?: string
  readonly clusterSize?: string
  readonly force?: boolean
  readonly quiet?: boolean
  readonly json?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image to make')
    .argument('[size]', 'of its disk: 512M, 3G, 1T; that of the backing file when left out')
    .option('-f, --format <format>', 'qcow2 or raw; left out: qcow2 for a name that ends in .qcow2, else raw')
    .option('--size <size>', 'instead of the second argument')
    .option('-o, --option <list>', 'KEY=VALUE,…: cluster_size, compat, preallocation, … (see below)', collect)
    .option('--cluster-size <size>', 'as -o cluster_size')
    .option(
      '-b, --backing-file <file>',
      'what the image is a difference to; relative to the folder of the image',
    )
    .option('-F, --backing-format <format>', 'its format: qcow2 or raw')
    .option('-u, --unsafe', 'do not look at the backing file; it need not exist')
    .option(
      '--backing <where>',
      'where the backing file’s own backing files may lie: beside, any or none',
      'beside',
    )
    .option('--force', 'replace a file that is there')
    .option('--json', 'print JSON')
    .option('-q, --quiet', 'print nothing but errors')
    .addHelpText(
      'after',
      `
Options of -o, as qemu-img has them: size, preallocation=off|metadata|falloc|full and, of a qcow2 image, backing_file,
backing_fmt, cluster_size (64k), compat=1.1|0.10, compression_type=zlib|zstd, extended_l2=on|off,
lazy_refcounts=on|off, refcount_bits (16). preallocation=falloc writes zeros, as full does: Node.js has no fallocate.

With --json, one document a line: {"event": "progress", "operation", "done", "total"} while it is preallocated, and at last
{"event": "result", "filename", "format", "virtual-size"}.

Examples:
  drydisk create disk.qcow2 20G
  drydisk create -b base.qcow2 -F qcow2 difference.qcow2
  drydisk create -o cluster_size=2M,preallocation=metadata disk.qcow2 1T
  drydisk create disk.raw 512M`,
    )
    .action(async (image: string, size: string | undefined, options: CreateOptions) => {
      const format = targetFormat('--format', options.format, image)
      const lists = [...(options.option ?? [])]
      if (options.clusterSize !== undefined) lists.push(`cluster_size=${options.clusterSize}`)
      const { qcow2, preallocation, ...settings } = imageSettings(parseOptionLists(lists), format)
      const bytes = onlySize([size, options.size], settings.size)
      const backingFile = options.backingFile ?? settings.backingFile
      const backingFormat = options.backingFormat ?? settings.backingFormat
      const made = await withProgress('create', options, job =>
        withDiskFull(image, fullSize(preallocation, bytes), () =>
          createImage(image, {
            format,
            ...(format === 'raw' ? {} : { qcow2 }),
            ...(bytes === undefined ? {} : { size: bytes }),
            ...(backingFile === undefined ? {} : { backingFile }),
            ...(backingFormat === undefined ? {} : { backingFormat: formatOf('-F', backingFormat) }),
            ...(preallocation === undefined ? {} : { preallocation }),
            checkBacking: !options.unsafe,
            allowBacking: backingPolicy(options.backing),
            force: options.force ?? false,
            ...job,
          }),
        ),
      )
      if (options.json)
        await printEvent({ event: 'result', filename: image, format, 'virtual-size': made.size })
      else if (!options.quiet) await print(`${image}: ${format}, ${humanSize(made.size)}\n`)
    })
}

/** The size is said once: by itself, by --size or among the options. */
function onlySize(texts: readonly (string | undefined)[], among: number | undefined): number | undefined {
  const sizes = texts
    .filter(text => text !== undefined)
    .map(text => {
      const size = sizeOf(text)
      if (size === undefined) throw new UsageError(`"${text}" is not a size such as 512M or 3G`)
      return size
    })
  if (among !== undefined) sizes.push(among)
  if (sizes.length > 1) throw new UsageError('the size is given more than once')
  return sizes[0]
}

/** Bytes that a preallocated image takes at least; `undefined` where next to nothing is written. */
function fullSize(preallocation: Preallocation | undefined, size: number | undefined): number | undefined {
  return preallocation === 'full' || preallocation === 'falloc' ? size : undefined
}
