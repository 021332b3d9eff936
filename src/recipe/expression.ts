import { suggestion } from './problem.ts'
import { parseTemplate, type Template, TextProblem, type Variable, variablesOf } from './template.ts'

/** What a condition may ask of a guest by name. */
export const FACTS = ['arch', 'distribution', 'family', 'init', 'version'] as const
export type Fact = (typeof FACTS)[number]

export const FAMILIES = ['alpine', 'arch', 'cirros', 'debian', 'rhel', 'suse', 'unknown'] as const
export const INITS = ['openrc', 'systemd', 'sysv', 'upstart'] as const

export type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'contains'

export type Operand =
  | { readonly kind: 'fact'; readonly name: Fact; readonly index: number }
  | { readonly kind: 'text'; readonly template: Template; readonly index: number }

export type Expression =
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'not'; readonly of: Expression }
  | {
      readonly kind: 'compare'
      readonly operator: Comparison
      readonly left: Operand
      readonly right: Operand
    }
  | { readonly kind: 'in'; readonly left: Operand; readonly list: readonly Operand[] }
  /** A variable (or a word) that says yes or no. */
  | { readonly kind: 'truth'; readonly operand: Operand }
  | { readonly kind: 'package' | 'file'; readonly name: Operand }

interface Token {
  readonly kind: 'word' | 'string' | 'sign' | 'end'
  readonly text: string
  readonly index: number
}

/** A word may hold variables, and what file names and versions are made of. */
const TOKEN =
  /\s*(?:(?<string>"(?:[^"\\]|\\.)*"|'[^']*')|(?<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)|(?<word>(?:\$?\$\{[^}]*\}|[\w./*?:~@%+-])+))/suy

const MAX_TOKENS = 500
const MAX_NESTING = 20

function tokens(text: string): Token[] {
  const out: Token[] = []
  TOKEN.lastIndex = 0
  let at = 0
  while (text.slice(at).trim() !== '') {
    const match = TOKEN.exec(text)
    const { string, sign, word } = match?.groups ?? {}
    const token = string ?? sign ?? word
    const begin = at + (/^\s*/.exec(text.slice(at))?.[0].length ?? 0)
    if (!match || token === undefined) throw new TextProblem(begin, `"${text[begin]}" is not expected here`)
    if (out.length >= MAX_TOKENS) throw new TextProblem(begin, `a condition has at most ${MAX_TOKENS} words`)
    out.push({
      kind: string !== undefined ? 'string' : sign !== undefined ? 'sign' : 'word',
      text: token,
      index: begin,
    })
    at = TOKEN.lastIndex
  }
  out.push({ kind: 'end', text: '', index: text.length })
  return out
}

/** Reads a condition; its grammar is in docs/recipes.md. `TextProblem` says what is wrong where. */
export function parseExpression(text: string): Expression {
  const parser = new ExpressionParser(tokens(text))
  return parser.whole()
}

class ExpressionParser {
  readonly #tokens: readonly Token[]
  #at = 0
  #nesting = 0

  constructor(list: readonly Token[]) {
    this.#tokens = list
  }

  whole(): Expression {
    const expression = this.#or()
    if (this.#next.kind !== 'end') throw this.#unexpected('and, or, or the end of the condition')
    return expression
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: '', index: 0 }
  }

