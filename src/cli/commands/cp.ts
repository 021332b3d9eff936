import { statSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import type { Command } from 'commander'
import { printable, toBytes } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { childPath, isDot, isDotDot, splitPath } from '../../guest/guest-path.ts'
import { hostSource } from '../../library/host-source.ts'
import type { CopyCounts } from '../../operations/copy-tree.ts'
import type { OperationReport } from '../../operations/operation.ts'
import { CopyOut } from '../copy-out.ts'
import { reportEdit } from '../edit-report.ts'
import { AlreadyReported, UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { printJson, warn } from '../output.ts'
import { editGuest, readGuest } from '../session.ts'
import { type Location, parseLocation } from '../target.ts'

interface CpOptions extends WriteOptions {
  readonly archive?: boolean
  readonly followLink?: boolean
}

export function configure(command: Command): void {
  writeOptions(command)
    .usage('[options] FROM... TO')
    .argument('[paths...]', 'PATH on the host, or IMAGE:PATH; the last is where it goes')
    .option('--archive', 'keep owners and times (into an image), owners and setuid bits (out of it, as root)')
    .option('-L, --follow-link', 'follow a source that is a symlink')
    .option('-r, --recursive', 'taken for granted: directories are copied with all that is in them')
    .addHelpText(
      'after',
      `
One side is in an image. Into an existing directory a source goes under its own name; a source that ends in /. gives what
is in it. What is made in an image belongs to root; a file that is there keeps owner and mode. Out of an image, modes and
times are kept, holes stay holes, and nothing is ever written outside the target, whatever the names and links in the
image are. With --json: out of an image, {"image", "from", "to", "copied", "errors": […]}; into one, as customize.

Examples:
  drydisk cp ./motd disk.qcow2:/etc/motd
  drydisk cp disk.qcow2:/var/log ./logs
  drydisk cp --archive ./tree/. disk.qcow2:/srv`,
    )
    .action(async (words: string[], options: CpOptions) => {
      if (words.length < 2) throw new UsageError('copy what where? Name one or more sources, then the target')
      const locate = (word: string): Location =>
        options.add !== undefined && word.startsWith(':')
          ? { image: options.add, path: word.slice(1) || '/' }
          : parseLocation(word)
      const to = locate(words.at(-1) ?? '')
      const from = words.slice(0, -1).map(locate)
      const images = new Set(from.map(location => location.image))
      const [image] = images
      if (images.size > 1) throw new UsageError('all sources are to be on the host, or all in one image')
      if (image === undefined && to.image === undefined)
        throw new UsageError(
          `neither side is in an image: name it as IMAGE:PATH, where IMAGE is a file (is ${printable(words.at(-1) ?? '')} misspelt?)`,
        )
      if (image !== undefined && to.image !== undefined)
        throw new UsageError('both sides are in an image: copy to the host first')
      const paths = from.map(location => location.path)
      if (to.image !== undefined) await copyIn(to.image, paths, to.path, options)
      else if (image !== undefined) await copyOut(image, paths, to.path, options)
    })
}

async function copyIn(
  image: string,
  sources: readonly string[],
  target: string,
  options: CpOptions,
): Promise<void> {
  const { copyInto } = await import('../../operations/copy-tree.ts')
  const { writeFromSource } = await import('../../operations/source-tree.ts')
  await editGuest(
    image,
    options,
    async fs => {
      const changes: OperationReport['changes'][number][] = []
      const firstNames = new Map<string, Uint8Array>()
      for (const source of sources) {
        const counts: CopyCounts = { created: 0, changed: 0, firstNames }
        const into = await targetOf(fs, target, sources.length > 1)
        const contents = /(^|\/)\.$/.test(source)
        const name = toBytes(basename(resolve(source)))
        const node = await hostSource(Buffer.from(source), name, {
          archive: options.archive ?? false,
          follow: options.followLink ?? false,
        })
        const isTree = node.content.type === 'directory'
        if (!isTree && target.endsWith('/') && !into.isDirectory)
          throw new DrydiskError('ENOTDIR', `${printable(into.path)} is to be a directory that exists`, {
            path: target,
          })
        const path = into.isDirectory && !(contents && isTree) ? childPath(into.path, name) : into.path
        const existing = await fs.stat(path).catch(() => undefined)
        if (node.content.type === 'file' && existing?.isFile() && !options.archive) {
          const result = await writeFromSource(fs, path, node.content.source)
          if (result !== 'same') counts.changed++
        } else await copyInto(fs, path, node, counts)
        const after = `${counts.created} created, ${counts.changed} changed`
        if (counts.created + counts.changed > 0)
          changes.push({ setting: source, before: null, after, file: printable(path) })
      }
      return [{ operation: 'cp', changes, warnings: [] }]
    },
    (reports, recorder) => reportEdit(image, options, reports, recorder),
  )
}

async function targetOf(
  fs: GuestFs,
  target: string,
  several: boolean,
): Promise<{ path: Uint8Array; isDirectory: boolean }> {
  const path = toBytes(target.startsWith('/') ? target : `/${target}`)
  const isDirectory = await fs.stat(path).then(
    stats => stats.isDirectory(),
    () => false,
  )
  if (several && !isDirectory)
    throw new DrydiskError('ENOTDIR', `${printable(path)} is to be a directory that exists`, { path: target })
  return { path, isDirectory }
}

async function copyOut(
  image: string,
  sources: readonly string[],
  target: string,
  options: CpOptions,
): Promise<void> {
  const errors: { path: string; code: string; message: string }[] = []
  const problem = (path: Uint8Array, code: string, message: string) => {
    errors.push({ path: printable(path), code, message })
    if (!options.json) warn(message)
  }
  let isDirectory = false
  try {
    isDirectory = statSync(target).isDirectory()
  } catch {
    // It will be made.
  }
  if (!isDirectory && (sources.length > 1 || target.endsWith('/')))
    throw new DrydiskError('ENOTDIR', `${printable(target)} is to be a directory that exists`, {
      path: target,
    })
  const copied = await readGuest(image, options, async ({ fs }) => {
    const copy = new CopyOut(fs, { archive: options.archive ?? false, problem })
    for (const source of sources) {
      const path = options.followLink ? await fs.realpath(source) : toBytes(source)
      const own = splitPath(source).names.at(-1)
      // "/", "." and ".." have no name of their own: what is in them goes straight into the target.
      const under = isDirectory && own && !isDot(own) && !isDotDot(own)
      const to = under ? Buffer.concat([Buffer.from(`${target}/`), own]) : Buffer.from(target)
      await copy.copy(path, to, !under)
    }
    return copy.copied
  })
  if (options.json) await printJson({ image, from: sources, to: target, copied, errors })
  if (errors.length > 0) throw new AlreadyReported()
}
