import { DrydiskError } from '../errors.ts'
import { quoteStyle, readWord, renderWord, type ShellWord, type WordPiece } from './shell-words.ts'
import { appendLine, insertLines, joinLines, lineNumberAt, replaceRange, splitLines } from './text.ts'

/**
 * Files of shell assignments (/etc/default/*, /etc/sysconfig/*): parsed as a shell would, never run. Only top-level
 * assignments count; one inside `if`, a function, or after `&&` is conditional.
 */
export interface Assignment {
  readonly name: string
  readonly operator: '=' | '+='
  /** Of the whole `NAME=word`. */
  readonly start: number
  readonly end: number
  readonly word: ShellWord
  /** 1-based. */
  readonly line: number
  readonly conditional: boolean
}

const OPENING = new Set(['if', 'while', 'until', 'for', 'case', 'select', '{'])
const CLOSING = new Set(['fi', 'done', 'esac', '}'])
/** After these a new command begins. */
const CONTINUING = new Set([
  'then',
  'else',
  'elif',
  'do',
  '!',
  'if',
  'while',
  'until',
  '{',
  'fi',
  'done',
  'esac',
  '}',
])
const DECLARING = new Set(['export', 'readonly', 'declare', 'typeset', 'local'])

/** Every assignment of a file, in order. An unclosed quote is `ERR_CORRUPT`. */
export function parseAssignments(text: string): Assignment[] {
  const found: Assignment[] = []
  let pending: Assignment[] = []
  let otherWords = false
  let commandStart = true
  let conditionalNext = false
  const nesting: string[] = []
  let heredocs: string[] = []
  let at = 0
  const endCommand = () => {
    // `A=1 command` sets A for that command alone.
    if (!otherWords) found.push(...pending)
    pending = []
    otherWords = false
    commandStart = true
  }

  while (at < text.length) {
    const c = text[at] ?? ''
    if (c === ' ' || c === '\t' || c === '\r') at++
    else if (c === '\\' && /^\\\r?\n/.test(text.slice(at, at + 3))) at = text.indexOf('\n', at) + 1
    else if (c === '#') {
      const end = text.indexOf('\n', at)
      at = end < 0 ? text.length : end
    } else if (c === '\n') {
      endCommand()
      conditionalNext = false
      at++
      for (const delimiter of heredocs) at = skipHeredoc(text, at, delimiter)
      heredocs = []
    } else if (';&|()'.includes(c)) {
      endCommand()
      conditionalNext = text.startsWith('&&', at) || text.startsWith('||', at)
      if (c === '(') nesting.push('(')
      if (c === ')' && nesting[nesting.length - 1] === '(') nesting.pop()
      at += conditionalNext ? 2 : 1
    } else if (c === '<' || c === '>') {
      const heredoc = /^<<-?\s*(['"]?)(\w+)\1/.exec(text.slice(at, at + 100))
      if (heredoc && !text.startsWith('<<<', at)) heredocs.push(heredoc[2] ?? '')
      at += heredoc ? heredoc[0].length : 1
    } else {
      const head = /^([A-Za-z_]\w*)(\+?=)/.exec(text.slice(at, at + 300))
      if (head && (commandStart || pending.length > 0) && !otherWords) {
        const valueAt = at + head[0].length
        const word = text[valueAt] === '(' ? readArray(text, valueAt) : readWord(text, valueAt)
        pending.push({
          name: head[1] ?? '',
          operator: head[2] === '+=' ? '+=' : '=',
          start: at,
          end: word.end,
          word,
          line: lineNumberAt(text, at),
          conditional: nesting.length > 0 || conditionalNext,
        })
        at = word.end
        continue
      }
      const word = readWord(text, at)
      // A lone character that starts no word, such as a stray carriage return, must not stop the scan.
      const source = text.slice(at, Math.max(word.end, at + 1))
      at = Math.max(word.end, at + 1)
      if (!commandStart) {
        otherWords = true
        continue
      }
      if (OPENING.has(source)) nesting.push(source)
      if (CLOSING.has(source)) nesting.pop()
      if (CONTINUING.has(source) || DECLARING.has(source)) commandStart = true
      else {
        commandStart = false
        otherWords = true
      }
    }
  }
  endCommand()
  return found
}

function skipHeredoc(text: string, from: number, delimiter: string): number {
  let at = from
  while (at < text.length) {
    const newline = text.indexOf('\n', at)
    const end = newline < 0 ? text.length : newline
    const line = text.slice(at, end).replace(/^\t+|\r$/g, '')
    at = Math.min(end + 1, text.length)
    if (line === delimiter) return at
  }
  return at
}

/** `NAME=( … )`: bash's arrays, taken whole as an expansion. */
function readArray(text: string, start: number): ShellWord {
  const end = readWord(`$${text.slice(start)}`, 0).end - 1 + start
  return { start, end, pieces: [{ kind: 'expansion', source: text.slice(start, end), quoted: false }] }
}

/** What a variable holds once the files before have been sourced. */
export interface ShellValue {
  /** Expansions that are not known appear as their source. */
  readonly text: string
  /** Whether `text` is certain: no command substitution, no unknown expansion, no condition. */
  readonly literal: boolean
  readonly file: string
  readonly line: number
}

/** Variables of a shell, by name. */
export type ShellEnvironment = Map<string, ShellValue>

/** Sources a file into an environment, as far as that is possible without running anything. */
export function sourceInto(environment: ShellEnvironment, text: string, file: string): void {
  for (const assignment of parseAssignments(text)) {
    const before = environment.get(assignment.name)
    let literal = !assignment.conditional
    let value = assignment.operator === '+=' ? (before?.text ?? '') : ''
    if (assignment.operator === '+=' && before && !before.literal) literal = false
    for (const piece of assignment.word.pieces) {
      if (piece.kind === 'text') value += piece.text
      else {
        const expanded = expand(piece.source, environment)
        value += expanded?.text ?? piece.source
        if (!expanded?.literal) literal = false
      }
    }
    environment.set(assignment.name, { text: value, literal, file, line: assignment.line })
  }
}

function expand(
  written: string,
  environment: ShellEnvironment,
): { text: string; literal: boolean } | undefined {
  const source = written.replace(/\\\r?\n/g, '')
  const simple = /^\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})$/.exec(source)
  const name = simple?.[1] ?? simple?.[2]
  if (name !== undefined) return environment.get(name) ?? { text: '', literal: true }
  const fallback = /^\$\{([A-Za-z_]\w*):-([\w .,:/=-]*)\}$/.exec(source)
  if (!fallback) return undefined
  const value = environment.get(fallback[1] ?? '')
  return value && value.text !== '' ? value : { text: fallback[2] ?? '', literal: true }
}

