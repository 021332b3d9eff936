import type { CreateQcow2Options } from '../image/qcow2/create.ts'
import { UsageError } from './errors.ts'
import { sizeOf } from './sizes.ts'

/** What a new qcow2 image is to be, apart from its size and its backing file. */
export type Qcow2Settings = Omit<CreateQcow2Options, 'size' | 'backingFile' | 'backingFormat'>

export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full'

/** What the lists of `-o` say of a new image. */
export interface ImageSettings {
  readonly qcow2: Qcow2Settings
  readonly backingFile?: string
  readonly backingFormat?: string
  readonly preallocation?: Preallocation
  readonly size?: number
}

/** Collects every use of an option that may be repeated. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value]
}

/**
 * The options of several `-o key=value,…`, where the last of a name counts. A comma in a value is doubled, and a name alone
 * means `on`, as with qemu-img.
 */
export function parseOptionLists(lists: readonly string[]): Map<string, string> {
  const options = new Map<string, string>()
  for (const list of lists)
    for (const item of list.replaceAll(',,', '\0').split(',')) {
      const text = item.replaceAll('\0', ',')
      const equals = text.indexOf('=')
      const name = equals < 0 ? text : text.slice(0, equals)
      if (name === '') throw new UsageError(`-o ${list}: expected NAME=VALUE,…`)
      options.set(name.replaceAll('-', '_'), equals < 0 ? 'on' : text.slice(equals + 1))
    }
  return options
}

const REFUSED: Readonly<Record<string, string>> = {
  data_file: 'an image with an external data file is read and written, but not made',
  data_file_raw: 'an image with an external data file is read and written, but not made',
  encryption: 'encrypted images are neither read nor made',
  nocow: 'Node.js cannot set the attributes of a file; use chattr +C on the folder',
  extent_size_hint: 'Node.js cannot set the attributes of a file',
}

const PREALLOCATIONS: readonly Preallocation[] = ['off', 'metadata', 'falloc', 'full']

/** The settings that options name. Errors: `UsageError` for an unknown name or a value that is none. */
export function imageSettings(
  options: ReadonlyMap<string, string>,
  format: 'raw' | 'qcow2',
  preallocations: readonly Preallocation[] = PREALLOCATIONS,
): ImageSettings {
  type Writable<T> = { -readonly [K in keyof T]: T[K] }
  const qcow2: Writable<Qcow2Settings> = {}
  const settings: Writable<ImageSettings> = { qcow2 }
  for (const [name, value] of options) {
    const expected = (what: string): UsageError => new UsageError(`-o ${name}=${value}: expected ${what}`)
    if (name === 'size') {
      const size = sizeOf(value)
      if (size === undefined) throw expected('a size such as 3G')
      settings.size = size
      continue
    }
    if (name === 'preallocation') {
      const found = preallocations.find(known => known === value)
      if (found === undefined || (found === 'metadata' && format === 'raw'))
        throw expected(preallocations.filter(known => format !== 'raw' || known !== 'metadata').join(', '))
      settings.preallocation = found
      continue
    }
    const refused = REFUSED[name.startsWith('encrypt.') ? 'encryption' : name]
    if (refused !== undefined) throw new UsageError(`-o ${name}: ${refused}`)
    if (format === 'raw') throw new UsageError(`-o ${name}: a raw image has no such option`)
    switch (name) {
      case 'cluster_size':
        qcow2.clusterSize = sizeOf(value) ?? fail(expected('a size such as 64k'))
        break
      case 'compat':
        if (value === '0.10' || value === 'v2') qcow2.version = 2
        else if (value === '1.1' || value === 'v3') qcow2.version = 3
        else throw expected('0.10 (v2) or 1.1 (v3)')
        break
      case 'refcount_bits':
        if (!/^\d{1,2}$/.test(value)) throw expected('1, 2, 4, 8, 16, 32 or 64')
        qcow2.refcountBits = Number(value)
        break
      case 'lazy_refcounts':
        qcow2.lazyRefcounts = onOff(value) ?? fail(expected('on or off'))
        break
      case 'extended_l2':
        qcow2.extendedL2 = onOff(value) ?? fail(expected('on or off'))
        break
      case 'compression_type':
        qcow2.compressionType = compressionType(value)
        break
      case 'backing_file':
        settings.backingFile = value
        break
      case 'backing_fmt':
        settings.backingFormat = value
        break
      default:
        throw new UsageError(
          `-o ${name}: no such option; there are cluster_size, compat, refcount_bits, lazy_refcounts, extended_l2, ` +
            'compression_type, backing_file, backing_fmt, preallocation and size',
        )
    }
  }
  return settings
}

export function compressionType(value: string): 'zlib' | 'zstd' {
  if (value !== 'zlib' && value !== 'zstd')
    throw new UsageError(`"${value}" is no compression; expected zlib or zstd`)
  return value
}

/** As QAPI reads a truth value. */
function onOff(value: string): boolean | undefined {
  if (['on', 'yes', 'true', 'y'].includes(value)) return true
  if (['off', 'no', 'false', 'n'].includes(value)) return false
  return undefined
}

function fail(error: Error): never {
  throw error
}

/**
 * The format of an image to be made. Raw where nothing tells, as with qemu-img; but nobody wants a raw image that is called
 * `disk.qcow2`.
 */
export function targetFormat(option: string, value: string | undefined, path: string): 'raw' | 'qcow2' {
  if (value !== undefined) return formatOf(option, value)
  return /\.qcow2$/i.test(path) ? 'qcow2' : 'raw'
}

/** A format as `-f`, `-O` and `-F` name it. */
export function formatOf(option: string, value: string): 'raw' | 'qcow2' {
  if (value !== 'raw' && value !== 'qcow2')
    throw new UsageError(`${option} is ${value}; drydisk reads and writes raw and qcow2`)
  return value
}
