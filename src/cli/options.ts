import type { Command } from 'commander'

/** What every command that opens an image understands. */
export interface ImageOptions {
  readonly add?: string
  readonly format?: string
  readonly root?: string
  readonly backing?: string
  readonly force?: boolean
  readonly json?: boolean
}

export interface WriteOptions extends ImageOptions {
  readonly dryRun?: boolean
  readonly quiet?: boolean
}

export function imageOptions(command: Command): Command {
  return command
    .option('-a, --add <image>', 'the image, instead of naming it as the first argument')
    .option('--format <format>', 'qcow2 or raw, instead of finding out')
    .option('--root <volume>', 'the volume with the root filesystem, such as /dev/sda2')
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('--json', 'print JSON')
}

export function writeOptions(command: Command): Command {
  return imageOptions(command)
    .option('-n, --dry-run', 'write nothing: show a diff of what would change')
    .option('-q, --quiet', 'print nothing but warnings and errors')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
}
