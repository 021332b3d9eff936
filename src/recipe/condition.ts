import type { Comparison, Expression, Operand } from './expression.ts'
import type { ConditionFacts } from './facts.ts'
import { expand, TextProblem } from './template.ts'

/** Words that say yes and no, in any case; the empty text says no. */
const YES = ['1', 'true', 'yes', 'y', 'on']
const NO = ['', '0', 'false', 'no', 'n', 'off']

/**
 * Whether a condition holds, and `undefined` where that depends on a guest and there is none. `TextProblem` where a variable that
 * is to say yes or no says something else.
 */
export async function holds(
  expression: Expression,
  lookup: (name: string) => string,
  facts: ConditionFacts | undefined,
): Promise<boolean | undefined> {
  const textOf = async (operand: Operand): Promise<string | undefined> =>
    operand.kind === 'fact' ? facts?.fact(operand.name) : expand(operand.template, lookup)
  switch (expression.kind) {
    case 'and':
    case 'or': {
      const decisive = expression.kind === 'or'
      const left = await holds(expression.left, lookup, facts)
      if (left === decisive) return left
      const right = await holds(expression.right, lookup, facts)
      if (right === decisive) return right
      return left === undefined || right === undefined ? undefined : !decisive
    }
    case 'not': {
      const inner = await holds(expression.of, lookup, facts)
      return inner === undefined ? undefined : !inner
    }
    case 'truth': {
      const text = ((await textOf(expression.operand)) ?? '').trim().toLowerCase()
      if (YES.includes(text)) return true
      if (NO.includes(text)) return false
      throw new TextProblem(
        expression.operand.index,
        'this is neither yes nor no (true, false, 1, 0, on, off)',
      )
    }
    case 'package':
    case 'file': {
      const name = (await textOf(expression.name)) ?? ''
      return expression.kind === 'package' ? facts?.hasPackage(name) : facts?.hasFile(name)
    }
    case 'in': {
      const left = await textOf(expression.left)
      const isVersion = expression.left.kind === 'fact' && expression.left.name === 'version'
      let unknown = left === undefined
      for (const operand of expression.list) {
        const one = await textOf(operand)
        if (left === undefined || one === undefined) unknown = true
        else if (isVersion ? compareVersions(left, one) === 0 : left === one) return true
      }
      return unknown ? undefined : false
    }
    case 'compare': {
      const left = await textOf(expression.left)
      const right = await textOf(expression.right)
      if (left === undefined || right === undefined) return undefined
      if (expression.operator === 'contains') return left.includes(right)
      const flipped = expression.right.kind === 'fact' && expression.right.name === 'version'
      const asVersion = flipped || (expression.left.kind === 'fact' && expression.left.name === 'version')
      return flipped
        ? compare(FLIPPED[expression.operator], right, left, asVersion)
        : compare(expression.operator, left, right, asVersion)
    }
  }
}

type Order = Exclude<Comparison, 'contains'>

const FLIPPED: Readonly<Record<Order, Order>> = {
  '==': '==',
  '!=': '!=',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
}

function compare(operator: Order, left: string, right: string, asVersion: boolean): boolean {
  if (!asVersion && operator === '==') return left === right
  if (!asVersion && operator === '!=') return left !== right
  const order = compareVersions(left, right)
  // A rolling release has no version: no comparison holds for it, but that it is not a certain one.
  if (order === undefined) return operator === '!='
  switch (operator) {
    case '==':
      return order === 0
    case '!=':
      return order !== 0
    case '<':
      return order < 0
    case '<=':
      return order <= 0
    case '>':
      return order > 0
    case '>=':
      return order >= 0
  }
}

/**
 * The order of two versions by as many numbers as the right one has: 9.4 equals 9. `undefined` where one of them does not
 * begin with a number.
 */
export function compareVersions(left: string, right: string): number | undefined {
  const a = numbersOf(left)
  const b = numbersOf(right)
  if (!a || !b) return undefined
  for (const [i, number] of b.entries()) {
    const difference = (a[i] ?? 0) - number
    if (difference !== 0) return difference
  }
  return 0
}

function numbersOf(version: string): number[] | undefined {
  const digits = /^v?(\d+(?:\.\d+)*)/.exec(version)?.[1]
  return digits?.split('.').map(Number)
}
