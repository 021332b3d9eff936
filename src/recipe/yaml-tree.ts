import type { Document, LineCounter, Node } from 'yaml'
import type { Place, Problems } from './problem.ts'

/** A recipe is written by hand; a larger file is something else. */
const MAX_RECIPE_CHARACTERS = 1 << 17
/** YAML's aliases multiply what they stand for. */
const MAX_ALIASES = 100
const MAX_NODES = 20_000
const MAX_DEPTH = 20

/** A scalar. YAML's types are left out on purpose: `no` is the text no, `0644` keeps its zero. */
export interface YamlText {
  readonly kind: 'text'
  readonly text: string
  readonly place: Place
  /** The place of a character of the text; that of its beginning where the YAML writes it differently. */
  at(index: number): Place
}

export interface YamlList {
  readonly kind: 'list'
  readonly items: readonly YamlNode[]
  readonly place: Place
}

export interface YamlEntry {
  readonly key: string
  readonly keyPlace: Place
  readonly value: YamlNode
}

export interface YamlMap {
  readonly kind: 'map'
  readonly entries: readonly YamlEntry[]
  readonly place: Place
}

export type YamlNode = YamlText | YamlList | YamlMap

/** YAML with the place of everything. `undefined` when it is not valid; what is wrong is told to `problems`. */
export async function parseYamlTree(
  text: string,
  file: string,
  problems: Problems,
): Promise<YamlNode | undefined> {
  const start: Place = { file, line: 1, column: 1 }
  if (text.length > MAX_RECIPE_CHARACTERS) {
    problems.error(start, `${text.length} characters; a recipe has at most ${MAX_RECIPE_CHARACTERS}`)
    return undefined
  }
  const yaml = await import('yaml')
  const lines = new yaml.LineCounter()
  let document: Document.Parsed
  try {
    document = yaml.parseDocument(text, {
      schema: 'failsafe',
      uniqueKeys: false,
      prettyErrors: false,
      lineCounter: lines,
    })
  } catch (error) {
    // The parser recurses: lists in lists in lists end its stack.
    problems.error(start, `not readable as YAML: ${error instanceof Error ? error.message : ''}`)
    return undefined
  }
  const found = [...document.errors, ...document.warnings]
  for (const { pos, message } of found)
    problems.error(placeOf(file, lines, pos[0]), `YAML: ${firstLine(message)}`)
  if (found.length > 0) return undefined
  const reader = new TreeReader(yaml, document, text, file, lines, problems)
  return reader.read()
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? ''
}

function placeOf(file: string, lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset)
  return { file, line: Math.max(line, 1), column: Math.max(col, 1) }
}

/** Refuses the rest of a file whose problem was told already. */
class Refused extends Error {}

class TreeReader {
  readonly #yaml: typeof import('yaml')
  readonly #document: Document.Parsed
  readonly #source: string
  readonly #file: string
  readonly #lines: LineCounter
  readonly #problems: Problems
  #nodes = 0
  #aliases = 0

  constructor(
    yaml: typeof import('yaml'),
    document: Document.Parsed,
    source: string,
    file: string,
    lines: LineCounter,
    problems: Problems,
  ) {
    this.#yaml = yaml
    this.#document = document
    this.#source = source
    this.#file = file
    this.#lines = lines
    this.#problems = problems
  }

  read(): YamlNode | undefined {
    try {
      return this.#node(this.#document.contents, 0, 0)
    } catch (error) {
      if (error instanceof Refused) return undefined
      throw error
    }
  }

  #refuse(offset: number, message: string): never {
    this.#problems.error(this.#place(offset), message)
    throw new Refused()
  }

  #place(offset: number): Place {
    return placeOf(this.#file, this.#lines, offset)
  }

  #node(value: unknown, depth: number, parentOffset: number): YamlNode {
    const { isAlias, isMap, isNode, isScalar, isSeq } = this.#yaml
    const offset = isNode(value) ? (value.range?.[0] ?? parentOffset) : parentOffset
    if (++this.#nodes > MAX_NODES) this.#refuse(offset, `more than ${MAX_NODES} values, aliases counted`)
    if (depth > MAX_DEPTH) this.#refuse(offset, `more than ${MAX_DEPTH} levels deep`)
    if (isAlias(value)) {
      if (++this.#aliases > MAX_ALIASES) this.#refuse(offset, `more than ${MAX_ALIASES} aliases`)
      const target = value.resolve(this.#document)
      if (target === undefined) this.#refuse(offset, `no anchor &${value.source}`)
      return this.#node(target, depth + 1, offset)
    }
    if (isMap(value)) {
      const entries: YamlEntry[] = []
      const first = new Map<string, Place>()
      for (const pair of value.items) {
        const keyOffset = isNode(pair.key) ? (pair.key.range?.[0] ?? offset) : offset
        const keyPlace = this.#place(keyOffset)
        if (!isScalar(pair.key)) this.#refuse(keyOffset, 'a key must be a word')
        const key = String(pair.key.value ?? '')
        const before = first.get(key)
        if (before) this.#problems.error(keyPlace, `"${key}" stands here twice, first on line ${before.line}`)
        else first.set(key, keyPlace)
        entries.push({ key, keyPlace, value: this.#node(pair.value, depth + 1, keyOffset) })
      }
      return { kind: 'map', entries, place: this.#place(offset) }
    }
    if (isSeq(value))
      return {
        kind: 'list',
        items: value.items.map(item => this.#node(item, depth + 1, offset)),
        place: this.#place(offset),
      }
    return this.#text(isScalar(value) ? value : undefined, offset)
  }

  #text(node: (Node & { value: unknown }) | undefined, offset: number): YamlText {
    // A tag makes something else of a text, as !!binary does.
    if (node && typeof node.value !== 'string')
      this.#refuse(offset, 'only texts, lists and mappings are expected')
    const text = typeof node?.value === 'string' ? node.value : ''
    const [from, to] = node?.range ?? [offset, offset]
    const raw = this.#source.slice(from, to)
    const shift = raw === text ? 0 : /^(["']).*\1$/s.test(raw) && raw.slice(1, -1) === text ? 1 : undefined
    return {
      kind: 'text',
      text,
      place: this.#place(offset),
      at: index => this.#place(shift === undefined ? offset : from + shift + index),
    }
  }
}
