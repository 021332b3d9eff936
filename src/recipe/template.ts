/** Text with variables in it: `${NAME}`; `$${` stands for `${` itself. */
export interface Template {
  readonly parts: readonly (string | Variable)[]
}

export interface Variable {
  readonly name: string
  /** Where its `${` stands in the text. */
  readonly index: number
}

/** What is wrong with a text, at one of its characters. */
export class TextProblem extends Error {
  readonly index: number

  constructor(index: number, message: string) {
    super(message)
    this.index = index
  }
}

export const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

/** `TextProblem` where a `${` begins no variable. */
export function parseTemplate(text: string): Template {
  const parts: (string | Variable)[] = []
  let literal = ''
  let at = 0
  while (at < text.length) {
    const next = text.indexOf('${', at)
    if (next < 0) break
    if (next > at && text[next - 1] === '$') {
      literal += `${text.slice(at, next - 1)}\${`
      at = next + 2
      continue
    }
    const end = text.indexOf('}', next)
    const name = end < 0 ? '' : text.slice(next + 2, end)
    if (!VARIABLE_NAME.test(name))
      throw new TextProblem(
        next,
        `"\${" begins a variable, which is \${NAME} with letters, digits and _; write $\${ for the characters \${`,
      )
    literal += text.slice(at, next)
    if (literal !== '') parts.push(literal)
    literal = ''
    parts.push({ name, index: next })
    at = end + 1
  }
  literal += text.slice(at)
  if (literal !== '') parts.push(literal)
  return { parts }
}

export function variablesOf({ parts }: Template): readonly Variable[] {
  return parts.filter(part => typeof part !== 'string')
}

/** What a variable holds is text and nothing else: a `${` in it is no variable. */
export function expand({ parts }: Template, lookup: (name: string) => string): string {
  return parts.map(part => (typeof part === 'string' ? part : lookup(part.name))).join('')
}
