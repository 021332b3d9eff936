import { DrydiskError } from '../errors.ts'
import { accumulates, sshdKeyword } from './sshd-keywords.ts'
import { insertLines, joinLines, splitLines } from './text.ts'

/** How a set of configuration files is reached. */
export interface SshdFiles {
  /** The text of a file; `undefined` where it does not exist. */
  read(path: string): Promise<string | undefined>
  /** The files that match a glob(7) pattern, in byte order. */
  glob(pattern: string): Promise<string[]>
}

/** A directive of sshd_config(5), and the place where it stands. */
export interface SshdDirective {
  /** As written. */
  readonly keyword: string
  readonly args: readonly string[]
  readonly file: string
  /** 1-based. */
  readonly line: number
  /** The criteria of the Match block that it stands in, else `undefined`. */
  readonly match: string | undefined
}

/** sshd's own limit is SERVCONF_MAX_DEPTH, 16. */
const MAX_DEPTH = 16
const MAX_FILES = 1000
const MAX_PATTERNS = 1000
/** Linux, include/uapi/linux/limits.h */
const PATH_MAX = 4096
const MAX_DIRECTIVES = 100_000

/** A keyword and its arguments, as one line of sshd_config(5) has them. */
export interface SshdLine {
  readonly keyword: string
  readonly args: readonly string[]
}

/** One line: `undefined` for an empty one or a comment. An unclosed quote leaves the rest as one argument. */
export function parseSshdLine(line: string): SshdLine | undefined {
  const match =
    /^[ \t\f\r]*(?!#)"?([A-Za-z0-9]+)"?(?:[ \t]*=[ \t]*|[ \t]+|(?=")|$)((?:.*[^ \t\r\n\f])?)[ \t\r\n\f]*$/.exec(
      line,
    )
  return match ? { keyword: match[1] ?? '', args: splitArguments(match[2] ?? '') } : undefined
}

/** As sshd's argv_split: quotes of both kinds group, a backslash escapes a quote or itself, `#` starts a comment. */
function splitArguments(text: string): string[] {
  const args: string[] = []
  let at = 0
  while (at < text.length) {
    const c = text[at]
    if (c === ' ' || c === '\t') {
      at++
      continue
    }
    if (c === '#') break
    let arg = ''
    let quote = ''
    for (; at < text.length; at++) {
      const d = text[at] ?? ''
      const next = text[at + 1] ?? ''
      if (d === '\\' && (next === '"' || next === "'" || next === '\\' || (quote === '' && next === ' '))) {
        arg += next
        at++
      } else if (quote === '' && (d === ' ' || d === '\t')) break
      else if (quote === '' && (d === '"' || d === "'")) quote = d
      else if (quote !== '' && d === quote) quote = ''
      else arg += d
    }
    args.push(arg)
  }
  return args
}

/** Every directive in the order in which sshd meets it, with `Include` expanded where it stands. */
export async function resolveSshdConfig(main: string, files: SshdFiles): Promise<SshdDirective[]> {
  const found: SshdDirective[] = []
  let read = 0
  let patterns = 0
  const walk = async (path: string, match: string | undefined, depth: number): Promise<void> => {
    if (depth > MAX_DEPTH || ++read > MAX_FILES)
      throw new DrydiskError('ELOOP', `${path}: sshd configuration files include each other too deeply`, {
        path,
      })
    const text = await files.read(path)
    if (text === undefined) return
    // A Match block ends with its file; what is included inside of a block belongs to it.
    let block = match
    let line = 0
    for (const { text: source } of splitLines(text)) {
      line++
      const parsed = parseSshdLine(source)
      if (!parsed) continue
      const keyword = parsed.keyword.toLowerCase()
      if (keyword === 'match') block = combineMatch(match, parsed.args)
      else if (keyword === 'include')
        for (const pattern of parsed.args) {
          if (++patterns > MAX_PATTERNS)
            throw new DrydiskError('EFBIG', `${path}: more than ${MAX_PATTERNS} patterns to include`, {
              path,
            })
          // glob(3) finds nothing by a path that no system call would take.
          if (pattern.length > PATH_MAX) continue
          for (const included of await files.glob(pattern.startsWith('/') ? pattern : `/etc/ssh/${pattern}`))
            await walk(included, block, depth + 1)
        }
      else {
        if (found.length >= MAX_DIRECTIVES)
          throw new DrydiskError('EFBIG', `${path}: more than ${MAX_DIRECTIVES} sshd settings`, { path })
        found.push({ keyword: parsed.keyword, args: parsed.args, file: path, line, match: block })
      }
    }
  }
  await walk(main, undefined, 0)
  return found
}

