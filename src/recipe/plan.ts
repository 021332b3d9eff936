import { DrydiskError } from '../errors.ts'
import type { Planned } from '../operations/steps/index.ts'
import { holds } from './condition.ts'
import type { ConditionFacts } from './facts.ts'
import type { LoadedStep, Recipe } from './load.ts'
import { type Place, Problems, problemText, type RecipeProblem } from './problem.ts'
import { joinFields } from './step-fields.ts'
import { type Condition, type StepValue, usesOf } from './syntax.ts'
import { expand, TextProblem } from './template.ts'
import { resolveVariables, type VariableValues } from './variables.ts'

/** A step with its value read, ready to be made on any guest. */
export interface PlannedStep {
  readonly name: string
  readonly label: string | undefined
  readonly place: Place
  readonly conditions: readonly Condition[]
  readonly run: Planned
}

/** A recipe with its variables filled in and every step's value read. */
export interface RecipePlan {
  readonly name: string
  readonly steps: readonly PlannedStep[]
  readonly variables: VariableValues
  /** Those of the recipe, and those of its variables and values. */
  readonly problems: readonly RecipeProblem[]
}

/**
 * Fills in a recipe's variables and reads every step's value, so that nothing but the guest itself can be wrong afterwards. A step
 * whose conditions cannot hold with these variables is left out, and its value not read.
 */
export async function planRecipe(
  recipe: Recipe,
  given: ReadonlyMap<string, string> = new Map(),
): Promise<RecipePlan> {
  const problems = new Problems()
  const variables = resolveVariables(recipe, given, problems)
  const steps: PlannedStep[] = []
  // What cannot be read is not run either: its values would only be asked for (a password on standard input) in vain.
  const readable = !recipe.problems.some(one => one.severity === 'error')
  if (readable)
    for (const loaded of recipe.steps)
      if (await mayRun(loaded, variables, problems))
        for (const value of loaded.entry.values) {
          const run = await planValue(loaded, value, variables, problems)
          const { entry, conditions } = loaded
          if (run)
            steps.push({ name: entry.step.name, label: entry.label, place: entry.place, conditions, run })
        }
  return { name: recipe.name, steps, variables, problems: [...recipe.problems, ...problems.list] }
}

/** Throws `ERR_INVALID_ARGUMENT` with the first error among problems, where there is one. */
export function throwProblems(problems: readonly RecipeProblem[]): void {
  const errors = problems.filter(one => one.severity === 'error')
  const [first] = errors
  if (!first) return
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : ''
  throw new DrydiskError('ERR_INVALID_ARGUMENT', `${problemText(first)}${more}`, {
    path: first.file,
    line: first.line,
    column: first.column,
  })
}

async function mayRun(
  { conditions, entry }: LoadedStep,
  variables: VariableValues,
  problems: Problems,
): Promise<boolean> {
  for (const condition of conditions) {
    const held = await check(condition, variables, undefined, problems)
    if (held === false) return false
  }
  for (const { name, place } of usesOf(entry))
    if (variables.isMissing(name))
      problems.error(
        place,
        `the variable ${name} has no value: give it with --var ${name}=VALUE, or as DRYDISK_VAR_${name} in the environment`,
      )
  return true
}

/** Whether a condition holds; `undefined` where only a guest can tell, or where it is wrong. */
async function check(
  { expression, source }: Condition,
  variables: VariableValues,
  facts: ConditionFacts | undefined,
  problems: Problems,
): Promise<boolean | undefined> {
  try {
    return await holds(expression, variables.valueOf, facts)
  } catch (error) {
    if (!(error instanceof TextProblem)) throw error
    problems.error(source.at(error.index), variables.hide(`${source.text}: ${error.message}`))
    return undefined
  }
}

async function planValue(
  { entry, host }: LoadedStep,
  value: StepValue,
  variables: VariableValues,
  problems: Problems,
): Promise<Planned | undefined> {
  const { step } = entry
  const place = value.kind === 'fields' ? value.place : value.text.source.place
  const wrong = (message: string, at = place) => {
    problems.error(at, variables.hide(`${step.name}: ${message}`))
    return undefined
  }
  let text: string
  if (value.kind === 'text') text = expand(value.text.template, variables.valueOf)
  else {
    const texts = new Map<string, string>()
    for (const [field, { template }] of value.fields) texts.set(field, expand(template, variables.valueOf))
    const joined = joinFields(value.form, texts)
    if ('wrong' in joined) return wrong(joined.wrong, value.fields.get(joined.field)?.source.place)
    text = joined.text
  }
  const missing = usesOf(entry).some(({ name }) => variables.isMissing(name))
  if (missing) return undefined
  if (text === '' && step.value !== undefined && !step.optional) return wrong(`${step.value} is empty`)
  try {
    return await step.plan(text, host)
  } catch (error) {
    // Besides its own errors: what the host says of files that a step looks at (ENOENT, EACCES, …).
    const { code } = error as { code?: unknown }
    if (!(error instanceof Error) || typeof code !== 'string') throw error
    return wrong(error.message.replace(/^E[A-Z]+: /, ''))
  }
}
