import type { Command } from 'commander'
import type { OperationReport } from '../../operations/operation.ts'
import { reportEdit } from '../edit-report.ts'
import { UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { editGuest } from '../session.ts'
import { stepOptions } from '../step-options.ts'
import { imageAndPaths } from '../target.ts'

export function configure(command: Command): void {
  writeOptions(command).argument('[image]', 'the image')
  const plan = stepOptions(command)
  command
    .addHelpText(
      'after',
      `
What is in [brackets] may be left out; it is joined by =, as in --network-dhcp=ens3.
Edits are made in the order given, and all in one commit: an error leaves the image as it was. Each says what it changed,
and the file and line that decide. --dry-run shows a unified diff and writes nothing.
With --json: {"image", "dryRun", "operations": [{"operation", "changes": [{"setting", "before", "after", "file", "line"?,
"note"?}], "unchanged"?: [{"setting", "value", "file", "line"?}], "warnings"}], "files": [{"path", "kind", "type", "aspects", "summary", "diff"?}] (of a dry run)}.

Examples:
  drydisk customize disk.qcow2 --serial-console --sshd PermitRootLogin=yes --root-password file:secret
  drydisk customize -a disk.qcow2 --ssh-inject root:file:id_ed25519.pub --hostname web1 --dry-run
  pass show vm | drydisk customize disk.qcow2 --password admin:stdin`,
    )
    .action(async (_image: string, options: WriteOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length > 0) throw new UsageError(`one image at a time: what is "${paths[0]}"?`)
      // Everything that can be wrong with the arguments is found before the image is opened.
      const edits = await plan()
      if (edits.length === 0)
        throw new UsageError('nothing to do: name at least one edit (drydisk customize --help)')
      await editGuest(
        image,
        options,
        async fs => {
          const reports: OperationReport[] = []
          for (const edit of edits) reports.push(await edit(fs))
          return reports
        },
        (reports, recorder) => reportEdit(image, options, reports, recorder),
      )
    })
}
