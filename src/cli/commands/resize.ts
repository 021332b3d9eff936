import type { Command } from 'commander'
import { isDrydiskError } from '../../errors.ts'
import { openImage } from '../../image/open.ts'
import { resizeImage } from '../../image/resize.ts'
import { readVolumes } from '../../volume/read-volumes.ts'
import { describe, UsageError } from '../errors.ts'
import { formatOf } from '../image-settings.ts'
import { humanSize, print, printEvent, warn } from '../output.ts'
import { withProgress } from '../progress.ts'
import { backingPolicy } from '../session.ts'
import { sizeOf } from '../sizes.ts'

interface ResizeOptions {
  readonly format?: string
  readonly shrink?: boolean
  readonly backing?: string
  readonly force?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
  readonly progress?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image')
    .argument('<size>', 'of its disk: 3G; or by how much it changes: +512M, -1G')
    // A size such as -1G looks like one.
    .allowUnknownOption()
    .option('-f, --format <format>', 'qcow2 or raw, instead of finding out')
    .option('--shrink', 'consent to losing what lies beyond a smaller size')
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('-p, --progress', 'tell how far it is, also where standard error is no terminal')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
    .option('--json', 'print JSON')
    .option('-q, --quiet', 'print nothing but warnings and errors')
    .addHelpText(
      'after',
      `
What a larger disk gains reads as zeros. Partitions and filesystems stay as they are: grow them afterwards ("drydisk
grow", or the guest itself), and make them smaller before --shrink, which cuts off what lies beyond the new end and says what that was.

With --json, one document a line: {"event": "progress", "operation", "done", "total"} while the file of a smaller qcow2 disk is
made shorter, and at last {"event": "result", "filename", "format", "virtual-size", "previous-virtual-size", "warnings"}.

Examples:
  drydisk resize disk.qcow2 +10G
  drydisk resize disk.raw 3G
  drydisk resize --shrink disk.qcow2 -1G`,
    )
    .action(async (image: string, size: string, options: ResizeOptions) => {
      const format = options.format === undefined ? undefined : formatOf('-f', options.format)
      const common = {
        force: options.force ?? false,
        allowBacking: backingPolicy(options.backing),
        ...(format === undefined ? {} : { format }),
      }
      const wanted = newSize(size)
      const lost = options.shrink ? await lostWarnings(image, wanted, common) : []
      const done = await withProgress('resize', options, job =>
        resizeImage(image, wanted, { ...common, shrink: options.shrink ?? false, ...job }),
      )
      const warnings = [...lost, ...(await tableWarnings(image, { ...common, format: done.format }))]
      for (const warning of options.json ? [] : warnings) warn(`warning: ${warning}`)
      if (options.json)
        await printEvent({
          event: 'result',
          filename: image,
          format: done.format,
          'virtual-size': done.after,
          'previous-virtual-size': done.before,
          warnings,
        })
      else if (!options.quiet) await print(`${image}: ${humanSize(done.before)} → ${humanSize(done.after)}\n`)
    })
}

function newSize(text: string): (before: number) => number {
  const sign = /^[+-]/.exec(text)?.[0]
  const bytes = sizeOf(sign === undefined ? text : text.slice(1))
  if (bytes === undefined)
    throw new UsageError(
      /^-\D/.test(text) ? `unknown option '${text}'` : `"${text}" is not a size such as 3G, +512M or -1G`,
    )
  if (sign === undefined) return () => bytes
  return before => (sign === '+' ? before + bytes : before - bytes)
}

/** What a smaller disk cuts off; an image that cannot be read has no more to lose. */
async function lostWarnings(
  image: string,
  wanted: (before: number) => number,
  options: Parameters<typeof openImage>[1],
): Promise<readonly string[]> {
  const { cutOff } = await import('../../copy/cut-off.ts')
  try {
    const disk = await openImage(image, options)
    try {
      return await cutOff(disk, wanted(disk.size))
    } finally {
      await disk.close()
    }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return []
  }
}

/** What the partition table makes of the disk's new end. */
async function tableWarnings(
  image: string,
  options: Parameters<typeof openImage>[1],
): Promise<readonly string[]> {
  try {
    const disk = await openImage(image, options)
    try {
      const { table, warnings } = await readVolumes(disk)
      if (table !== 'gpt' || !warnings.some(warning => warning.includes('backup GPT'))) return warnings
      return [
        ...warnings,
        'The disk can be used as it is; "drydisk grow", "sgdisk -e", or the guest itself with growpart, moves the backup GPT to the end.',
      ]
    } finally {
      await disk.close()
    }
  } catch (error) {
    return [describe(error).message]
  }
}
