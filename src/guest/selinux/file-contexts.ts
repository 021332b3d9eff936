import type { FileType } from '../../filesystem/filesystem.ts'

/** One line of file_contexts(5): `pattern [type] context`. */
export interface FileContext {
  readonly pattern: string
  /** `undefined`: files of every type. */
  readonly type: FileType | undefined
  /** `undefined`: `<<none>>`, the label is left as it is. */
  readonly context: string | undefined
  /** 1-based. */
  readonly line: number
}

/** string_to_mode() in libselinux's label_file.h. */
const TYPES: Readonly<Record<string, FileType>> = {
  '-b': 'block-device',
  '-c': 'character-device',
  '-d': 'directory',
  '-p': 'fifo',
  '-l': 'symlink',
  '-s': 'socket',
  '--': 'file',
}

/** A context is `user:role:type[:range]`; the kernel takes no more than a page of it. */
const MAX_CONTEXT = 4095

/**
 * Reads file_contexts, .homedirs or .local. Fields end at blanks; what follows the third is ignored, as read_spec_entries() of
 * libselinux does. `onBad` is told of each line that has no meaning; it is left out.
 */
export function parseFileContexts(
  text: string,
  onBad: (line: number) => void = () => undefined,
): FileContext[] {
  const entries: FileContext[] = []
  text.split('\n').forEach((raw, index) => {
    const fields = raw.trim().split(/\s+/)
    const [pattern = '', second, third] = fields
    if (pattern === '' || pattern.startsWith('#')) return
    const context = third ?? second
    const type = third === undefined ? undefined : TYPES[second ?? '']
    if (
      context === undefined ||
      (third !== undefined && !type) ||
      context.length > MAX_CONTEXT ||
      !/^[\x21-\x7e]+$/.test(pattern + context)
    )
      onBad(index + 1)
    else
      entries.push({ pattern, type, context: context === '<<none>>' ? undefined : context, line: index + 1 })
  })
  return entries
}

/** One line of .subs or .subs_dist: paths below `from` are looked up as if they were below `to`. */
export interface PathAlias {
  readonly from: string
  readonly to: string
}

/** The last line comes first: selabel_subs_init() of libselinux puts each before those that it has. */
export function parsePathAliases(text: string): PathAlias[] {
  const aliases: PathAlias[] = []
  for (const raw of text.split('\n')) {
    const [from = '', to] = raw.trim().split(/\s+/)
    if (from === '' || from.startsWith('#') || !to) continue
    aliases.unshift({ from, to })
  }
  return aliases
}

/** The path with the first alias that fits; `undefined` where none does (selabel_sub() of libselinux). */
export function applyAlias(aliases: readonly PathAlias[], path: string): string | undefined {
  for (const { from, to } of aliases) {
    if (!path.startsWith(from)) continue
    const rest = path.slice(from.length)
    if (rest === '') return to
    if (rest.startsWith('/')) return to === '/' ? rest : to + rest
  }
  return undefined
}
