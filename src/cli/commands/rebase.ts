import type { Command } from 'commander'
import { rebaseImage } from '../../image/rebase.ts'
import { withDiskFull } from '../disk-full.ts'
import { UsageError } from '../errors.ts'
import { formatOf } from '../image-settings.ts'
import { printEvent, warn } from '../output.ts'
import { withProgress } from '../progress.ts'
import { backingPolicy } from '../session.ts'

interface RebaseCommandOptions {
  readonly format?: string
  readonly backingFile?: string
  readonly backingFormat?: string
  readonly unsafe?: boolean
  readonly backing?: string
  readonly force?: boolean
  readonly keepCompressed?: boolean
  readonly progress?: boolean
  readonly quiet?: boolean
  readonly json?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image, qcow2')
    .option('-b, --backing-file <file>', 'what the image is to be a difference to; "" for nothing')
    .option('-F, --backing-format <format>', 'its format: qcow2 or raw')
    .option('-u, --unsafe', 'change the name alone, and look at neither backing file')
    .option('-f, --format <format>', 'of the image: qcow2')
    .option(
      '--backing <where>',
      'where the files named by the image and by the new backing file may lie: beside, any or none',
      'beside',
    )
    .option('--no-keep-compressed', 'store what is copied uncompressed, also in a compressed image')
    .option('--force', 'go on even if the image is in use (it may be destroyed)')
    .option('-p, --progress', 'show how far it is, also where standard error is no terminal')
    .option('-q, --quiet', 'print nothing but warnings and errors')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
What the disk holds stays the same: where the old and the new backing file differ, what the old one holds is copied into the image,
and committed together with the new name at once. A relative name starts at the folder of the image. -u is for backing files that
were moved or renamed: whoever uses it knows that the new one reads as the old one did.

With --json, one document a line: {"event": "progress", "operation", "done", "total"}, and at last {"event": "result", "filename",
"backing-filename"?, "backing-filename-format"?, "copied", "zeroed", "warnings"} in bytes.

Examples:
  drydisk rebase -b base-2.qcow2 -F qcow2 disk.qcow2
  drydisk rebase -b "" disk.qcow2
  drydisk rebase -u -b moved/base.qcow2 -F qcow2 disk.qcow2`,
    )
    .action(async (image: string, options: RebaseCommandOptions) => {
      const { backingFile, backingFormat } = options
      if (options.format !== undefined && formatOf('-f', options.format) !== 'qcow2')
        throw new UsageError('-f raw: a raw image has no backing file')
      if (backingFile === undefined && !options.unsafe)
        throw new UsageError(
          'name the new backing file with -b ("" for none), or take the old one off with -u',
        )
      const result = await withProgress('rebase', options, job =>
        withDiskFull(image, undefined, () =>
          rebaseImage(image, {
            ...(backingFile === undefined ? {} : { backingFile }),
            ...(backingFormat === undefined ? {} : { backingFormat: formatOf('-F', backingFormat) }),
            unsafe: options.unsafe ?? false,
            allowBacking: backingPolicy(options.backing),
            force: options.force ?? false,
            keepCompressed: options.keepCompressed ?? true,
            ...job,
          }),
        ),
      )
      const { backingFile: name, backingFormat: format, copied, zeroed, warnings } = result
      if (options.json)
        await printEvent({
          event: 'result',
          filename: image,
          ...(name === undefined ? {} : { 'backing-filename': name, 'backing-filename-format': format }),
          copied,
          zeroed,
          warnings,
        })
      else for (const warning of warnings) warn(`warning: ${image}: ${warning}`)
    })
}
