import type { Command } from 'commander'
import { isDrydiskError } from '../../errors.ts'
import { type Grown, grow } from '../../operations/grow.ts'
import { uninterrupted } from '../interruption.ts'
import { humanSize, print, printJson, warn } from '../output.ts'
import { closeDisk, openDisk, overlay } from '../session.ts'

interface GrowCommandOptions {
  readonly format?: string
  readonly backing?: string
  readonly keepPartition?: boolean
  readonly dryRun?: boolean
  readonly force?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image')
    .argument('[volume]', 'which filesystem: /dev/sda3, UUID=…; the last XFS of the disk when left out')
    .option('--keep-partition', 'the partition keeps its size; the filesystem grows to its end')
    .option('-n, --dry-run', 'write nothing: tell what would grow')
    .option('--format <format>', 'qcow2 or raw, instead of finding out')
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
    .option('--json', 'print JSON')
    .option('-q, --quiet', 'print nothing but warnings and errors')
    .addHelpText(
      'after',
      `
Makes an XFS filesystem as large as it can be on a disk that became larger ("drydisk resize"), and before it its partition, up to the
next one or the end of the disk; a GPT's backup moves there. It is one atomic change. In the guest nothing is left to do:
what growpart and xfs_growfs would do at the next boot is done. Other filesystems are refused by name.

With --json: {"volume", "type", "partition": {"before", "after", "limit"}, "filesystem": {"before", "after", "agCount",
"agSize"}, "warnings"}; sizes in bytes, without "partition" for a filesystem that lies in none.

Examples:
  drydisk resize disk.qcow2 +10G && drydisk grow disk.qcow2
  drydisk grow disk.qcow2 /dev/sda3 --dry-run
  drydisk grow --keep-partition disk.raw`,
    )
    .action(async (image: string, volume: string | undefined, options: GrowCommandOptions) => {
      const grown = await growImage(image, volume, options)
      if (options.json) {
        await printJson(grown)
        return
      }
      for (const warning of grown.warnings) warn(`warning: ${warning}`)
      if (!options.quiet) await print(`${image}: ${describe(grown)}\n`)
    })
}

async function growImage(
  path: string,
  volume: string | undefined,
  options: GrowCommandOptions,
): Promise<Grown> {
  const { dryRun = false, keepPartition = false } = options
  const image = await openDisk(path, options, !dryRun)
  try {
    const disk = dryRun ? await overlay(image) : image
    const grown = await grow(disk, { keepPartition, ...(volume === undefined ? {} : { volume }) })
    if (!dryRun) await uninterrupted(() => image.commit())
    return grown
  } finally {
    await closeDisk(image).catch((error: unknown) => {
      if (!isDrydiskError(error)) throw error
      warn(`warning: ${error.message}`)
    })
  }
}

function describe({ volume, type, partition, filesystem }: Grown): string {
  const sizes = ({ before, after }: { before: number; after: number }) =>
    before === after ? humanSize(before) : `${humanSize(before)} → ${humanSize(after)}`
  const limit = partition === undefined ? '' : `it ends where ${partition.limit}`
  const grew = [filesystem, partition].some(each => each !== undefined && each.before !== each.after)
  if (!grew && partition === undefined)
    return `${volume}: ${type} of ${humanSize(filesystem.before)} fills its volume already`
  if (!grew)
    return `${volume}: ${type} of ${humanSize(filesystem.before)} fills its partition already (${limit})`
  const groups = `${filesystem.agCount} allocation groups of ${humanSize(filesystem.agSize)}`
  const around = partition === undefined ? '' : `partition ${sizes(partition)} (${limit}), `
  return `${volume}: ${around}${type} ${sizes(filesystem)} (${groups})`
}
