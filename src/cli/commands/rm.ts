import type { Command } from 'commander'
import type { Change } from '../../operations/operation.ts'
import { reportEdit } from '../edit-report.ts'
import { UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { editGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

interface RmOptions extends WriteOptions {
  readonly recursive?: boolean
  readonly ignoreMissing?: boolean
}

export function configure(command: Command): void {
  writeOptions(command)
    .argument('[image]', 'the image, or IMAGE:PATH')
    .argument('[paths...]', 'what to remove')
    .option('-r, --recursive', 'directories with all that is in them')
    .option('-f, --ignore-missing', 'no error for what is not there')
    .addHelpText(
      'after',
      `
A symlink is removed, never followed. Either every path is removed or none. (--force is about images in use.)

Examples:
  drydisk rm disk.qcow2 /etc/machine-id
  drydisk rm -rf disk.qcow2:/var/lib/cloud
  drydisk rm -r --dry-run disk.qcow2 /var/cache/apt`,
    )
    .action(async (_image: string, _paths: string[], options: RmOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length === 0) throw new UsageError('remove what? Name at least one path')
      const { recursive = false, ignoreMissing = false } = options
      await editGuest(
        image,
        options,
        async fs => {
          const changes: Change[] = []
          for (const path of paths) {
            if (ignoreMissing && !(await fs.lstat(path).then(Boolean, () => false))) {
              // A path that fails for another reason than absence fails again here, and says why.
              await fs.rm(path, { recursive, force: true })
              continue
            }
            const { type } = await fs.lstat(path)
            await fs.rm(path, { recursive, force: ignoreMissing })
            changes.push({ setting: type, before: 'present', after: null, file: path })
          }
          return [{ operation: 'rm', changes, warnings: [] }]
        },
        (reports, recorder) => reportEdit(image, options, reports, recorder),
      )
    })
}
