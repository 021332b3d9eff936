import type { Document, Node, Pair, YAMLMap, YAMLSeq } from 'yaml'
import { DrydiskError } from '../errors.ts'
import { appendLine, lineEnding, lineNumberAt, replaceRange, splitLines } from './text.ts'

/**
 * Edits of YAML text that touch only the bytes of the value in question; comments, order and style of the rest stay. The
 * reading is YAML 1.1, as PyYAML (and so cloud-init) has it: `yes` is true.
 */
export interface YamlEditor {
  /** The document's value. `ERR_CORRUPT` names the line of a syntax error. */
  parse(text: string, name: string): unknown
  /** Sets the value at a path of keys; maps that are missing on the way are made. */
  set(text: string, path: readonly string[], value: unknown, name: string): string
  /** Adds an item at the end of the list at a path. */
  addItem(text: string, path: readonly string[], item: unknown, name: string): string
  /** Takes the items at these indices out of the list at a path. */
  removeItems(text: string, path: readonly string[], indices: readonly number[], name: string): string
  /** Takes the key at a path out; a map that then is empty goes with its own key. */
  unset(text: string, path: readonly string[], name: string): string
  /** The 1-based line on which the key at a path stands, or `undefined`. */
  lineOf(text: string, path: readonly string[], name: string): number | undefined
}

type Yaml = typeof import('yaml')

/** YAML anchors can multiply: more aliases than this in one file is an attack or an accident. */
const MAX_ALIASES = 100

/** Documents kept parsed. */
const MAX_PARSED = 20

/** Larger files are no configuration, and the parser keeps many times their size in memory. */
const MAX_YAML_BYTES = 1 << 18

/** The `yaml` package is loaded only when YAML is met: it costs a tenth of a small command's time. */
export async function yamlEditor(): Promise<YamlEditor> {
  editor ??= new Editor(await import('yaml'))
  return editor
}

let editor: Editor | undefined

interface Found {
  /** The deepest map that exists on the path. */
  readonly map: YAMLMap | undefined
  /** How many keys of the path were found. */
  readonly depth: number
  /** The pair of the last key found. */
  readonly pair: Pair<Node, Node | null> | undefined
}

class Editor implements YamlEditor {
  readonly #yaml: Yaml
  /** Several operations in a row read the same few files; parsing is most of their cost. */
  readonly #parsed = new Map<string, Document.Parsed>()

  constructor(yaml: Yaml) {
    this.#yaml = yaml
  }

