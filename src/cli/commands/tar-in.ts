import type { Command } from 'commander'
import { fileSource } from '../../library/host-source.ts'
import { tarIn } from '../../operations/tar/tar-in.ts'
import { reportEdit } from '../edit-report.ts'
import { UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { editGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

export function configure(command: Command): void {
  writeOptions(command)
    .argument('[image]', 'the image')
    .argument('[archive]', 'plain, or packed by gzip, xz or zstd')
    .argument('[folder]', 'of the guest; it is there')
    .addHelpText(
      'after',
      `
As tar --numeric-owner --xattrs -x in the guest: owners and groups by number, modes, times, extended attributes, hard links, holes,
devices, names as bytes. No entry leads out of the folder. What is there already is replaced where it differs.
With --json as customize.

Examples:
  drydisk tar-in disk.qcow2 etc.tar /etc
  drydisk tar-in --dry-run disk.qcow2 site.tar.gz /srv/www`,
    )
    .action(async (_image: string, _archive: string, _folder: string, options: WriteOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      const [archive, folder, extra] = paths
      if (archive === undefined || folder === undefined)
        throw new UsageError('an image, an archive and a folder of the guest')
      if (extra !== undefined) throw new UsageError(`one archive and one folder: what is "${extra}"?`)
      await editGuest(
        image,
        options,
        async fs => [await tarIn.run(fs, { source: fileSource(Buffer.from(archive)), folder })],
        (reports, recorder) => reportEdit(image, options, reports, recorder),
      )
    })
}
