import type { Command } from 'commander'
import { compactImage } from '../../copy/compact.ts'
import { humanSize, print, printEvent } from '../output.ts'
import { withProgress } from '../progress.ts'

interface CompactCommandOptions {
  readonly force?: boolean
  readonly json?: boolean
  readonly progress?: boolean
  readonly quiet?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image (qcow2)')
    .option('-p, --progress', 'show how far it is, also where standard error is no terminal')
    .option('--json', 'print JSON events')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
    .addHelpText(
      'after',
      `
Makes the file as short as what the image holds: clusters at its end move into free ones below, and the file is cut. Nothing that
the image shows changes: disk, snapshots, bitmaps and backing file stay. What a guest deleted is still there; "drydisk sparsify"
gives that up too.

A crash at any moment leaves a valid image with the same content. It can be stopped: what has moved stays moved.

With --json: progress events, and at last {"event": "result", "filename", "before", "after", "moved", "copied", "clusterSize",
"slack"}. "before" and "after" are bytes of the file, "copied" is bytes; "moved" counts clusters, tables included; "slack" is
free clusters that are left, for a table of several clusters needs them in a row.

Examples:
  drydisk compact disk.qcow2
  drydisk snapshot -d before-upgrade disk.qcow2 && drydisk compact disk.qcow2`,
    )
    .action(async (image: string, options: CompactCommandOptions) => {
      const result = await withProgress('compact', options, job =>
        compactImage(image, { ...job, force: options.force ?? false }),
      )
      if (options.json) return printEvent({ event: 'result', filename: image, ...result })
      if (!options.quiet)
        await print(
          `${image}: ${humanSize(result.copied)} moved, ${humanSize(result.before)} → ${humanSize(result.after)}\n`,
        )
    })
}
