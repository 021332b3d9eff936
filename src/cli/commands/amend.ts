import type { Command } from 'commander'
import { amendImage } from '../../image/amend.ts'
import type { AmendOptions } from '../../image/qcow2/amend.ts'
import { UsageError } from '../errors.ts'
import { collect, formatOf, parseOptionLists } from '../image-settings.ts'
import { print, printEvent } from '../output.ts'
import { withProgress } from '../progress.ts'
import { backingPolicy } from '../session.ts'
import { sizeOf } from '../sizes.ts'

interface Options {
  readonly option?: readonly string[]
  readonly format?: string
  readonly backing?: string
  readonly force?: boolean
  readonly progress?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
}

const HELP = `Amend options for 'qcow2':
  backing_file=<str>     - File name of the backing file (only what it is; see drydisk rebase)
  backing_fmt=<str>      - Format of the backing file (only what it is; see drydisk rebase)
  compat=<str>           - Version of the format: v2 (0.10) or v3 (1.1)
  data_file=<str>        - File name of the external data file
  data_file_raw=<bool>   - The data file by itself reads as the disk (can only be set to off)
  lazy_refcounts=<bool>  - Refcounts may be written late
  refcount_bits=<num>    - Width of a refcount in bits
  size=<size>            - Size of the disk; see drydisk resize for a smaller one
`

/** What qemu-img create has and nothing can amend. */
const ONLY_NEW = new Set([
  'cluster_size',
  'compression_type',
  'encryption',
  'extended_l2',
  'preallocation',
  'nocow',
  'extent_size_hint',
])

export function configure(command: Command): void {
  command
    .argument('[image]', 'the image')
    .option('-o, --option <list>', 'KEY=VALUE,…: compat, lazy_refcounts, … (-o help lists them)', collect)
    .option('-f, --format <format>', 'qcow2, which alone has something to amend')
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('-p, --progress', 'tell how far it is, also where standard error is no terminal')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
    .option('--json', 'print JSON')
    .option('-q, --quiet', 'print nothing but errors')
    .addHelpText(
      'after',
      `
Changes what a qcow2 image is, not what it holds; all of it at once.

${HELP}
compat=0.10 turns clusters of zeros into nothing or, over a backing file, into clusters that hold zeros. It needs
refcount_bits=16, and refuses by name what version 2 lacks.

With --json, one document a line: {"event": "progress", "operation", "done", "total"} and at last {"event": "result",
"filename", "options"}.

Examples:
  drydisk amend -o compat=1.1,lazy_refcounts=off disk.qcow2
  drydisk amend -o refcount_bits=64 disk.qcow2
  drydisk amend -o compat=0.10,refcount_bits=16 disk.qcow2`,
    )
    .action(async (image: string | undefined, options: Options) => {
      const lists = options.option ?? []
      if (options.format !== undefined && formatOf('-f', options.format) !== 'qcow2')
        throw new UsageError('-f is raw, and a raw image has nothing to amend')
      if (lists.some(list => /(^|,)(help|\?)(,|$)/.test(list))) {
        await print(HELP)
        return
      }
      if (image === undefined) throw new UsageError('which image? Name it behind the options')
      if (lists.length === 0)
        throw new UsageError('amend what? Say it with -o NAME=VALUE; -o help lists the names')
      const given = parseOptionLists(lists)
      const amended = amendOptions(given)
      await withProgress('amend', options, job =>
        amendImage(image, {
          ...amended,
          force: options.force ?? false,
          allowBacking: backingPolicy(options.backing),
          ...job,
        }),
      )
      if (options.json)
        await printEvent({ event: 'result', filename: image, options: Object.fromEntries(given) })
      else if (!options.quiet) await print(`${image}: amended\n`)
    })
}

function amendOptions(given: ReadonlyMap<string, string>): AmendOptions {
  type Writable<T> = { -readonly [K in keyof T]: T[K] }
  const options: Writable<AmendOptions> = {}
  for (const [name, value] of given) {
    const expected = (what: string): UsageError => new UsageError(`-o ${name}=${value}: expected ${what}`)
    const flag = (): boolean => {
      if (/^(on|yes|true|y)$/.test(value)) return true
      if (/^(off|no|false|n)$/.test(value)) return false
      throw expected('on or off')
    }
    if (name === 'compat') {
      if (value !== '0.10' && value !== 'v2' && value !== '1.1' && value !== 'v3')
        throw expected('0.10 (v2) or 1.1 (v3)')
      options.version = value === '0.10' || value === 'v2' ? 2 : 3
    } else if (name === 'lazy_refcounts') options.lazyRefcounts = flag()
    else if (name === 'refcount_bits') {
      if (!/^\d{1,2}$/.test(value)) throw expected('1, 2, 4, 8, 16, 32 or 64')
      options.refcountBits = Number(value)
    } else if (name === 'size') {
      const size = sizeOf(value)
      if (size === undefined) throw expected('a size such as 3G')
      options.size = size
    } else if (name === 'data_file') options.dataFile = value
    else if (name === 'data_file_raw') options.dataFileRaw = flag()
    else if (name === 'backing_file') options.backingFile = value
    else if (name === 'backing_fmt') options.backingFormat = value
    else if (ONLY_NEW.has(name))
      throw new UsageError(`-o ${name}: only a new image can be given this; use "drydisk convert"`)
    else if (name.startsWith('encrypt.'))
      throw new UsageError(`-o ${name}: encrypted images are neither read nor written`)
    else throw new UsageError(`-o ${name}: no such option; -o help lists those that there are`)
  }
  return options
}