  #unexpected(expected: string): TextProblem {
    const { kind, text, index } = this.#next
    return new TextProblem(
      index,
      kind === 'end'
        ? `the condition ends where ${expected} is expected`
        : `"${text}" stands where ${expected} is expected`,
    )
  }

  #takes(text: string): boolean {
    const { kind } = this.#next
    if (this.#next.text !== text || kind === 'string' || kind === 'end') return false
    this.#at++
    return true
  }

  #expect(text: string): void {
    if (!this.#takes(text)) throw this.#unexpected(`"${text}"`)
  }

  #or(): Expression {
    let left = this.#and()
    while (this.#takes('or')) left = { kind: 'or', left, right: this.#and() }
    return left
  }

  #and(): Expression {
    let left = this.#not()
    while (this.#takes('and')) left = { kind: 'and', left, right: this.#not() }
    return left
  }

  #not(): Expression {
    if (++this.#nesting > MAX_NESTING)
      throw new TextProblem(this.#next.index, `a condition is at most ${MAX_NESTING} levels deep`)
    const expression = this.#takes('not') ? ({ kind: 'not', of: this.#not() } as const) : this.#primary()
    this.#nesting--
    return expression
  }

  #primary(): Expression {
    if (this.#takes('(')) {
      const inner = this.#or()
      this.#expect(')')
      return inner
    }
    const { text, kind } = this.#next
    const call = this.#tokens[this.#at + 1]
    if (kind === 'word' && call?.kind === 'sign' && call.text === '(') {
      if (text !== 'package' && text !== 'file')
        throw new TextProblem(
          this.#next.index,
          `no question "${text}(…)"; there are package(NAME) and file(PATH)`,
        )
      this.#at += 2
      const name = this.#operand()
      this.#expect(')')
      return { kind: text, name }
    }
    return this.#comparison()
  }

  #comparison(): Expression {
    const left = this.#operand()
    const { kind, text, index } = this.#next
    if (isComparison(kind, text)) {
      this.#at++
      const compared = {
        kind: 'compare',
        operator: text,
        left,
        right: this.#operand(),
      } as const
      checkSides(compared.left, [compared.right])
      checkFact(compared.left, [compared.right])
      checkFact(compared.right, [compared.left])
      return compared
    }
    const negated = text === 'not' && this.#tokens[this.#at + 1]?.text === 'in'
    if (negated) this.#at++
    if (this.#takes('in')) {
      const list = this.#list()
      checkSides(left, list)
      checkFact(left, list)
      const found = { kind: 'in', left, list } as const
      return negated ? { kind: 'not', of: found } : found
    }
    if (left.kind === 'fact' || variablesOf(left.template).length === 0)
      throw new TextProblem(
        kind === 'end' ? left.index : index,
        left.kind === 'fact'
          ? `${left.name} has to be compared: ${left.name} == …`
          : `"${left.template.parts.join('')}" is no condition by itself${suggestion(left.template.parts.join(''), FACTS)}`,
      )
    return { kind: 'truth', operand: left }
  }

  #list(): Operand[] {
    this.#expect('[')
    const list = [this.#operand()]
    while (this.#takes(',')) list.push(this.#operand())
    this.#expect(']')
    return list
  }

  #operand(): Operand {
    const { kind, text, index } = this.#next
    if (kind !== 'word' && kind !== 'string') throw this.#unexpected('a name or a value')
    if (kind === 'word' && ['and', 'or', 'in', 'not', 'contains'].includes(text))
      throw this.#unexpected('a name or a value')
    this.#at++
    const fact = kind === 'word' ? FACTS.find(name => name === text) : undefined
    if (fact) return { kind: 'fact', name: fact, index }
    const value =
      kind === 'word' ? text : text.slice(1, -1).replace(text.startsWith('"') ? /\\(.)/gs : /$^/, '$1')
    try {
      return { kind: 'text', template: parseTemplate(value), index }
    } catch (error) {
      if (error instanceof TextProblem) throw new TextProblem(index, error.message)
      throw error
    }
  }
}

function isComparison(kind: Token['kind'], text: string): text is Comparison {
  return kind === 'sign' ? /^([=!]=|[<>]=?)$/.test(text) : kind === 'word' && text === 'contains'
}

/** Two words that say nothing of guest or variables are a slip of the pen. */
function checkSides(left: Operand, right: readonly Operand[]): void {
  if (![left, ...right].every(one => one.kind === 'text' && variablesOf(one.template).length === 0)) return
  const word = left.kind === 'text' ? left.template.parts.join('') : ''
  throw new TextProblem(
    left.index,
    `"${word}" is nothing that a guest tells${suggestion(word, FACTS)}; it tells ${FACTS.join(', ')}, and variables are \${NAME}`,
  )
}

/** What a fact can never be is a slip of the pen. */
function checkFact(left: Operand, right: readonly Operand[]): void {
  if (left.kind !== 'fact') return
  for (const operand of right) {
    if (operand.kind !== 'text' || variablesOf(operand.template).length > 0) continue
    const text = operand.template.parts.join('')
    const known: readonly string[] | undefined =
      left.name === 'family' ? FAMILIES : left.name === 'init' ? INITS : undefined
    if (known && !known.includes(text))
      throw new TextProblem(
        operand.index,
        `${left.name} is never "${text}"; it is one of ${known.join(', ')}${suggestion(text, known)}`,
      )
    if (left.name === 'version' && !/^\d+(\.\d+)*$/.test(text))
      throw new TextProblem(
        operand.index,
        `"${text}" is no version; expected numbers with dots, such as 24.04`,
      )
  }
}

/** Every variable of a condition, with its place. */
export function expressionVariables(expression: Expression): Variable[] {
  const of = (operand: Operand): Variable[] =>
    operand.kind === 'fact'
      ? []
      : variablesOf(operand.template).map(({ name }) => ({ name, index: operand.index }))
  switch (expression.kind) {
    case 'and':
    case 'or':
      return [...expressionVariables(expression.left), ...expressionVariables(expression.right)]
    case 'not':
      return expressionVariables(expression.of)
    case 'compare':
      return [...of(expression.left), ...of(expression.right)]
    case 'in':
      return [expression.left, ...expression.list].flatMap(of)
    case 'truth':
      return of(expression.operand)
    case 'package':
    case 'file':
      return of(expression.name)
  }
}
