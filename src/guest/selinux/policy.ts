import { LruCache } from '../../bytes/lru-cache.ts'
import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../../filesystem/filesystem.ts'
import { applyAlias, type FileContext, type PathAlias } from './file-contexts.ts'
import { type Budget, Pattern } from './pattern.ts'
import { literalPrefix, parsePattern } from './pattern-syntax.ts'

/** A user's own tree adds some hundred lines to .homedirs. */
const MAX_ENTRIES = 200_000
/** Steps that matching may cost before the first path, and what each path adds: real policies need some hundreds for one. */
const FIRST_STEPS = 50e6
const STEPS_PER_PATH = 1e6
/** Candidates that are remembered, over all folders. */
const REMEMBERED = 1e6

/** The text of the files of a policy below contexts/files; one character per byte. */
export interface PolicyFiles {
  /** file_contexts, .homedirs and .local, in this order. */
  readonly contexts: readonly (readonly FileContext[])[]
  /** file_contexts.subs */
  readonly aliases: readonly PathAlias[]
  /** file_contexts.subs_dist */
  readonly distributionAliases: readonly PathAlias[]
}

interface Candidate {
  readonly entry: FileContext
  /** Later wins. */
  readonly order: number
  /** What every path that matches begins with. */
  readonly prefix: string
  /** `/usr/`: the first part of the path where the pattern spells it out; only paths below it are asked. */
  readonly stem: string | undefined
  /** From the first time that it is asked; `null`: not understood. */
  compiled?: Pattern | null
}

/** What a policy says of a path: a label, none, or something that is not understood and so not guessed. */
export type LabelAnswer =
  /** `user:role:type[:range]`, without the NUL byte that ends it on disk. */
  | { readonly kind: 'label'; readonly context: string }
  /** `<<none>>`, or nothing matches: the policy leaves this file alone. */
  | { readonly kind: 'none' }
  /** A line that may decide has a pattern that is not understood. */
  | { readonly kind: 'unknown'; readonly pattern: string }

/**
 * Which label a policy gives a path, by the rules of libselinux's label_file.c: aliases first, then lines without wildcards before
 * those with any, and of each kind the last that matches path and type.
 */
export class LabelPolicy {
  readonly #exact = new Map<string, Candidate[]>()
  /** By the folders that their prefix spells out. */
  readonly #byFolder = new Map<string, Candidate[]>()
  readonly #candidates = new LruCache<string, readonly Candidate[]>(REMEMBERED)
  readonly #files: PolicyFiles
  #steps = FIRST_STEPS
  readonly #budget: Budget = {
    spend: steps => {
      this.#steps -= steps
      if (this.#steps < 0)
        throw new DrydiskError(
          'ERR_UNSUPPORTED',
          'the SELinux policy of this guest takes too long to match; let the guest relabel itself with /.autorelabel',
        )
    },
  }

  constructor(files: PolicyFiles) {
    this.#files = files
    let order = 0
    for (const entries of files.contexts)
      for (const entry of entries) {
        if (++order > MAX_ENTRIES)
          throw new DrydiskError('ERR_UNSUPPORTED', `a SELinux policy of more than ${MAX_ENTRIES} lines`)
        this.#take(entry, order)
      }
  }

  /** Number of lines. */
  get size(): number {
    return this.#files.contexts.reduce((sum, entries) => sum + entries.length, 0)
  }

  #take(entry: FileContext, order: number): void {
    // What is not understood may match anything.
    const lost = entry.pattern.includes('|') && !parsePattern(entry.pattern)
    const { prefix, whole } = lost ? { prefix: '', whole: false } : literalPrefix(entry.pattern)
    const candidate = { entry, order, prefix, stem: stemOf(entry.pattern) }
    if (whole) put(this.#exact, prefix, candidate)
    else put(this.#byFolder, prefix.slice(0, prefix.lastIndexOf('/') + 1), candidate)
  }

  /** `path` is absolute, one character per byte, every symlink but a last one resolved. */
  lookup(path: string, type: FileType): LabelAnswer {
    this.#steps = Math.min(this.#steps + STEPS_PER_PATH, FIRST_STEPS)
    const key = this.#resolved(path)
    const exact = this.#exact.get(key)?.findLast(({ entry }) => fits(entry, type))
    if (exact) return answer(exact.entry)
    for (const candidate of this.#candidatesOf(key.slice(0, key.lastIndexOf('/') + 1))) {
      const { entry, prefix } = candidate
      if (!fits(entry, type) || !key.startsWith(prefix)) continue
      this.#budget.spend(1)
      if (candidate.compiled === undefined) {
        const node = parsePattern(entry.pattern)
        candidate.compiled = (node && Pattern.compile(node, this.#budget)) ?? null
      }
      if (!candidate.compiled) return { kind: 'unknown', pattern: entry.pattern }
      if (candidate.compiled.matches(key)) return answer(entry)
    }
    return { kind: 'none' }
  }

  #resolved(path: string): string {
    const clean = path.replace(/\/{2,}/g, '/').replace(/(.)\/$/, '$1')
    const own = applyAlias(this.#files.aliases, clean)
    return applyAlias(this.#files.distributionAliases, own ?? clean) ?? own ?? clean
  }

  /** What may match in a folder, the strongest first. */
  #candidatesOf(folder: string): readonly Candidate[] {
    const known = this.#candidates.get(folder)
    if (known) return known
    const found: Candidate[] = []
    for (let slash = -1; ; ) {
      const bucket = this.#byFolder.get(folder.slice(0, slash + 1)) ?? []
      this.#budget.spend(bucket.length)
      for (const candidate of bucket) if (mayMatchIn(folder, candidate)) found.push(candidate)
      slash = folder.indexOf('/', slash + 1)
      if (slash < 0) break
    }
    found.sort((a, b) => b.order - a.order)
    this.#candidates.set(folder, found, found.length + 1)
    return found
  }
}

function put(map: Map<string, Candidate[]>, key: string, candidate: Candidate): void {
  const present = map.get(key)
  if (present) present.push(candidate)
  else map.set(key, [candidate])
}

/** Whether a path in the folder, which ends in a slash, may be one that the pattern matches. */
function mayMatchIn(folder: string, { prefix, stem }: Candidate): boolean {
  return (folder.startsWith(prefix) || prefix.startsWith(folder)) && (!stem || folder.startsWith(stem))
}

function fits(entry: FileContext, type: FileType): boolean {
  return entry.type === undefined || entry.type === type
}

function answer(entry: FileContext): LabelAnswer {
  return entry.context === undefined ? { kind: 'none' } : { kind: 'label', context: entry.context }
}

/**
 * get_stem_from_spec() of libselinux. With a backslash in its stem a pattern matches nothing before libselinux 3.8, which mended that;
 * no policy has one.
 */
function stemOf(pattern: string): string | undefined {
  const slash = pattern.indexOf('/', 1)
  const stem = slash < 0 ? '' : pattern.slice(0, slash)
  return stem === '' || /[.^$?*+|[({\\]/.test(stem) ? undefined : `${stem}/`
}
