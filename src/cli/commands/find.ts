import type { Command } from 'commander'
import { printable, toBytes } from '../../bytes/names.ts'
import type { FileType } from '../../filesystem/filesystem.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { type FindOptions, type Found, findFiles } from '../../operations/find.ts'
import { AlreadyReported, describe, UsageError } from '../errors.ts'
import { longLine, ownerNames } from '../long-listing.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { isoTime, jsonPath, print, printJson, warn } from '../output.ts'
import { readGuest } from '../session.ts'
import { sizeOf } from '../sizes.ts'
import { imageAndPaths } from '../target.ts'

interface FindCommandOptions extends ImageOptions {
  readonly name?: readonly string[]
  readonly path?: readonly string[]
  readonly type?: string
  readonly size?: readonly string[]
  readonly user?: string
  readonly group?: string
  readonly perm?: string
  readonly links?: string
  readonly newer?: string
  readonly older?: string
  readonly empty?: boolean
  readonly maxdepth?: string
  readonly mindepth?: string
  readonly xdev?: boolean
  readonly long?: boolean
  readonly print0?: boolean
}

const several = (value: string, before: readonly string[] = []): readonly string[] => [...before, value]

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image, or IMAGE:PATH')
    .argument('[paths...]', 'where to look; / when left out')
    .option('--name <glob>', 'the last name matches; several: one of them does', several)
    .option('--path <glob>', 'the whole path matches, * slashes too; several: one of them does', several)
    .option(
      '--type <letters>',
      'f file, d directory, l symlink, b, c devices, p fifo, s socket; several: f,l',
    )
    .option(
      '--size <size>',
      '4k exactly, +4k more, -4k less; without a unit in bytes; may be given twice',
      several,
    )
    .option('--user <user>', 'the owner, by name in the guest or by number')
    .option('--group <group>', 'the group, by name in the guest or by number')
    .option('--perm <mode>', 'octal: 0644 exactly these bits, -4000 all of these, /6000 any of these')
    .option('--links <count>', 'so many names or more')
    .option('--newer <time>', 'changed after that: 2026-01-31, 2026-01-31T12:00:00Z, or 7d, 12h before now')
    .option('--older <time>', 'changed before that')
    .option('--empty', 'files of 0 bytes, directories with nothing in them')
    .option('--mindepth <levels>', 'at least so far below the path')
    .option('--maxdepth <levels>', 'at most so far below the path')
    .option('--xdev', 'stay on the filesystem of the path')
    .option('-l, --long', 'as ls -l')
    .option('-0, --print0', 'names as they are, each ended by a NUL byte')
    .addHelpText(
      'after',
      `
All that is asked for has to hold. Symlinks are not followed. A * in a name matches a leading dot too.
With --json: {"files": [{"path", "type", "mode", "uid", "gid", "nlink", "size", "mtime", "ino"}], "errors": […]}.

Examples:
  drydisk find disk.qcow2 /etc --name '*.conf' --newer 30d
  drydisk find disk.qcow2 --type f --perm /6000 -l
  drydisk find -0 disk.qcow2:/var/log --type f --size +10M | xargs -0 -n1 echo`,
    )
    .action(async (_image: string, _paths: string[], options: FindCommandOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      const tests = testsOf(options)
      const all = await readGuest(image, options, async ({ fs }) =>
        find(fs, paths.length > 0 ? paths : ['/'], { ...tests, ...(await ownersOf(fs, options)) }, options),
      )
      if (!all) throw new AlreadyReported()
    })
}

/** Prints what is found as it is found. @returns false where something could not be looked at. */
async function find(
  fs: GuestFs,
  paths: readonly string[],
  tests: FindOptions,
  options: FindCommandOptions,
): Promise<boolean> {
  const names = options.long && !options.json ? await ownerNames(fs) : undefined
  const files: unknown[] = []
  const errors: { path: string; code: string; message: string }[] = []
  const tell = (path: Uint8Array, error: unknown): void => {
    const { code, message } = describe(error)
    if (code === 'ERR_INTERNAL') throw error
    errors.push({ path: printable(path), code, message })
    if (!options.json) warn(message)
  }
  let output: (string | Uint8Array)[] = []
  const flush = async (): Promise<void> => {
    const parts = output.map(part => (typeof part === 'string' ? toBytes(part) : part))
    output = []
    if (parts.length > 0) await print(Buffer.concat(parts))
  }
  for (const start of paths)
    try {
      for await (const found of findFiles(fs, start, { ...tests, onError: tell })) {
        if (options.json) files.push(asJson(found))
        else if (options.print0) output.push(found.path, new Uint8Array(1))
        else if (options.long)
          output.push(`${longLine(found.path, found.stats, await targetOf(fs, found), names)}\n`)
        else output.push(`${printable(found.path)}\n`)
        if (output.length >= 1000) await flush()
      }
    } catch (error) {
      tell(toBytes(start), error)
    }
  if (options.json) await printJson({ files, errors })
  else await flush()
  return errors.length === 0
}