  #document(text: string, name: string): Document.Parsed {
    if (text.length > MAX_YAML_BYTES)
      throw new DrydiskError(
        'EFBIG',
        `${name}: ${text.length} characters of YAML; at most ${MAX_YAML_BYTES} are read`,
      )
    const known = this.#parsed.get(text)
    if (known) return known
    let document: Document.Parsed
    try {
      document = this.#yaml.parseDocument(text, {
        version: '1.1',
        keepSourceTokens: true,
        strict: false,
        uniqueKeys: false,
        // An excerpt for each of thousands of errors takes half a minute, and only the first is told.
        prettyErrors: false,
      })
    } catch (error) {
      throw new DrydiskError('ERR_CORRUPT', `${name}: not readable as YAML`, { path: name }, error)
    }
    const [problem] = document.errors
    if (problem) {
      const line = lineNumberAt(text, problem.pos[0])
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${name}:${line}: not valid YAML: ${problem.message.split('\n', 1)[0]}`,
        {
          path: name,
          line,
        },
      )
    }
    if (this.#parsed.size >= MAX_PARSED) this.#parsed.clear()
    this.#parsed.set(text, document)
    return document
  }

  parse(text: string, name: string): unknown {
    try {
      return this.#document(text, name).toJS({ maxAliasCount: MAX_ALIASES })
    } catch (error) {
      if (error instanceof DrydiskError) throw error
      throw new DrydiskError(
        'ERR_CORRUPT',
        `${name}: YAML that refers to itself too often`,
        { path: name },
        error,
      )
    }
  }

  #find(document: Document.Parsed, path: readonly string[]): Found {
    let node: unknown = document.contents
    let map: YAMLMap | undefined
    let pair: Pair<Node, Node | null> | undefined
    let depth = 0
    for (const key of path) {
      if (!this.#yaml.isMap(node)) break
      map = node
      // PyYAML takes the last of equal keys.
      const next = node.items.findLast(
        item => this.#yaml.isScalar(item.key) && String(item.key.value) === key,
      )
      if (!next) break
      pair = next as Pair<Node, Node | null>
      node = next.value
      depth++
    }
    if (depth === path.length) return { map, depth, pair }
    return { map: this.#yaml.isMap(node) ? node : map, depth, pair }
  }

  #render(value: unknown): string {
    const text = this.#yaml.stringify(value, {
      version: '1.1',
      collectionStyle: 'flow',
      lineWidth: 0,
      ...(typeof value === 'string' && value.includes('\n') ? { defaultStringType: 'QUOTE_DOUBLE' } : {}),
    })
    return text.trim()
  }

  set(text: string, path: readonly string[], value: unknown, name: string): string {
    const result = this.#set(text, path, value, name)
    if (!equalValues(lookUp(this.parse(result, name), path), value))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `${name}: cannot set ${path.join('.')} here without disturbing the rest; edit the file by hand`,
        { path: name },
      )
    return result
  }

  #set(text: string, path: readonly string[], value: unknown, name: string): string {
    const document = this.#document(text, name)
    const { map, depth, pair } = this.#find(document, path)
    const rest = path.slice(depth)
    if (rest.length === 0 && pair) return this.#replaceValue(text, pair, this.#render(value))
    const missing = rest.slice(1).reduceRight((inner: unknown, key) => ({ [key]: inner }), value)
    const [key = ''] = rest
    const line = `${this.#render(key)}: ${this.#render(missing)}`
    if (
      document.contents === null ||
      (this.#yaml.isScalar(document.contents) && document.contents.value === null)
    )
      return appendLine(text, line)
    if (!map || !this.#yaml.isMap(document.contents)) throw unexpected(name, 'a map at the top')
    const valueIsMap = pair === undefined || this.#yaml.isMap(pair.value)
    if (!valueIsMap) return this.#replaceValue(text, pair, this.#render({ [key]: missing }))
    if (map.flow) {
      const end = map.range?.[1] ?? text.length
      const inside = text.slice(map.range?.[0] ?? 0, end - 1).trimEnd()
      return replaceRange(
        text,
        (map.range?.[0] ?? 0) + inside.length,
        end - 1,
        `${map.items.length > 0 ? ', ' : ' '}${line} `,
      )
    }
    return this.#addLine(text, map, line)
  }

  unset(text: string, path: readonly string[], name: string): string {
    const before = this.parse(text, name)
    if (path.length === 0 || lookUp(before, path) === undefined) return text
    const { map, pair } = this.#find(this.#document(text, name), path)
    const above = path.slice(0, -1)
    if (map && map.items.length === 1 && above.length > 0) return this.unset(text, above, name)
    if (map?.flow && above.length > 0) {
      const left = lookUp(before, above)
      return this.set(text, above, isRecord(left) ? without(left, [path[path.length - 1] ?? '']) : left, name)
    }
    let result = text
    const start = pair?.key.range?.[0]
    if (start !== undefined) {
      const from = text.lastIndexOf('\n', start - 1) + 1
      const content = this.#contentEnd(this.#yaml.isNode(pair?.value) ? pair.value : pair?.key)
      const newline = text.indexOf('\n', start + text.slice(start, content).trimEnd().length)
      result = replaceRange(text, from, newline < 0 ? text.length : newline + 1, '')
    }
    // Whatever does not come out as wanted (a key on the line of another, an anchor that is used elsewhere) is refused.
    if (!equalValues(this.parse(result, name) ?? {}, without(before, path)))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `${name}: cannot take ${path.join('.')} out without disturbing the rest; edit the file by hand`,
        { path: name },
      )
    return result
  }

  /** A new line after the last one of a block collection, at its items' indentation. */
  #addLine(text: string, collection: YAMLMap | YAMLSeq, line: string): string {
    const start = collection.range?.[0] ?? 0
    const column = start - (text.lastIndexOf('\n', start - 1) + 1)
    const end = start + text.slice(start, this.#contentEnd(collection)).trimEnd().length
    const newline = text.indexOf('\n', end)
    const ending = lineEnding(splitLines(text))
    const indented = ' '.repeat(column) + line
    if (newline < 0) return `${text}${ending}${indented}`
    return replaceRange(text, newline + 1, newline + 1, indented + ending)
  }

  /**
   * The end of a node's own text. A block collection's range takes in the comments after it, so its last item's counts;
   * that may be a block scalar, in which `#` starts no comment.
   */
  #contentEnd(node: unknown): number {
    const { isMap, isNode, isPair, isSeq } = this.#yaml
    if ((isMap(node) || isSeq(node)) && !node.flow && node.items.length > 0) {
      const last: unknown = node.items[node.items.length - 1]
      if (!isPair(last)) return this.#contentEnd(last)
      const value =
        isNode(last.value) && last.value.range?.[0] !== last.value.range?.[1] ? last.value : last.key
      return this.#contentEnd(value)
    }
    return isNode(node) ? (node.range?.[1] ?? 0) : 0
  }

  #replaceValue(text: string, pair: Pair<Node, Node | null>, rendered: string): string {
    const separator = pair.srcToken?.sep ?? []
    const colon = separator.find(token => token.type === 'map-value-ind')?.offset
    if (colon === undefined) throw unexpected('YAML', 'a colon after a key')
    const range = pair.value?.range
    const empty = !range || range[0] === range[1]
    const start = empty ? colon + 1 : range[0]
    const end = empty ? colon + 1 : start + text.slice(start, this.#contentEnd(pair.value)).trimEnd().length
    // A comment between the colon and a value on the next line stays on the key's line.
    const comment = /[ \t]*#[^\n\r]*/.exec(text.slice(colon + 1, start))?.[0] ?? ''
    return replaceRange(text, colon + 1, end, ` ${rendered}${comment}`)
  }

  #list(
    text: string,
    path: readonly string[],
    name: string,
  ): { seq: YAMLSeq; pair: Pair<Node, Node | null> } {
    const { depth, pair } = this.#find(this.#document(text, name), path)
    if (depth !== path.length || !pair || !this.#yaml.isSeq(pair.value))
      throw unexpected(name, `a list ${path.join('.')}`)
    return { seq: pair.value, pair }
  }

  addItem(text: string, path: readonly string[], item: unknown, name: string): string {
    const { seq } = this.#list(text, path, name)
    const old = lookUp(this.parse(text, name), path)
    if (seq.flow || seq.items.length === 0)
      return this.set(text, path, [...(Array.isArray(old) ? old : []), item], name)
    return this.#addLine(text, seq, `- ${this.#render(item)}`)
  }

  removeItems(text: string, path: readonly string[], indices: readonly number[], name: string): string {
    const { seq } = this.#list(text, path, name)
    const old = lookUp(this.parse(text, name), path)
    const left = (Array.isArray(old) ? old : []).filter((_, i) => !indices.includes(i))
    if (seq.flow || left.length === 0) return this.set(text, path, left, name)
    let result = text
    for (const i of [...indices].sort((a, b) => b - a)) {
      const node = seq.items[i]
      const range = this.#yaml.isNode(node) ? node.range : undefined
      if (!range) continue
      const from = result.lastIndexOf('\n', range[0] - 1) + 1
      const end = range[0] + result.slice(range[0], this.#contentEnd(node)).trimEnd().length
      const newline = result.indexOf('\n', end)
      result = replaceRange(result, from, newline < 0 ? result.length : newline + 1, '')
    }
    if (!equalValues(lookUp(this.parse(result, name), path), left)) return this.set(text, path, left, name)
    return result
  }

  lineOf(text: string, path: readonly string[], name: string): number | undefined {
    const { depth, pair } = this.#find(this.#document(text, name), path)
    const at = pair?.key.range?.[0]
    return depth === path.length && at !== undefined ? lineNumberAt(text, at) : undefined
  }
}

function unexpected(name: string, expected: string): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `${name}: expected ${expected}`, { path: name })
}

/** The value at a path of keys, or `undefined`. */
export function lookUp(value: unknown, path: readonly string[]): unknown {
  let found = value
  for (const key of path) {
    if (!isRecord(found) || !Object.hasOwn(found, key)) return undefined
    found = found[key]
  }
  return found
}

/** A copy without the key at a path. */
function without(value: unknown, path: readonly string[]): Record<string, unknown> {
  const [key = '', ...rest] = path
  const entries = Object.entries(isRecord(value) ? value : {}).filter(
    ([name]) => name !== key || rest.length > 0,
  )
  return Object.fromEntries(
    entries.map(([name, inner]) => [name, name === key ? without(inner, rest) : inner]),
  )
}

/** Whether a value is a mapping. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether two values of YAML hold the same. */
export function equalValues(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, i) => equalValues(item, b[i]))
  if (isRecord(a) && isRecord(b)) {
    const keys = Object.keys(a)
    return (
      keys.length === Object.keys(b).length &&
      keys.every(key => Object.hasOwn(b, key) && equalValues(a[key], b[key]))
    )
  }
  return a === b
}