function combineMatch(outer: string | undefined, args: readonly string[]): string {
  const own = args.join(' ')
  if (outer === undefined || isMatchAll(outer)) return own
  return isMatchAll(own) ? outer : `${outer} ${own}`
}

function isMatchAll(match: string | undefined): boolean {
  return match?.toLowerCase() === 'all'
}

/**
 * The directives that decide a keyword for a connection that no conditional Match block is about: the first one, or all of
 * them for a keyword that accumulates. A `Match all` block overrides what stands outside of blocks.
 */
export function decidingDirectives(directives: readonly SshdDirective[], keyword: string): SshdDirective[] {
  const name = sshdKeyword(keyword)
  const same = directives.filter(d => sshdKeyword(d.keyword) === name)
  const inAll = same.filter(d => isMatchAll(d.match))
  const candidates = inAll.length > 0 ? inAll : same.filter(d => d.match === undefined)
  return accumulates(keyword) ? candidates : candidates.slice(0, 1)
}

/** Those in conditional Match blocks, which override the rest for the connections they match. */
export function conditionalDirectives(
  directives: readonly SshdDirective[],
  keyword: string,
): SshdDirective[] {
  const name = sshdKeyword(keyword)
  return directives.filter(
    d => sshdKeyword(d.keyword) === name && d.match !== undefined && !isMatchAll(d.match),
  )
}

/** Whether a file includes a path like `/etc/ssh/sshd_config.d/00-x.conf`, outside of Match blocks. */
export function includesFolder(text: string, folder: string): boolean {
  for (const { text: source } of splitLines(text)) {
    const line = parseSshdLine(source)
    const keyword = line?.keyword.toLowerCase()
    if (keyword === 'match') return false
    if (
      keyword === 'include' &&
      line?.args.some(arg => absolute(arg) === `${folder}/*.conf` || absolute(arg) === `${folder}/*`)
    )
      return true
  }
  return false
}

function absolute(pattern: string): string {
  return pattern.startsWith('/') ? pattern : `/etc/ssh/${pattern}`
}

/**
 * Puts a setting into one file, before its first Match: in place of the first line of that keyword there, else after a
 * commented-out one, else at the end of that part. Further lines of the keyword in that part become comments.
 */
export function setInSshdFile(text: string, keyword: string, value: string): string {
  const lines = splitLines(text)
  const name = sshdKeyword(keyword)
  const parsed = lines.map(line => parseSshdLine(line.text))
  const firstMatch = parsed.findIndex(line => line?.keyword.toLowerCase() === 'match')
  const limit = firstMatch < 0 ? lines.length : firstMatch
  const wanted = `${keyword} ${value}`
  const own = parsed.flatMap((line, i) =>
    i < limit && line && sshdKeyword(line.keyword) === name ? [i] : [],
  )
  const [first, ...others] = own
  for (const i of others) commentOut(lines[i])
  if (first !== undefined) {
    const line = lines[first]
    if (line) line.text = (/^\s*/.exec(line.text)?.[0] ?? '') + wanted
    return joinLines(lines)
  }
  const comment = lines.findLastIndex(
    (line, i) => i < limit && new RegExp(`^\\s*#\\s*${keyword}\\b`, 'i').test(line.text),
  )
  // An Include above the place could set the keyword first; the caller looks at the effective value.
  if (comment >= 0) insertLines(lines, comment + 1, [wanted])
  else insertLines(lines, beforeBlock(lines, limit), [wanted])
  return joinLines(lines)
}

/** Past the comments and empty lines that belong to the Match after them. */
function beforeBlock(lines: readonly { text: string }[], match: number): number {
  if (match >= lines.length) return lines.length
  let at = match
  while (at > 0 && /^\s*#/.test(lines[at - 1]?.text ?? '')) at--
  return at
}

/** Replaces the value of the directive on one line, wherever it stands. */
export function replaceSshdLine(text: string, line: number, keyword: string, value: string): string {
  const lines = splitLines(text)
  const target = lines[line - 1]
  if (target) target.text = `${/^\s*/.exec(target.text)?.[0] ?? ''}${keyword} ${value}`
  return joinLines(lines)
}

/** Turns one line into a comment. */
export function commentOutSshdLine(text: string, line: number): string {
  const lines = splitLines(text)
  commentOut(lines[line - 1])
  return joinLines(lines)
}

function commentOut(line: { text: string } | undefined): void {
  if (line) line.text = `#${line.text}`
}
