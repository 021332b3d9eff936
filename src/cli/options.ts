import type { Command } from 'commander'
import { UsageError } from './errors.ts'

/** What every command that opens an image understands. */
export interface ImageOptions {
  readonly add?: string
  readonly format?: string
  readonly root?: string
  readonly backing?: string
  readonly force?: boolean
  readonly keepCompressed?: boolean
  readonly json?: boolean
}

export interface WriteOptions extends ImageOptions {
  readonly dryRun?: boolean
  readonly quiet?: boolean
}

/** virt-customize takes several for a guest of several disks; to edit but the last of them in silence would be worse. */
function onlyOne(image: string, before: string | undefined): string {
  if (before !== undefined) throw new UsageError(`one image at a time: both ${before} and ${image} are named`)
  return image
}

export function imageOptions(command: Command): Command {
  return command
    .option('-a, --add <image>', 'the image, instead of naming it as the first argument', onlyOne)
    .option('--format <format>', 'qcow2 or raw, instead of finding out (auto)')
    .option(
      '--root <volume>',
      'the volume with the root filesystem: /dev/sda2, /dev/vg/root, /dev/sda2[/subvolume]',
    )
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('--json', 'print JSON')
}

export function writeOptions(command: Command): Command {
  return imageOptions(command)
    .option('-n, --dry-run', 'write nothing: show a diff of what would change')
    .option('-q, --quiet', 'print nothing but warnings and errors')
    .option('--no-keep-compressed', 'store what is written uncompressed, also in a compressed image')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
}
