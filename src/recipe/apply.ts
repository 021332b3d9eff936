import { DrydiskError, type ErrorContext, isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import type { OperationReport } from '../operations/operation.ts'
import { holds } from './condition.ts'
import { ConditionFacts } from './facts.ts'
import { type PlannedStep, type RecipePlan, throwProblems } from './plan.ts'
import type { Condition } from './syntax.ts'
import { TextProblem } from './template.ts'

/** What a step of a recipe did. */
export interface StepReport extends OperationReport {
  /** What the recipe calls the step. */
  readonly label?: string
  /** `FILE:LINE` of the step. */
  readonly recipe: string
}

/** A step whose condition did not hold in this guest. */
export interface SkippedStep {
  readonly operation: string
  readonly label?: string
  readonly recipe: string
  /** The condition as it is written. */
  readonly when: string
}

/** What `applyRecipe` did in one guest. */
export interface RecipeReport {
  readonly recipe: string
  readonly steps: readonly StepReport[]
  readonly skipped: readonly SkippedStep[]
}

/** What `applyRecipe` takes. */
export interface ApplyRecipeOptions {
  /** Aborted: `ERR_ABORTED` before the next step. */
  readonly signal?: AbortSignal
  /** Told after each step, how many are dealt with. */
  readonly onStep?: (done: number) => void
}

/**
 * Runs a recipe's steps on a guest, in their order. The first error ends it; it names the step by the recipe's file and line.
 * `ERR_INVALID_ARGUMENT` where the plan has errors.
 */
export async function applyRecipe(
  guest: GuestFs,
  plan: RecipePlan,
  options: ApplyRecipeOptions = {},
): Promise<RecipeReport> {
  throwProblems(plan.problems)
  const { variables } = plan
  const facts = new ConditionFacts(guest)
  // A condition of an inclusion is looked at once, before its first step: what its steps change does not change it.
  const results = new Map<Condition, boolean>()
  const isMet = async (condition: Condition): Promise<boolean> => {
    const known = results.get(condition)
    if (known !== undefined) return known
    const result = (await holds(condition.expression, variables.valueOf, facts)) ?? false
    results.set(condition, result)
    return result
  }
  const steps: StepReport[] = []
  const skipped: SkippedStep[] = []
  for (const [index, step] of plan.steps.entries()) {
    if (options.signal?.aborted)
      throw new DrydiskError('ERR_ABORTED', `the recipe was stopped after ${index} of its steps`)
    const named = {
      ...(step.label === undefined ? {} : { label: step.label }),
      recipe: `${step.place.file}:${step.place.line}`,
    }
    try {
      const unmet = await firstUnmet(step, isMet)
      if (unmet) skipped.push({ operation: step.name, ...named, when: unmet.source.text })
      else steps.push({ ...hideIn(await step.run(guest), variables.hide), ...named })
    } catch (error) {
      throw withPlace(error, step, variables.hide)
    }
    options.onStep?.(index + 1)
  }
  return { recipe: plan.name, steps, skipped }
}

async function firstUnmet(
  { conditions }: PlannedStep,
  isMet: (condition: Condition) => Promise<boolean>,
): Promise<Condition | undefined> {
  for (const condition of conditions) if (!(await isMet(condition))) return condition
  return undefined
}

/** A report in which no text shows a secret. */
function hideIn(report: OperationReport, hide: (text: string) => string): OperationReport {
  const orNull = (text: string | null) => (text === null ? null : hide(text))
  return {
    operation: report.operation,
    changes: report.changes.map(change => ({
      ...change,
      setting: hide(change.setting),
      before: orNull(change.before),
      after: orNull(change.after),
      file: hide(change.file),
      ...(change.note === undefined ? {} : { note: hide(change.note) }),
    })),
    ...(report.unchanged === undefined
      ? {}
      : {
          unchanged: report.unchanged.map(one => ({
            ...one,
            setting: hide(one.setting),
            value: orNull(one.value),
            file: hide(one.file),
          })),
        }),
    warnings: report.warnings.map(hide),
  }
}

function hideValues(context: ErrorContext, hide: (text: string) => string): ErrorContext {
  return Object.fromEntries(
    Object.entries(context).map(([key, value]) => [key, typeof value === 'string' ? hide(value) : value]),
  )
}

/** An error with the step that it came from. */
function withPlace(error: unknown, step: PlannedStep, hide: (text: string) => string): unknown {
  const where = `${step.place.file}:${step.place.line}: ${step.name}`
  if (isDrydiskError(error))
    return new DrydiskError(
      error.code,
      `${where}: ${hide(error.message)}`,
      {
        operation: step.name,
        recipe: step.place.file,
        recipeLine: step.place.line,
        ...hideValues(error.context, hide),
      },
      error,
    )
  if (error instanceof TextProblem)
    return new DrydiskError('ERR_INVALID_ARGUMENT', `${where}: ${hide(error.message)}`, {}, error)
  const { code } = error as { code?: unknown }
  if (!(error instanceof Error) || typeof code !== 'string') return error
  // What the host says of its own files: ENOENT, EACCES, …
  return Object.assign(
    new Error(`${where}: ${hide(error.message.replace(/^E[A-Z]+: /, ''))}`, { cause: error }),
    {
      code,
    },
  )
}