async function targetOf(fs: GuestFs, { path, stats }: Found): Promise<Uint8Array | undefined> {
  return stats.isSymbolicLink() ? fs.readlink(path) : undefined
}

function asJson({ path, stats }: Found): unknown {
  return {
    ...jsonPath(path),
    type: stats.type,
    mode: (stats.mode & 0o7777).toString(8).padStart(4, '0'),
    uid: stats.uid,
    gid: stats.gid,
    nlink: stats.nlink,
    size: stats.size,
    mtime: isoTime(stats.mtimeNs),
    ino: stats.ino,
  }
}

const TYPES: Readonly<Record<string, FileType>> = {
  f: 'file',
  d: 'directory',
  l: 'symlink',
  b: 'block-device',
  c: 'character-device',
  p: 'fifo',
  s: 'socket',
}

function testsOf(options: FindCommandOptions): FindOptions {
  const { name, path, newer, older, links, mindepth, maxdepth } = options
  return {
    ...(name === undefined ? {} : { names: name.map(toBytes) }),
    ...(path === undefined ? {} : { paths: path.map(toBytes) }),
    ...(options.type === undefined ? {} : { types: options.type.split(',').map(typeOf) }),
    ...sizeTests(options.size ?? []),
    ...(options.perm === undefined ? {} : { mode: modeOf(options.perm) }),
    ...(links === undefined ? {} : { minLinks: countOf(links, 'links') }),
    ...(newer === undefined ? {} : { newerThanNs: timeOf(newer) }),
    ...(older === undefined ? {} : { olderThanNs: timeOf(older) }),
    ...(options.empty ? { empty: true } : {}),
    ...(mindepth === undefined ? {} : { minDepth: countOf(mindepth, 'mindepth') }),
    ...(maxdepth === undefined ? {} : { maxDepth: countOf(maxdepth, 'maxdepth') }),
    ...(options.xdev ? { oneFileSystem: true } : {}),
  }
}

function typeOf(letter: string): FileType {
  const type = TYPES[letter]
  if (type === undefined)
    throw new UsageError(`--type: "${letter}" is none of ${Object.keys(TYPES).join(', ')}`)
  return type
}

function sizeTests(sizes: readonly string[]): Pick<FindOptions, 'minSize' | 'maxSize'> {
  const tests: { minSize?: number; maxSize?: number } = {}
  for (const text of sizes) {
    const [, sign, number = ''] = /^([+-]?)(.*)$/s.exec(text) ?? []
    // find(1) has c for bytes.
    const size = sizeOf(number.replace(/c$/, ''))
    if (size === undefined) throw new UsageError(`--size: "${text}" is not a size such as +10M, -4k or 512`)
    if (sign !== '-') tests.minSize = sign === '+' ? size + 1 : size
    if (sign !== '+') tests.maxSize = sign === '-' ? size - 1 : size
  }
  return tests
}

function modeOf(text: string): NonNullable<FindOptions['mode']> {
  const [, sign, digits] = /^([-/]?)([0-7]{1,5})$/.exec(text) ?? []
  if (digits === undefined)
    throw new UsageError(`--perm: "${text}" is not an octal mode such as 0644, -4000 or /6000`)
  const match = sign === '-' ? 'all' : sign === '/' ? 'any' : 'exact'
  return { bits: Number.parseInt(digits, 8), match }
}

function countOf(text: string, option: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${option}: "${text}" is not a whole number`)
  return Number(text)
}

const UNITS: Readonly<Record<string, number>> = { m: 60, h: 3600, d: 86_400, w: 604_800 }

function timeOf(text: string): bigint {
  const [, count, unit = ''] = /^(\d{1,6})([mhdw])$/.exec(text) ?? []
  const ms = count === undefined ? Date.parse(text) : Date.now() - Number(count) * (UNITS[unit] ?? 0) * 1000
  if (Number.isNaN(ms))
    throw new UsageError(`"${text}" is not a time such as 2026-01-31, 2026-01-31T12:00:00Z or 7d`)
  return BigInt(Math.round(ms)) * 1_000_000n
}

async function ownersOf(fs: GuestFs, { user, group }: FindCommandOptions): Promise<FindOptions> {
  if (user === undefined && group === undefined) return {}
  const { users, groups } = await ownerNames(fs)
  const idOf = (name: string, known: ReadonlyMap<number, string>, what: string): number => {
    for (const [id, one] of known) if (one === name) return id
    if (/^\d{1,10}$/.test(name)) return Number(name)
    throw new UsageError(`the guest has no ${what} "${name}"`)
  }
  return {
    ...(user === undefined ? {} : { uid: idOf(user, users, 'user') }),
    ...(group === undefined ? {} : { gid: idOf(group, groups, 'group') }),
  }
}
