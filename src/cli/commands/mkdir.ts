import type { Command } from 'commander'
import type { Change } from '../../operations/operation.ts'
import { reportEdit } from '../edit-report.ts'
import { UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { editGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

interface MkdirOptions extends WriteOptions {
  readonly parents?: boolean
  readonly mode: string
}

export function configure(command: Command): void {
  writeOptions(command)
    .argument('[image]', 'the image, or IMAGE:PATH')
    .argument('[paths...]', 'directories to make')
    .option('-p, --parents', 'those above it too; no error where one exists')
    .option('-m, --mode <mode>', 'permission bits in octal', '755')
    .addHelpText(
      'after',
      `
Examples:
  drydisk mkdir disk.qcow2 /srv/data
  drydisk mkdir -p -m 700 disk.qcow2:/root/a/b`,
    )
    .action(async (_image: string, _paths: string[], options: MkdirOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length === 0) throw new UsageError('make which directory? Name at least one path')
      if (!/^[0-7]{1,4}$/.test(options.mode))
        throw new UsageError(`the mode is ${options.mode}; expected octal digits such as 755`)
      const mode = Number.parseInt(options.mode, 8)
      const recursive = options.parents ?? false
      await editGuest(
        image,
        options,
        async fs => {
          const changes: Change[] = []
          for (const path of paths) {
            const there = await fs.exists(path)
            await fs.mkdir(path, { mode, recursive })
            const after = `mode ${options.mode.padStart(4, '0')}`
            if (!there) changes.push({ setting: 'directory', before: null, after, file: path })
          }
          return [{ operation: 'mkdir', changes, warnings: [] }]
        },
        (reports, recorder) => reportEdit(image, options, reports, recorder),
      )
    })
}
