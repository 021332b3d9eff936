import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { Command } from 'commander'
import { printable } from '../../bytes/names.ts'
import { checkNotSource } from '../../copy/image-chain.ts'
import { NewFile } from '../../image/new-file.ts'
import { writeTar } from '../../operations/tar/write-tar.ts'
import { AlreadyReported, UsageError } from '../errors.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { print, printJson, warn } from '../output.ts'
import { readGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

interface TarOutOptions extends ImageOptions {
  readonly gzip?: boolean
  readonly xdev?: boolean
}

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image, or IMAGE:FOLDER')
    .argument('[folder]', 'of the guest')
    .argument('[archive]', 'the file to make; - or nothing: standard output')
    .option('-z, --gzip', 'pack it by gzip')
    .option('--xdev', 'stay on the filesystem of the folder')
    .addHelpText(
      'after',
      `
The archive is in the pax format: owners and groups by number, extended attributes (with labels, ACLs and capabilities), names of one
file as hard links, holes as holes, devices, names as bytes. Sockets are left out. Entries begin with ./.
Unpack it with tar --numeric-owner --xattrs --xattrs-include='*' -xpf.
With --json (not on standard output): {"image", "folder", "archive", "bytes", "problems": [{"path", "message"}]}.

Examples:
  drydisk tar-out disk.qcow2 /etc etc.tar
  drydisk tar-out -z disk.qcow2:/var/log > log.tar.gz
  drydisk tar-out disk.qcow2 / - | ssh host 'cat > root.tar'`,
    )
    .action(async (_image: string, _folder: string, _archive: string, options: TarOutOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      const [folder, archive = '-', extra] = paths
      if (folder === undefined) throw new UsageError('which folder of the guest?')
      if (extra !== undefined) throw new UsageError(`one folder and one archive: what is "${extra}"?`)
      if (archive === '-' && options.json) throw new UsageError('--json is for an archive with a name')
      if (archive === '-' && process.stdout.isTTY)
        throw new UsageError('an archive is not written to a terminal; name a file, or send it on')
      const problems: { path: string; message: string }[] = []
      const bytes = await readGuest(image, options, async ({ fs }, disk) => {
        // An archive in the place of the image would be the end of both.
        if (archive !== '-') await checkNotSource([disk], undefined, archive)
        const content = counted(
          writeTar(fs, folder, {
            oneFileSystem: options.xdev ?? false,
            problem: (path, { message }) => {
              problems.push({ path: printable(path), message })
              if (!options.json) warn(message)
            },
          }),
        )
        if (archive === '-') await sent(content.bytes, options.gzip ?? false, print)
        else await toFile(content.bytes, archive, options.gzip ?? false)
        return content.count()
      })
      if (options.json) await printJson({ image, folder, archive, bytes, problems })
      if (problems.length > 0) throw new AlreadyReported()
    })
}

function counted(bytes: AsyncIterable<Uint8Array>): {
  bytes: AsyncIterable<Uint8Array>
  count: () => number
} {
  let total = 0
  const pass = async function* () {
    for await (const piece of bytes) {
      total += piece.length
      yield piece
    }
  }
  return { bytes: pass(), count: () => total }
}

/** Under its name when it is complete, so that half an archive never has it. */
async function toFile(bytes: AsyncIterable<Uint8Array>, path: string, gzip: boolean): Promise<void> {
  const file = await NewFile.create(path, { replace: true })
  try {
    let at = 0
    await sent(bytes, gzip, async piece => {
      await file.storage.write(at, piece)
      at += piece.length
    })
    await file.publish(false)
  } catch (error) {
    await file.discard()
    throw error
  }
}

/** Hands on the archive, packed or as it is, piece by piece. */
async function sent(
  bytes: AsyncIterable<Uint8Array>,
  gzip: boolean,
  take: (piece: Uint8Array) => Promise<void>,
): Promise<void> {
  const pieces = async (source: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const piece of source) await take(piece)
  }
  if (gzip) await pipeline(bytes, createGzip(), pieces)
  else await pieces(bytes)
}
