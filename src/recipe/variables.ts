import type { Recipe } from './load.ts'
import { type Problems, suggestion } from './problem.ts'

/** What a secret is shown as. */
const HIDDEN = '(hidden)'

/** The variables of a recipe with their values. */
export interface VariableValues {
  valueOf(name: string): string
  /** Whether the variable must be given and was not. */
  isMissing(name: string): boolean
  /** A text in which the values of secrets are replaced. */
  hide(text: string): string
}

/**
 * The values of a recipe's variables: given ones, else the environment's (DRYDISK_VAR_NAME, then those that the declaration names),
 * else defaults, else the empty text.
 */
export function resolveVariables(
  recipe: Recipe,
  given: ReadonlyMap<string, string>,
  problems: Problems,
): VariableValues {
  const start = { file: recipe.file, line: 1, column: 1 }
  for (const name of given.keys())
    if (!recipe.variables.has(name))
      problems.error(start, `this recipe has no variable ${name}${suggestion(name, recipe.variables.keys())}`)
  const values = new Map<string, string>()
  const missing = new Set<string>()
  const secrets = new Set<string>()
  for (const [name, declarations] of recipe.variables) {
    const fromDefault = declarations.find(one => one.default !== undefined)?.default
    const value =
      given.get(name) ??
      [`DRYDISK_VAR_${name}`, ...declarations.flatMap(one => one.env)]
        .map(variable => recipe.host.environment(variable))
        .find(one => one !== undefined) ??
      fromDefault
    if (value === undefined && declarations.some(one => one.required)) missing.add(name)
    if (value !== undefined && value !== '' && declarations.some(one => one.secret)) secrets.add(value)
    values.set(name, value ?? '')
    for (const { choices, place, secret } of declarations)
      if (value !== undefined && choices && !choices.includes(value))
        problems.error(
          place,
          `${name} is ${secret ? HIDDEN : JSON.stringify(value)}; expected one of ${choices.join(', ')}`,
        )
  }
  // The longest first: one secret may be a part of another.
  const hidden = [...secrets].sort((a, b) => b.length - a.length)
  return {
    valueOf: name => values.get(name) ?? '',
    isMissing: name => missing.has(name),
    hide: text => hidden.reduce((shown, secret) => shown.replaceAll(secret, HIDDEN), text),
  }
}
