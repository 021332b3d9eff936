import type { Command } from 'commander'
import { commitImage } from '../../image/commit-down.ts'
import { UsageError } from '../errors.ts'
import { formatOf } from '../image-settings.ts'
import { print, printEvent } from '../output.ts'
import { withProgress } from '../progress.ts'
import { backingPolicy } from '../session.ts'

interface CommitCommandOptions {
  readonly format?: string
  readonly base?: string
  readonly keepOverlay?: boolean
  readonly backing?: string
  readonly force?: boolean
  readonly keepCompressed?: boolean
  readonly progress?: boolean
  readonly quiet?: boolean
  readonly json?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image, qcow2 with a backing file')
    .option('-b, --base <file>', 'the backing file to commit into, if not the next one; implies -d')
    .option('-d, --keep-overlay', 'leave the image as it is, rather than emptying it')
    .option('-f, --format <format>', 'of the image: qcow2')
    .option('--backing <where>', 'where backing files may lie: beside, any or none', 'beside')
    .option('--no-keep-compressed', 'store what is copied uncompressed, also in a compressed backing file')
    .option('--force', 'go on even if a file is in use (it may be destroyed)')
    .option('-p, --progress', 'show how far it is, also where standard error is no terminal')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
The backing file comes to read as the image does, in one atomic change; it grows first where the image is larger. Then the image is
emptied: it is a difference of nothing to its backing file. With -b, the images between the two are worth nothing afterwards.
Other images over the same backing file change with it: they are most likely of no use any more.

With --json, one document a line: {"event": "progress", "operation", "done", "total"}, and at last {"event": "result", "filename",
"base", "copied", "zeroed", "emptied"}, in bytes.

Examples:
  drydisk commit disk.qcow2
  drydisk commit -d disk.qcow2
  drydisk commit -b base.qcow2 disk.qcow2`,
    )
    .action(async (image: string, options: CommitCommandOptions) => {
      if (options.format !== undefined && formatOf('-f', options.format) !== 'qcow2')
        throw new UsageError('-f raw: a raw image has no backing file')
      const { base, keepOverlay } = options
      const result = await withProgress('commit', options, job =>
        commitImage(image, {
          ...(base === undefined ? {} : { base }),
          empty: !keepOverlay,
          allowBacking: backingPolicy(options.backing),
          force: options.force ?? false,
          keepCompressed: options.keepCompressed ?? true,
          ...job,
        }),
      )
      if (options.json) await printEvent({ event: 'result', filename: image, ...result })
      else if (!options.quiet) await print('Image committed.\n')
    })
}
