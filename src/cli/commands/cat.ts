import type { Command } from 'commander'
import { decodeUtf8 } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { AlreadyReported, UsageError } from '../errors.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { print, printJson } from '../output.ts'
import { readGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'
import { forEachPath } from '../walk-paths.ts'

const CHUNK = 1 << 20
/** JSON is made in one piece. */
const JSON_MAX = 64 << 20

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image, or IMAGE:PATH')
    .argument('[paths...]', 'files in the guest')
    .addHelpText(
      'after',
      `
The bytes are printed as they are. With --json: {"files": [{"path", "size", "text" or "base64"}], "errors": […]}.

Examples:
  drydisk cat disk.qcow2 /etc/os-release
  drydisk cat disk.qcow2:/etc/fstab
  drydisk cat -a disk.qcow2 /etc/hosts /etc/hostname`,
    )
    .action(async (_image: string, _paths: string[], options: ImageOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length === 0) throw new UsageError('which file? Name at least one path')
      const files: unknown[] = []
      const errors: { path: string; code: string; message: string }[] = []
      const json = options.json ?? false
      const all = await readGuest(image, options, async ({ fs }) =>
        forEachPath(paths, json, errors, async path => {
          if (json) files.push(await asJson(fs, path))
          else await stream(fs, path)
        }),
      )
      if (json) await printJson({ files, errors })
      if (!all) throw new AlreadyReported()
    })
}

async function stream(fs: GuestFs, path: string): Promise<void> {
  const { size } = await fs.stat(path)
  const chunk = new Uint8Array(Math.min(CHUNK, Math.max(size, 1)))
  for (let offset = 0; ; ) {
    const count = await fs.readAt(path, offset, chunk)
    if (count === 0) return
    await print(chunk.subarray(0, count))
    offset += count
  }
}

async function asJson(fs: GuestFs, path: string): Promise<unknown> {
  const { size } = await fs.stat(path)
  if (size > JSON_MAX)
    throw new DrydiskError('EFBIG', `${path}: ${size} bytes are too many for JSON; print it without --json`, {
      path,
    })
  const bytes = await fs.readFile(path)
  const text = decodeUtf8(bytes)
  return {
    path,
    size,
    ...(text === undefined ? { base64: Buffer.from(bytes).toString('base64') } : { text }),
  }
}