/** The value of a variable after sourcing one file, or `undefined` where it is not set. */
export function getShellValue(text: string, name: string, file = ''): ShellValue | undefined {
  const environment: ShellEnvironment = new Map()
  sourceInto(environment, text, file)
  return environment.get(name)
}

/**
 * Sets a variable: in place of its last unconditional assignment, else after a commented-out one, else at the end. Quoting is
 * kept where it can hold the value. A file that sets it so already comes back unchanged.
 */
export function setShellValue(text: string, name: string, value: string): string {
  checkName(name)
  const present = getShellValue(text, name)
  if (present?.literal && present.text === value) return text
  const last = parseAssignments(text).findLast(a => a.name === name && !a.conditional)
  const pieces: WordPiece[] = value === '' ? [] : [{ kind: 'text', text: value }]
  if (last) {
    const style = quoteStyle(text.slice(last.word.start, last.word.end))
    return replaceRange(text, last.start, last.end, `${name}=${renderWord(pieces, style)}`)
  }
  const line = `${name}=${renderWord(pieces, 'bare')}`
  const lines = splitLines(text)
  const comment = lines.findLastIndex(l => new RegExp(`^\\s*#\\s*${name}=`).test(l.text))
  if (comment < 0) return appendLine(text, line)
  insertLines(lines, comment + 1, [line])
  return joinLines(lines)
}

/** Takes every top-level assignment of a variable out; a line that then holds nothing goes with it. */
export function unsetShellValue(text: string, name: string): string {
  let result = text
  for (const { start, end } of parseAssignments(text)
    .filter(a => a.name === name && !a.conditional)
    .reverse()) {
    const lineStart = result.lastIndexOf('\n', start - 1) + 1
    const newline = result.indexOf('\n', end)
    const lineEnd = newline < 0 ? result.length : newline + 1
    const around = result.slice(lineStart, start) + result.slice(end, lineEnd)
    result = /^\s*(export\s*)?;?\s*$/.test(around)
      ? replaceRange(result, lineStart, lineEnd, '')
      : replaceRange(result, start, end, '')
  }
  return result
}

/** Stands for the expansion with that index while a value is edited as text: Unicode's second private-use plane. */
const PLACEHOLDER = 0x10_0000
const PLACEHOLDERS = /[\u{100000}-\u{10FFFD}]/gu

/**
 * Edits the text of one assignment's value; its expansions stand in that text as single placeholder characters, and stay
 * what and where they are.
 */
export function editAssignment(
  text: string,
  assignment: Assignment,
  change: (value: string) => string,
): string {
  const expansions: WordPiece[] = []
  let template = ''
  for (const piece of assignment.word.pieces) {
    if (piece.kind === 'text') template += piece.text
    else {
      template += String.fromCodePoint(PLACEHOLDER + expansions.length)
      expansions.push(piece)
    }
  }
  const changed = change(template)
  if (changed === template) return text
  const pieces: WordPiece[] = []
  let at = 0
  for (const match of changed.matchAll(PLACEHOLDERS)) {
    if (match.index > at) pieces.push({ kind: 'text', text: changed.slice(at, match.index) })
    const expansion = expansions[(match[0].codePointAt(0) ?? 0) - PLACEHOLDER]
    pieces.push(expansion ?? { kind: 'text', text: match[0] })
    at = match.index + match[0].length
  }
  if (at < changed.length) pieces.push({ kind: 'text', text: changed.slice(at) })
  const style = quoteStyle(text.slice(assignment.word.start, assignment.word.end))
  return replaceRange(text, assignment.word.start, assignment.word.end, renderWord(pieces, style))
}

/** Whether an assignment builds on the variable's earlier value. */
export function refersToItself(assignment: Assignment): boolean {
  if (assignment.operator === '+=') return true
  return assignment.word.pieces.some(
    piece => piece.kind === 'expansion' && new RegExp(`\\$\\{?${assignment.name}\\b`).test(piece.source),
  )
}

function checkName(name: string): void {
  if (!/^[A-Za-z_]\w*$/.test(name))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `"${name}" is not a name of a shell variable`)
}
